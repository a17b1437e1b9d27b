package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/ststest"
)

const batchARN = "arn:aws:iam::" + ststest.Account + ":role/jobs/batch"

// startServe starts the command, and returns the variables that it prints, by
// the role's path.
func startServe(t *testing.T, blocks int, flags ...string) (*exec.Cmd, map[string]map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	serve := exec.CommandContext(ctx, "vercelaws", append([]string{"serve"}, flags...)...)
	serve.Stderr = os.Stderr
	out, err := serve.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, serve.Start())
	t.Cleanup(func() { cancel(); _ = serve.Wait() })
	found := map[string]map[string]string{}
	lines := bufio.NewScanner(out)
	for block := map[string]string{}; len(found) < blocks && lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), "=")
		switch {
		case ok:
			block[name] = value
		case lines.Text() == "":
			_, path, _ := strings.Cut(strings.TrimPrefix(block["AWS_CONTAINER_CREDENTIALS_FULL_URI"], "http://"), "/")
			found[path], block = block, map[string]string{}
		}
	}
	require.NoError(t, lines.Err())
	return serve, found
}

func served(t *testing.T, variables map[string]string) (aws.Credentials, error) {
	return endpointcreds.New(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"], func(o *endpointcreds.Options) {
		o.AuthorizationToken = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
		o.Retryer = aws.NopRetryer{}
	}).Retrieve(t.Context())
}

func TestServe(t *testing.T) {
	w := enter(t)
	w.STS.AddRole(ststest.Role{ARN: batchARN, TrustPolicy: w.Policy})
	serve, found := startServe(t, 2, "--role-arn", roleARN, "--role-arn", batchARN)
	require.Len(t, found, 2)
	var ids []string
	for path, want := range map[string]string{"123456789012/web": roleARN, "123456789012/jobs/batch": batchARN} {
		creds, err := served(t, found[path])
		require.NoError(t, err, path)
		session, ok := w.STS.Session(creds.AccessKeyID)
		require.True(t, ok)
		assert.Equal(t, want, session.RoleARN)
		assert.WithinDuration(t, session.Expires, creds.Expires, time.Second)
		ids = append(ids, creds.AccessKeyID)
	}
	assert.Len(t, ids, 2)
	assert.Equal(t, 2, w.STS.Calls("AssumeRoleWithWebIdentity"))

	// Many at once are no more calls.
	var wg sync.WaitGroup
	for range 200 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := served(t, found["123456789012/web"])
			assert.NoError(t, err)
		}()
	}
	wg.Wait()
	assert.Equal(t, 2, w.STS.Calls("AssumeRoleWithWebIdentity"))

	if runtime.GOOS == "windows" {
		return // no signals
	}
	require.NoError(t, serve.Process.Signal(os.Interrupt))
	assert.NoError(t, serve.Wait(), "that is how it is to end")
	_, err := served(t, found["123456789012/web"])
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// Both sides can be told the port and the token beforehand.
func TestServeIsToldItsAddress(t *testing.T) {
	enter(t)
	const token = "a token of the compose file's"
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", token)
	t.Setenv("AWS_ROLE_ARN", roleARN)
	serve, found := startServe(t, 1)
	first := found["123456789012/web"]
	assert.Equal(t, token, first["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
	require.NoError(t, serve.Process.Kill())
	_ = serve.Wait()
	uri := first["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
	port := strings.TrimSuffix(strings.TrimPrefix(uri, "http://127.0.0.1:"), "/123456789012/web")
	_, found = startServe(t, 1, "--port", port)
	assert.Equal(t, first, found["123456789012/web"])
	_, err := served(t, first)
	assert.NoError(t, err)

	var out, errs strings.Builder
	assert.Equal(t, exitFailed, run(t.Context(), []string{"serve", "--port", port}, streams{nil, &out, &errs}), "the port is taken")
	assert.Contains(t, errs.String(), "no endpoint")
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "short")
	assert.Equal(t, exitUsage, run(t.Context(), []string{"serve"}, streams{nil, &out, &errs}))
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
	for _, other := range []string{roleARN, strings.Replace(roleARN, "arn:aws:", "arn:aws-cn:", 1)} {
		errs.Reset()
		assert.Equal(t, exitUsage, run(t.Context(), []string{"serve", "--role-arn", roleARN, "--role-arn", batchARN, "--role-arn", other}, streams{nil, &out, &errs}))
		assert.Contains(t, errs.String(), "more than once for the path /123456789012/web")
	}
	t.Setenv("VERCEL_OIDC_TOKEN", "")
	assert.Equal(t, exitFailed, run(t.Context(), []string{"serve"}, streams{nil, &out, &errs}), "without a token it does not begin")
	assert.Empty(t, out.String())
}
