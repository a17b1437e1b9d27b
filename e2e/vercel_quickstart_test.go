package e2e

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/vercelbuild"
)

// quickStart returns the commands of the README's quick start for a function, in
// three blocks: the one in the middle writes the function. The AWS side is not
// among them.
func quickStart(t *testing.T) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	function := functionBlock.FindStringSubmatch(string(text))
	require.NotNil(t, function)
	_, section, _ := strings.Cut(string(text), "\n## Quick start\n")
	section, _, found := strings.Cut(section, "\n### ")
	require.True(t, found)
	commands := shellBlock.FindAllStringSubmatch(section, -1)
	require.Len(t, commands, 3) // the first makes the role
	return []string{commands[1][1], "cat > api/photos.go <<'END'\n" + function[1] + "END\n", commands[2][1]}
}

var (
	functionBlock = regexp.MustCompile("(?ms)^```go\n(package handler\n.*?)^```$")
	shellBlock    = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
)

// TestQuickStartBeforeAPublishedVersion follows docs/vercel.md where there is no
// version to get yet, and then where there is.
func TestQuickStartBeforeAPublishedVersion(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "vercel.md"))
	require.NoError(t, err)
	blocks := quickStart(t)
	const get = "go get github.com/vercelaws/vercelaws\n"
	require.Contains(t, blocks[0], get)
	p, err := vercelbuild.Follow(t.Context(), t.TempDir(),
		strings.Replace(blocks[0], get, "", 1)+blocks[1]+"vercel link\n"+vercelbuild.Blocks(string(text), "sh")["The commands"], nil)
	if errors.Is(err, vercelbuild.ErrNoTools) {
		t.Skip(err)
	}
	require.NoError(t, err)
	output, err := p.Output()
	require.NoError(t, err)
	assert.Contains(t, output.Functions, "api/photos")
	gomod, err := os.ReadFile(filepath.Join(p.Folder, "go.mod"))
	require.NoError(t, err)
	assert.NotContains(t, string(gomod), "replace")
	assert.Contains(t, string(gomod), "github.com/vercelaws/vercelaws v0.0.1-e2e.")
}

// TestQuickStart follows the README's quick start from an empty folder, with
// the checkout as a published version, and runs what Vercel's builder makes.
func TestQuickStart(t *testing.T) {
	blocks := quickStart(t)
	script := strings.Join(blocks, "")
	// What vercel deploy --prod has Vercel do.
	script += "vercel pull --yes --environment=production\nvercel build --prod\n"
	e := &example{}
	var err error
	e.Project, err = vercelbuild.Follow(t.Context(), t.TempDir(), script, nil)
	if errors.Is(err, vercelbuild.ErrNoTools) {
		t.Skip(err)
	}
	require.NoError(t, err)
	e.Output, err = e.Project.Output()
	require.NoError(t, err)
	assert.Equal(t, []string{"index.html"}, e.Static)
	require.Contains(t, e.Functions, "api/photos")
	assert.Equal(t, []string{"bootstrap"}, e.Functions["api/photos"].Files)

	s := newServices(t, time.Hour)
	const host = "photos.s3.us-east-1.amazonaws.com"
	system := filepath.Join(t.TempDir(), "system.pem")
	certificate := selfSigned(host)
	require.NoError(t, os.WriteFile(system, certificate.encoded, 0o600))
	fn := e.start(t, "api/photos", map[string]string{"AWS_ROLE_ARN": dbRole, "AWS_REGION": "us-east-1"},
		"AWS_ENDPOINT_URL_STS="+s.sts.URL, "SSL_CERT_FILE="+system, "HTTPS_PROXY="+onlyFor(t, host+":443", certificate.tls, s))
	get := func(token string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://demo.vercel.app/api/photos", nil)
		require.NoError(t, err)
		if token != "" {
			req.Header.Set("x-vercel-oidc-token", token)
		}
		res, err := fn.RoundTrip(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(body)
	}
	status, _ := get("")
	assert.Equal(t, http.StatusBadGateway, status)
	status, body := get(issuer.Mint())
	require.Equal(t, http.StatusOK, status, "%s\n%s", body, fn.Log())
	var objects []struct{ Key string }
	require.NoError(t, json.Unmarshal([]byte(body), &objects))
	require.Len(t, objects, 1)
	assert.Equal(t, "2026/snow.jpg", objects[0].Key)
}

// onlyFor is an HTTPS proxy that leads to handler, for one address, and nowhere
// else: the quick start's client has no setting for another endpoint.
func onlyFor(t *testing.T, address string, certificate tls.Certificate, handler http.Handler) (proxy string) {
	t.Helper()
	target := httptest.NewUnstartedServer(handler)
	target.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	target.StartTLS()
	t.Cleanup(target.Close)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != address {
			t.Errorf("a request to %s %s", r.Method, r.Host)
			http.Error(w, "not here", http.StatusForbidden)
			return
		}
		server, err := net.Dial("tcp", target.Listener.Addr().String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer server.Close()
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(server, client)
			server.Close()
		}()
		_, _ = io.Copy(client, server)
	}))
	t.Cleanup(front.Close)
	return front.URL
}
