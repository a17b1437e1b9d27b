package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/npm"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

// stsClientJS is the version of the AWS SDK for JavaScript that the test was
// written against.
const stsClientJS = "@aws-sdk/client-sts@3.1174.0"

const (
	// toldLife is how long STS says that credentials live. It is short, so that
	// they roll over while the test looks on. The library has them serve an eighth
	// of it at least, which is more than botocore needs to look at what it got.
	toldLife = 10 * time.Second
	// grace is how far STS's clock is behind. It accepts credentials for so much
	// longer than it says, so that no call fails because the machine is slow;
	// less than the 5 minutes that it allows a token's nbf to be ahead.
	grace = 4 * time.Minute
	// rollOverLimit bounds the wait for it.
	rollOverLimit = 2 * time.Minute
)

// shortSTS is an STS whose credentials live for toldLife. It remembers which
// access keys its callers signed with.
type shortSTS struct {
	*ststest.Server
	url string

	mu   sync.Mutex
	keys map[string]bool
}

const servedRole = "arn:aws:iam::" + ststest.Account + ":role/served"

func newShortSTS(t *testing.T) *shortSTS {
	server := startSTS(t, "production", []string{servedRole}, func(o *ststest.Options) {
		o.Now = func() time.Time { return time.Now().Add(-grace) }
	})
	server.SetFault(ststest.Always(ststest.Fault{Lifetime: grace + toldLife}))

	target, err := url.Parse(server.URL)
	require.NoError(t, err)
	s := &shortSTS{Server: server, keys: map[string]bool{}}
	proxy := httputil.NewSingleHostReverseProxy(target) // it leaves the Host alone, which is signed
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
			key, _, _ := strings.Cut(rest, "/")
			s.mu.Lock()
			s.keys[key] = true
			s.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.url = front.URL
	return s
}

// seen is how many access keys were used.
func (s *shortSTS) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys)
}

// environ leads the command, and its child, to s, and to nothing of the
// machine. The region is in the shared config file alone.
func (s *shortSTS) environ(t *testing.T) []string {
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte("[profile other]\nregion = eu-central-1\naws_access_key_id = AKIAWRONG\naws_secret_access_key = wrong\n"), 0o600))
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + t.TempDir(),
		"VERCEL=1", // no Vercel CLI
		"VERCEL_OIDC_TOKEN=" + issuer.Mint(func(c *oidctest.Claims) { c.NotBefore = time.Now().Add(-grace) }),
		"AWS_ENDPOINT_URL_STS=" + s.url,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + file,
		"AWS_PROFILE=other",
		"AWS_ACCESS_KEY_ID=AKIAWRONG",
		"AWS_SECRET_ACCESS_KEY=wrong",
	}
}

// rollOver has the child served in each way: by exec, and by a server that did
// not start it.
func rollOver(t *testing.T, child ...string) {
	t.Helper()
	command, err := buildCommand()
	require.NoError(t, err)
	t.Run("exec", func(t *testing.T) {
		t.Parallel()
		s := newShortSTS(t)
		ctx, cancel := context.WithTimeout(t.Context(), rollOverLimit)
		defer cancel()
		run := exec.CommandContext(ctx, command, append([]string{"exec", "--serve", "--role-arn", servedRole, "--"}, child...)...)
		run.Env = s.environ(t)
		s.rollOver(t, run)
	})
	t.Run("serve", func(t *testing.T) {
		t.Parallel()
		s := newShortSTS(t)
		ctx, cancel := context.WithTimeout(t.Context(), rollOverLimit)
		defer cancel()
		run := exec.CommandContext(ctx, child[0], child[1:]...)
		run.Env = append([]string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_REGION=eu-central-1", "AWS_DEFAULT_REGION=eu-central-1",
			"AWS_ENDPOINT_URL_STS=" + s.url, "AWS_EC2_METADATA_DISABLED=true",
		}, s.serve(ctx, t, command)...)
		s.rollOver(t, run)
	})
}

// serve starts vercelaws serve, and returns the variables that it prints.
func (s *shortSTS) serve(ctx context.Context, t *testing.T, command string) (variables []string) {
	serve := exec.CommandContext(ctx, command, "serve", "--role-arn", servedRole)
	serve.Env = s.environ(t)
	serve.Cancel = func() error { return serve.Process.Signal(os.Interrupt) }
	serve.WaitDelay = 10 * time.Second
	out, err := serve.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, serve.Start())
	t.Cleanup(func() { _ = serve.Wait() }) // the end of ctx interrupts it
	for lines := bufio.NewScanner(out); len(variables) < 2 && lines.Scan(); {
		variables = append(variables, lines.Text())
	}
	require.Len(t, variables, 2)
	return variables
}

// rollOver runs a program that says who it is, for each line that it is sent,
// over and over, until AWS has seen it with other credentials than at first.
// Every answer must be right.
func (s *shortSTS) rollOver(t *testing.T, run *exec.Cmd) {
	t.Helper()
	var stderr bytes.Buffer
	run.Stderr = &stderr
	run.WaitDelay = 10 * time.Second
	in, err := run.StdinPipe()
	require.NoError(t, err)
	out, err := run.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, run.Start())
	answers := bufio.NewScanner(out)
	pace := time.NewTicker(20 * time.Millisecond) // nobody is helped by thousands of calls
	defer pace.Stop()
	calls := 0
	for ; s.seen() < 2; calls++ {
		<-pace.C
		_, err := io.WriteString(in, "\n")
		require.NoError(t, err)
		if !assert.True(t, answers.Scan(), "the child has ended") ||
			!assert.Equal(t, "arn:aws:sts::"+ststest.Account+":assumed-role/served/vercel-web-production", strings.Trim(answers.Text(), `"`)) {
			break
		}
	}
	require.NoError(t, in.Close())
	require.NoError(t, run.Wait(), stderr.String())
	require.False(t, t.Failed(), stderr.String())
	t.Logf("%d calls with %d access keys, for which STS was asked %d times", calls, s.seen(), s.Calls("AssumeRoleWithWebIdentity"))
}

// Every AWS CLI on this machine: version 1 and version 2 have each their own
// way of reading credentials.
func TestServesTheAWSCLI(t *testing.T) {
	for name, program := range awsPrograms(t) {
		t.Run(name, func(t *testing.T) {
			rollOver(t, "sh", "-c", `while read -r line; do "$0" sts get-caller-identity --query Arn --output text --endpoint-url "$AWS_ENDPOINT_URL_STS" || exit 1; done`, program)
		})
	}
}

// awsPrograms are the AWS CLIs in PATH, by what they say of themselves.
func awsPrograms(t *testing.T) map[string]string {
	found := map[string]string{}
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		path, err := exec.LookPath(filepath.Join(folder, "aws"))
		if err != nil {
			continue
		}
		version, err := exec.CommandContext(t.Context(), path, "--version").CombinedOutput()
		if name, _, _ := strings.Cut(string(version), " "); err == nil && found[name] == "" {
			found[name] = path
		}
	}
	if len(found) == 0 {
		t.Skip("the AWS CLI is not installed, so nothing is tried with it: run make awscli")
	}
	return found
}

// The SDK for JavaScript, as npm has it.
func TestServesTheJavaScriptSDK(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on this machine, so the SDK for JavaScript is not tried")
	}
	modules := npm.Install(t, stsClientJS)
	script := filepath.Join(t.TempDir(), "whoami.mjs")
	require.NoError(t, os.WriteFile(script, []byte(`import { createInterface } from "node:readline";
import { createRequire } from "node:module";
const { STSClient, GetCallerIdentityCommand } = createRequire(process.argv[2] + "/")("@aws-sdk/client-sts");
const client = new STSClient({ maxAttempts: 1 });
for await (const line of createInterface({ input: process.stdin })) {
  console.log((await client.send(new GetCallerIdentityCommand({}))).Arn);
}
`), 0o600))
	rollOver(t, node, script, modules)
}

// The SDK for Go, with the credentials that config finds by itself. The
// program is this test's own, run again.
func TestServesTheGoSDK(t *testing.T) {
	rollOver(t, "env", whoAmIVariable+"=1", os.Args[0])
}

// The child's child is served as well.
func TestServesGrandchildren(t *testing.T) {
	rollOver(t, "sh", "-c", `sh -c 'env `+whoAmIVariable+`=1 "$0"' "$0"`, os.Args[0])
}

// What was started by a child that has ended gets nothing any more.
func TestExecServesNobodyAfterwards(t *testing.T) {
	t.Parallel()
	command, err := buildCommand()
	require.NoError(t, err)
	s := newShortSTS(t)
	ctx, cancel := context.WithTimeout(t.Context(), rollOverLimit)
	defer cancel()
	run := exec.CommandContext(ctx, command, "exec", "--serve", "--role-arn", servedRole, "--", "sh", "-c",
		`echo "$AWS_CONTAINER_CREDENTIALS_FULL_URI $AWS_CONTAINER_AUTHORIZATION_TOKEN"`)
	run.Env = s.environ(t)
	out, err := run.Output()
	require.NoError(t, err)
	uri, token, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	require.True(t, ok)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", token)
	_, err = http.DefaultClient.Do(r)
	assert.ErrorContains(t, err, "refused")
}

// whoAmIVariable makes the test's binary the program whoAmI.
const whoAmIVariable = "VERCELAWS_E2E_WHO_AM_I"

// whoAmI says who AWS takes it for, for each line that it reads. Its client is
// made as most programs make theirs.
func whoAmI(ctx context.Context, in io.Reader, out io.Writer) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRetryMaxAttempts(1))
	if err != nil {
		return err
	}
	client := sts.NewFromConfig(cfg)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		identity, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, aws.ToString(identity.Arn)); err != nil {
			return err
		}
	}
	return lines.Err()
}
