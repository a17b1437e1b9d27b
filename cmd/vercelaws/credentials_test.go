package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// enter leads this process, and the commands it starts, to a new world.
func enter(t *testing.T) *world {
	w := newWorld()
	t.Cleanup(w.close)
	for _, variable := range w.environ() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	t.Setenv("VERCEL_OIDC_TOKEN", w.issuer.Mint())
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
	session, ok := w.aws.Session(creds.AccessKeyID)
	require.True(t, ok)
	assert.True(t, creds.CanExpire)
	assert.True(t, creds.Expires.Before(session.Expires), "the SDK would use the credentials to their last second")
	assert.Greater(t, time.Until(creds.Expires), 30*time.Minute)
	assert.Equal(t, 1, w.aws.Calls("AssumeRoleWithWebIdentity"))
}

// Signals reach the child of exec, and what it makes of them reaches the
// parent.
func TestExecPassesSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("signals are not Windows's")
	}
	enter(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, test := range []struct {
			name, script string
			check        func(t *testing.T, state syscall.WaitStatus)
		}{
			{"handled", `trap 'exit 7' TERM INT; echo ready; while :; do read line; done`, func(t *testing.T, state syscall.WaitStatus) {
				assert.Equal(t, 7, state.ExitStatus())
			}},
			{"not handled", `echo ready; exec cat`, func(t *testing.T, state syscall.WaitStatus) {
				assert.Equal(t, sig, state.Signal())
			}},
		} {
			t.Run(fmt.Sprint(sig, " ", test.name), func(t *testing.T) {
				child := exec.Command("vercelaws", "exec", "--role-arn", roleARN, "--", "sh", "-c", test.script)
				in, err := child.StdinPipe() // open, so that the script waits
				require.NoError(t, err)
				defer in.Close()
				out, err := child.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, child.Start())
				line, err := bufio.NewReader(out).ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, "ready\n", line)
				require.NoError(t, child.Process.Signal(sig))
				assert.Error(t, child.Wait())
				test.check(t, child.ProcessState.Sys().(syscall.WaitStatus))
			})
		}
	}
}

func TestChildEnvironHasNoOtherCredentials(t *testing.T) {
	var environ []string
	for _, name := range stale {
		environ = append(environ, name+"=stale")
	}
	environ = append(environ, "aws_profile=stale", "AWS_REGION=eu-central-1", "AWS_PROFILES=mine", "EMPTY=", "=C:=C:\\", "no-equals")
	assert.Equal(t, []string{
		"AWS_REGION=eu-central-1", "AWS_PROFILES=mine", "EMPTY=", "=C:=C:\\", "no-equals",
		"AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=session",
	}, childEnviron(environ, aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret", SessionToken: "session"}))
	assert.Equal(t, "AWS_ACCESS_KEY_ID=stale", environ[0], "the input is left alone")
}
