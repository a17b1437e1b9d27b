package docs

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/process"
	"github.com/vercelaws/vercelaws/internal/testworld"
	"github.com/vercelaws/vercelaws/oidc"
)

// TestStandaloneServer runs the server of docs/vercel.md: with the role where
// AWS_ROLE_ARN is set, with the developer's own profile where it is not, and on a
// port of its own, which it names, where PORT is missing.
func TestStandaloneServer(t *testing.T) {
	module := newModule(t)
	found := 0
	for _, b := range blocksOf(t, "go") {
		if b.page == "docs/vercel.md" && strings.HasPrefix(b.text, "package main\n") {
			module.write(t, "main.go", b.text)
			found++
		}
	}
	require.Equal(t, 1, found)
	module.run(t, "go", "build", "-o", "site", ".")

	const role = "arn:aws:iam::123456789012:role/web"
	w := testworld.New(role, false)
	defer w.Close()
	// The bucket holds an object that is named for who asks.
	bucket := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if session, err := w.STS.Verify(r); err == nil {
			who = session.Name
		} else if strings.Contains(r.Header.Get("Authorization"), "Credential=AKIDOFTHEDEVELOPER/") {
			who = "developer"
		}
		_, _ = io.WriteString(out, "<ListBucketResult><Contents><Key>"+who+"</Key></Contents></ListBucketResult>")
	}))
	defer bucket.Close()

	module.write(t, "credentials", "[default]\naws_access_key_id = AKIDOFTHEDEVELOPER\naws_secret_access_key = secret\n")
	start := func(environment ...string) *process.Process {
		t.Helper()
		cmd := exec.Command(filepath.Join(module.folder, "site"))
		cmd.Dir = module.folder
		cmd.Env = append([]string{
			"HOME=" + module.folder, "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(module.folder, "credentials"),
			"AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=us-east-1", "VERCEL_ENV=production",
			"AWS_ENDPOINT_URL_STS=" + w.STS.URL, "AWS_ENDPOINT_URL_S3=" + bucket.URL,
		}, environment...)
		p, err := process.Start(cmd)
		require.NoError(t, err)
		t.Cleanup(p.Kill)
		return p
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, c := range []struct{ environment, who string }{
		{"AWS_ROLE_ARN=" + role, "vercel-web-production"},
		{"AWS_ROLE_ARN=", "developer"},
	} {
		port := freePort(t)
		server := start(c.environment, "PORT="+port)
		require.NoError(t, server.WaitUntil(ctx, func() bool {
			conn, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err == nil {
				conn.Close()
			}
			return err == nil
		}))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/photos", nil)
		require.NoError(t, err)
		req.Header.Set(oidc.Header, w.Issuer.Mint())
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		var keys []string
		err = json.NewDecoder(res.Body).Decode(&keys)
		res.Body.Close()
		require.NoError(t, err, server.Output())
		assert.Equal(t, []string{c.who}, keys)
		assert.Contains(t, server.Output(), "listening on port "+port)
		assert.NoError(t, server.Stop(syscall.SIGTERM))
	}

	const named = "listening on port 3000"
	server := start("AWS_ROLE_ARN=" + role)
	if err := server.WaitUntil(ctx, func() bool { return strings.Contains(server.Output(), named) }); err != nil {
		assert.ErrorContains(t, err, named, "it has ended, since the port is taken here")
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}
