package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/process"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// localProgram is what a newcomer writes after the README: it prints a listing,
// or serves it where PORT is set.
const localProgram = `package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background(),
		config.WithCredentialsProvider(vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN"))))
	if err != nil {
		log.Fatal(err)
	}
	client := s3.NewFromConfig(cfg)
	list := func(ctx context.Context) ([]string, error) {
		out, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("photos")})
		if err != nil {
			return nil, err
		}
		var keys []string
		for _, o := range out.Contents {
			keys = append(keys, *o.Key)
		}
		return keys, nil
	}
	if port := os.Getenv("PORT"); port != "" {
		log.Fatal(http.ListenAndServe("127.0.0.1:"+port, oidc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			keys, err := list(r.Context())
			if err != nil {
				log.Print(err)
				http.Error(w, "no", http.StatusBadGateway)
				return
			}
			json.NewEncoder(w).Encode(keys)
		}))))
	}
	keys, err := list(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	json.NewEncoder(os.Stdout).Encode(keys)
}
`

// TestLocalDevelopment goes the README's way in an empty folder: go mod init, a
// linked folder, the Vercel CLI (a fake one: the real one wants a login), go
// run. Then the same program takes its token from a file, from the environment,
// and from a request's header.
func TestLocalDevelopment(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	checkout, err := filepath.Abs("..")
	require.NoError(t, err)
	write := func(path, content string, mode os.FileMode) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
	}
	environment := append(withoutTokens(os.Environ()),
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "GOFLAGS=-mod=mod", "GOWORK=off",
		"AWS_REGION=us-east-1", "AWS_ROLE_ARN="+store.RoleARN, "AWS_ENDPOINT_URL_STS="+store.URL, "AWS_ENDPOINT_URL_S3="+store.URL)
	run := func(extra []string, name string, args ...string) (stdout, stderr string, err error) {
		cmd := exec.CommandContext(within(t, buildTime), name, args...)
		var out, errs strings.Builder
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(environment, extra...), &out, &errs
		err = cmd.Run()
		return out.String(), errs.String(), err
	}
	must := func(name string, args ...string) {
		t.Helper()
		_, stderr, err := run(nil, name, args...)
		require.NoError(t, err, stderr)
	}
	write(filepath.Join(dir, "main.go"), localProgram, 0o600)
	must("go", "mod", "init", "example.com/app")
	must("go", "mod", "edit", "-require=github.com/vercelaws/vercelaws@v0.0.0", "-replace=github.com/vercelaws/vercelaws="+checkout)
	must("go", "mod", "tidy")

	development := func() string {
		return issuer.Mint(func(c *oidctest.Claims) { c.Environment, c.UserID = "development", "user_1" })
	}
	listed := func(out string) {
		t.Helper()
		var keys []string
		require.NoError(t, json.Unmarshal([]byte(out), &keys), out)
		assert.Equal(t, photoKeys, keys)
	}

	_, stderr, err := run(nil, "go", "run", ".")
	require.Error(t, err)
	assert.Contains(t, stderr, "vercel link", "the first error says what to do")

	write(filepath.Join(dir, ".vercel", "project.json"), `{"projectId":"prj_web","orgId":"team_acme"}`, 0o600)
	write(filepath.Join(bin, "vercel"), "#!/bin/sh\necho 'Error: No existing credentials found. Please log in' >&2\nexit 1\n", 0o755)
	_, stderr, err = run(nil, "go", "run", ".")
	require.Error(t, err)
	assert.Contains(t, stderr, "vercel login")

	write(filepath.Join(bin, "vercel"), "#!/bin/sh\n[ \"$*\" = 'project token prj_web --format=json --scope team_acme' ] || exit 9\necho '{\"token\":\""+development()+"\"}'\n", 0o755)
	out, stderr, err := run(nil, "go", "run", ".")
	require.NoError(t, err, stderr)
	listed(out)

	// One binary, everywhere else.
	must("go", "build", "-buildvcs=false", "-o", "app", ".")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, ".vercel")))
	file := filepath.Join(t.TempDir(), "token")
	write(file, development()+"\n", 0o600)
	for _, from := range []string{"VERCEL_OIDC_TOKEN_FILE=" + file, "VERCEL_OIDC_TOKEN=" + development()} {
		out, stderr, err := run([]string{from}, filepath.Join(dir, "app"))
		require.NoError(t, err, stderr)
		listed(out)
	}

	port := freePort(t)
	cmd := exec.Command(filepath.Join(dir, "app"))
	cmd.Env = append(environment, "PORT="+port, "VERCEL=1")
	server, err := process.Start(cmd)
	require.NoError(t, err)
	defer func() { assert.NoError(t, server.Stop(syscall.SIGTERM)) }()
	ctx := within(t, patience)
	require.NoError(t, server.WaitUntil(ctx, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port, nil)
	require.NoError(t, err)
	req.Header.Set(oidc.Header, issuer.Mint())
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode, server.Output())
	var keys []string
	require.NoError(t, json.NewDecoder(res.Body).Decode(&keys))
	assert.Equal(t, photoKeys, keys)
}

// withoutTokens is an environment without what says where a token is.
func withoutTokens(environment []string) []string {
	var out []string
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "VERCEL") && !strings.HasPrefix(name, "AWS_") && name != "PATH" && name != "GOFLAGS" {
			out = append(out, entry)
		}
	}
	return out
}
