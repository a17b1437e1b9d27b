package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/ststest"
)

// enter leads this process, and the commands it starts, to a new world.
func enter(t *testing.T) *world {
	w := newWorld()
	t.Cleanup(w.Close)
	for _, variable := range w.environ() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	t.Setenv("VERCEL_OIDC_TOKEN", w.Issuer.Mint())
	return w
}

// The SDK runs the command as its credential_process, and AWS accepts what it
// gets.
func TestCredentialProcessServesTheGoSDK(t *testing.T) {
	w := enter(t)
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil,
		"[profile web]\nregion = eu-central-1\ncredential_process = vercelaws credential-process --role-arn %s\n", roleARN), 0o600))
	t.Setenv("AWS_CONFIG_FILE", file)
	t.Setenv("AWS_PROFILE", "web")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}

	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	identity, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	require.NoError(t, err)
	assert.Equal(t, "arn:aws:sts::123456789012:assumed-role/web/vercel-web-production", aws.ToString(identity.Arn))

	creds, err := cfg.Credentials.Retrieve(t.Context())
	require.NoError(t, err)
	assert.Equal(t, processcreds.ProviderName, creds.Source)
	session, ok := w.STS.Session(creds.AccessKeyID)
	require.True(t, ok)
	assert.True(t, creds.CanExpire)
	assert.WithinDuration(t, session.Expires, creds.Expires, time.Second, "the SDK plans its own refresh by the real end")
	assert.Equal(t, 1, w.STS.Calls("AssumeRoleWithWebIdentity"))
}

// What STS sends beyond an answer, or in a malformed one, is not printed: it may
// hold keys.
func TestMalformedAnswersAreNotPrinted(t *testing.T) {
	w := enter(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	const secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
	body := `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>` +
		`<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>` + secret + `</SecretAccessKey><SessionToken>session</SessionToken>` +
		`<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
	whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for name, sends := range map[string]string{
		"a body twice":     whole + body,
		"an answer twice":  whole + whole,
		"a bad trailer":    fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n\r\n", len(body), body, body),
		"no status line":   body + "\r\n\r\n",
		"an unescaped key": strings.ReplaceAll(whole, "wJalr", "w&alr"),
		"a bad expiry":     strings.ReplaceAll(whole, "2100-01-01T00:00:00Z", secret[:20]),
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close()
			go serveText(listener, sends)
			t.Setenv("AWS_ENDPOINT_URL_STS", "http://"+listener.Addr().String())
			var wg sync.WaitGroup
			for _, args := range [][]string{{"credential-process"}, {"exec", "--", os.Args[0], "-test.list", "^$"}, {"doctor"}} {
				wg.Add(1)
				go func() {
					defer wg.Done()
					command := exec.Command("vercelaws", append([]string{args[0], "--role-arn", roleARN}, args[1:]...)...)
					var errs strings.Builder
					command.Stderr = &errs
					_, err := command.Output()
					assert.NotNil(t, command.ProcessState, "%v", err)
					for _, part := range []string{secret[6:], secret[:12], "alrXUtn"} {
						assert.NotContains(t, errs.String(), part, "%s", args)
					}
				}()
			}
			wg.Wait()
		})
	}
	assert.Zero(t, w.STS.Calls("AssumeRoleWithWebIdentity"))
}

// serveText answers each request with text.
func serveText(listener net.Listener, text string) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			in := bufio.NewReader(c)
			for {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				sends := text
				if r.Method == http.MethodHead {
					sends = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
				}
				if _, err := io.WriteString(c, sends); err != nil {
					return
				}
			}
		}()
	}
}

// Twenty runs at once ask STS once.
func TestRunsAtOnceShareCredentials(t *testing.T) {
	w := enter(t)
	home := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
		t.Setenv(name, home)
	}
	var wg sync.WaitGroup
	outs := make([]string, 20)
	for i := range outs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			out, err := exec.CommandContext(t.Context(), "vercelaws", "credential-process", "--cache", "--role-arn", roleARN).CombinedOutput()
			assert.NoError(t, err, string(out))
			outs[i] = string(out)
		}()
	}
	wg.Wait()
	assert.Equal(t, 1, w.STS.Calls("AssumeRoleWithWebIdentity"))
	assert.Len(t, slices.Compact(outs), 1, "all have the same")
}

// Whoever asks while credentials roll over is told the end of those that it got.
func TestEndIsThatOfTheCredentials(t *testing.T) {
	w := enter(t)
	w.STS.SetFault(ststest.Always(ststest.Fault{Lifetime: 3 * time.Second}))
	role, err := roleFlags{arn: roleARN}.assume(t.Context(), execCommand)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for w.STS.Calls("AssumeRoleWithWebIdentity") < 4 && t.Context().Err() == nil {
				creds, err := role.credentials(t.Context())
				if !assert.NoError(t, err) {
					return
				}
				session, ok := w.STS.Session(creds.AccessKeyID)
				assert.True(t, ok)
				if !assert.WithinDuration(t, session.Expires, creds.Expires, time.Second) {
					return
				}
				time.Sleep(time.Millisecond) // leaves other packages' tests the processor
			}
		}()
	}
	wg.Wait()
}

func TestChildEnvironHasNoOtherCredentials(t *testing.T) {
	var environ []string
	for _, name := range stale {
		environ = append(environ, name+"=stale")
	}
	environ = append(environ, "aws_profile=stale", "AWS_BEARER_TOKEN_BEDROCK=stale", "AWS_BEARER_TOKEN_NEXT=stale", "AWS_REGION=eu-central-1", "AWS_PROFILES=mine", "EMPTY=", "=C:=C:\\", "no-equals")
	assert.Equal(t, []string{
		"AWS_REGION=eu-central-1", "AWS_PROFILES=mine", "EMPTY=", "=C:=C:\\", "no-equals",
		"AWS_DEFAULT_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=session",
		"AWS_CREDENTIAL_EXPIRATION=2030-01-02T03:04:05Z",
	}, childEnviron(environ, aws.Credentials{
		AccessKeyID: "id", SecretAccessKey: "secret", SessionToken: "session", Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}, "eu-west-1"))
	assert.Equal(t, "AWS_ACCESS_KEY_ID=stale", environ[0], "the input is left alone")
}

func TestServedEnvironHasOneWayToCredentials(t *testing.T) {
	environ := []string{"PATH=/bin", "AWS_REGION=", "AWS_BEARER_TOKEN_BEDROCK=stale"}
	for _, name := range append(append([]string{}, stale...), sharedFiles...) {
		environ = append(environ, name+"=stale")
	}
	got := servedEnviron(environ, []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/credentials"}, "eu-west-1")
	assert.Equal(t, []string{
		"PATH=/bin",
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_CONFIG_FILE=" + os.DevNull, "AWS_CREDENTIAL_FILE=" + os.DevNull, "BOTO_CONFIG=" + os.DevNull,
		"AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/credentials",
	}, got)
	// What the caller has set stays.
	assert.Contains(t, servedEnviron([]string{"AWS_DEFAULT_REGION=us-east-2"}, nil, "eu-west-1"), "AWS_DEFAULT_REGION=us-east-2")
	assert.NotContains(t, strings.Join(servedEnviron(nil, nil, ""), " "), "REGION")
}
