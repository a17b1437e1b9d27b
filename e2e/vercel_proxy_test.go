//go:build unix

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/process"
	"github.com/vercelaws/vercelaws/e2e/internal/vercelbuild"
	"github.com/vercelaws/vercelaws/oidc"
)

// proxyAddress is where Vercel's proxy listens; it has no setting for it.
const proxyAddress = "127.0.0.1:3000"

// behindProxy is a server behind Vercel's proxy.
type behindProxy struct {
	*process.Process
	pid int // of the proxy
}

// startBehindProxy starts the proxy in folder; it starts ./user-server itself.
func startBehindProxy(t *testing.T, proxy string, env []string) *behindProxy {
	t.Helper()
	lockProxyAddress(t)
	cmd := exec.Command(proxy)
	cmd.Dir, cmd.Env = filepath.Dir(proxy), env
	// The proxy leaves its server running when it ends: the group ends both.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p, err := process.Start(cmd)
	require.NoError(t, err)
	b := &behindProxy{p, cmd.Process.Pid}
	t.Cleanup(func() {
		_ = syscall.Kill(-b.pid, syscall.SIGKILL)
		<-p.Ended()
		_ = p.Stop(syscall.SIGKILL) // closes its output; that it has ended is known
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, p.WaitUntil(ctx, func() bool {
		status, _, err := ask("/_vercel/ping")
		return err == nil && status == http.StatusOK
	}))
	return b
}

// lockProxyAddress waits until no other run of the tests has the proxy's
// address.
func lockProxyAddress(t *testing.T) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "vercelaws-e2e-3000.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { lock.Close() })
	require.Eventually(t, func() bool {
		return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	}, 3*time.Minute, 100*time.Millisecond, "another run of the tests uses %s", proxyAddress)
	l, err := net.Listen("tcp", proxyAddress)
	require.NoError(t, err, "Vercel's proxy listens on %s, and something else does: stop that, and run the test again", proxyAddress)
	require.NoError(t, l.Close())
}

// child returns the process that the proxy has started.
func (b *behindProxy) child(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", b.pid))
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		if fields := strings.Fields(string(content)); len(fields) > 0 {
			pid, err := strconv.Atoi(fields[0])
			require.NoError(t, err)
			return pid
		}
	}
	t.Fatal("the proxy has no child")
	return 0
}

// ask sends a request to the proxy with these headers, name and value in turn.
func ask(path string, headers ...string) (status int, body string, err error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+proxyAddress+path, nil)
	if err != nil {
		return 0, "", err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// TestExampleServerBehindVercelsProxy runs examples/server as Vercel built it,
// behind the proxy that the build put beside it, and behind the newest one.
func TestExampleServerBehindVercelsProxy(t *testing.T) {
	e := buildExample(t, "server")
	tools, err := vercelbuild.Tools(t.Context())
	require.NoError(t, err)
	newest, err := os.ReadFile(filepath.Join(tools, "@vercel", "go", "bin", "proxy-linux-amd64"))
	require.NoError(t, err)

	for _, c := range []struct {
		name  string
		proxy []byte // nil: the build's own
	}{{"of the build", nil}, {"of @vercel/go", newest}} {
		t.Run(c.name, func(t *testing.T) {
			s := newServices(t, time.Hour)
			folder, env := exampleServer(t, s)
			proxy := filepath.Join(folder, "executable")
			if c.proxy != nil {
				require.NoError(t, os.WriteFile(proxy, c.proxy, 0o755))
			}
			server := startBehindProxy(t, proxy, env)

			status, body, err := ask("/_vercel/ping")
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "OK", body, "the proxy answers its health check itself")
			status, body, err = ask("/healthz")
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
			assert.JSONEq(t, `{"status": "ok"}`, body)

			// Before any other token: the instance remembers.
			status, _, err = ask("/photos", "X-Vercel-Internal-Oidc-Token", issuer.Mint())
			require.NoError(t, err)
			assert.Equal(t, http.StatusServiceUnavailable, status, "the proxy takes x-vercel-internal-* headers away")
			status, body, err = ask("/photos", oidc.Header, issuer.Mint())
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status, server.Output())
			assert.JSONEq(t, `{"photos": ["2026/snow.jpg"]}`, body)
			assert.Equal(t, "{\"photos\":[\"2026/snow.jpg\"]}\n{\"visits\":1}\n", e.try(t, toProxy{}))
			assert.NotContains(t, server.Output(), "PORT is not set")
		})
	}
}

// toProxy sends requests to the proxy, whatever host they are for.
type toProxy struct{}

func (toProxy) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", proxyAddress
	return http.DefaultTransport.RoundTrip(r)
}

// TestExampleServerDrainsBehindVercelsProxy tells the server to end while
// requests through the proxy are open. Each is answered while another is open.
// The last one's answer is not looked for: the proxy ends as soon as its server
// has, and does not drain itself.
func TestExampleServerDrainsBehindVercelsProxy(t *testing.T) {
	s := newServices(t, time.Hour)
	s.hold = make(chan struct{})
	folder, env := exampleServer(t, s)
	server := startBehindProxy(t, filepath.Join(folder, "executable"), env)
	const open = 50
	token := issuer.Mint()
	answers := make(chan int, open)
	var wg sync.WaitGroup
	for range open {
		wg.Add(1)
		go func() {
			defer wg.Done()
			status, _, _ := ask("/photos", oidc.Header, token)
			answers <- status
		}()
	}
	require.Eventually(t, func() bool { return s.held.Load() == open }, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, syscall.Kill(server.child(t), syscall.SIGTERM))
	// It takes no connections any more, so the proxy has nobody to ask.
	require.Eventually(t, func() bool {
		status, _, err := ask("/healthz")
		return err == nil && status == http.StatusBadGateway
	}, 30*time.Second, 5*time.Millisecond)
	for range open - 1 {
		s.hold <- struct{}{}
		assert.Equal(t, http.StatusOK, <-answers)
	}
	close(s.hold)
	wg.Wait()
	select {
	case <-server.Ended():
	case <-time.After(30 * time.Second):
		t.Fatal("the server has not ended")
	}
	assert.Contains(t, server.Output(), "the user server exited unexpectedly with exit code 0", "the proxy calls a clean end unexpected")
}

// TestVercelsBuilderIsTheNewest holds the builder that the CLI brings against
// the newest: they are the same code, so what is built here is what Vercel
// builds.
func TestVercelsBuilderIsTheNewest(t *testing.T) {
	tools, err := vercelbuild.Tools(t.Context())
	if err != nil {
		t.Skip(err)
	}
	for _, file := range []string{"dist/index.js", "main.go", "analyze.go"} {
		newest, err := os.ReadFile(filepath.Join(tools, "@vercel", "go", file))
		require.NoError(t, err)
		used, err := os.ReadFile(filepath.Join(tools, "vercel", "node_modules", "@vercel", "go", file))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(newest, used), file)
	}
	var lock struct {
		Packages map[string]struct{ Resolved string }
	}
	b, err := os.ReadFile(filepath.Join("npm", "package-lock.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &lock))
	for name, p := range lock.Packages {
		assert.Empty(t, p.Resolved, "%s names a registry; make the lock file with npm install --omit-lockfile-registry-resolved", name)
	}
}
