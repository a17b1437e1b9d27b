package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/process"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/ststest"
)

// services answers for S3 and DynamoDB, after it has checked each request's
// signature against the sessions that the STS issued. MinIO's sessions live 15 minutes at least, which is too long to
// see them roll over; examples/s3 is tested against MinIO.
type services struct {
	sts    *ststest.Server
	visits atomic.Int64
	keys   sync.Map      // access keys seen
	hold   chan struct{} // if not nil, each answer waits for a value, or until it is closed
	held   atomic.Int64
}

func (s *services) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	session, err := s.sts.Verify(r)
	var refused *ststest.Error
	if errors.As(err, &refused) {
		w.Header().Set("X-Amzn-ErrorType", refused.Code)
		w.WriteHeader(refused.Status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", refused.Code, refused.Message)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.keys.Store(session.AccessKeyID, true)
	if s.hold != nil {
		s.held.Add(1)
		select {
		case <-s.hold:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case r.Header.Get("X-Amz-Target") == "DynamoDB_20120810.UpdateItem":
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		fmt.Fprintf(w, `{"Attributes":{"visits":{"N":"%d"}}}`, s.visits.Add(1))
	case r.Method == http.MethodGet:
		fmt.Fprint(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>2026/snow.jpg</Key></Contents></ListBucketResult>`)
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
}

func (s *services) rolledOver() (n int) {
	s.keys.Range(func(any, any) bool { n++; return true })
	return n
}

// exampleServer lays out examples/server as Vercel builds it, and returns its
// folder and the environment of its project.
func exampleServer(t *testing.T, s *services) (folder string, env []string) {
	t.Helper()
	e := buildExample(t, "server")
	folder = t.TempDir()
	_, err := e.Functions["go"].Unpack(folder)
	require.NoError(t, err)
	aws := httptest.NewServer(s)
	t.Cleanup(aws.Close)
	values := map[string]string{"AWS_ROLE_ARN": dbRole, "AWS_REGION": "us-east-1", "BUCKET": "photos", "TABLE": "visits"}
	env = []string{"VERCEL=1", "VERCEL_ENV=production", "AWS_LAMBDA_FUNCTION_NAME=e2e",
		"AWS_ENDPOINT_URL_STS=" + s.sts.URL, "AWS_ENDPOINT_URL_S3=" + aws.URL, "AWS_ENDPOINT_URL_DYNAMODB=" + aws.URL}
	for _, name := range e.Environment {
		require.Contains(t, values, name, "the README sets it")
		env = append(env, name+"="+values[name])
	}
	return folder, env
}

// startExampleServer starts examples/server, and a proxy before it, which adds
// the token. More is added to the server's environment.
func startExampleServer(t *testing.T, s *services, more ...string) (base, address string, server *process.Process) {
	t.Helper()
	folder, env := exampleServer(t, s)
	port := freePort(t)
	cmd := exec.Command(filepath.Join(folder, "user-server"))
	cmd.Dir, cmd.Env = folder, append(append(env, "PORT="+port), more...)
	server, err := process.Start(cmd)
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	target, err := url.Parse("http://127.0.0.1:" + port)
	require.NoError(t, err)
	require.NoError(t, server.WaitUntil(within(t, patience), func() bool {
		res, err := http.Get(target.String() + "/healthz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}), server.Output())

	token := issuer.Mint()
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set(oidc.Header, token)
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 600},
	})
	t.Cleanup(proxy.Close)
	return proxy.URL, target.Host, server
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

func newServices(t *testing.T, life time.Duration) *services {
	t.Helper()
	s := &services{sts: startSTS(t, "production", []string{dbRole})}
	s.sts.SetFault(ststest.Always(ststest.Fault{Lifetime: life}))
	return s
}

// TestExampleServer has 500 clients ask the example server for as long as its
// credentials take to roll over. No request fails.
func TestExampleServer(t *testing.T) {
	t.Parallel()                        // it and TestRDSRollOver wait for most of their time
	s := newServices(t, 40*time.Second) // a refresh leaves signed requests 5 s at least to arrive
	base, _, server := startExampleServer(t, s)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 600}, Timeout: patience}
	deadline := time.Now().Add(patience)
	var requests, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			path := []string{"/photos", "/visits/home"}[i%2]
			for s.rolledOver() < 2 && time.Now().Before(deadline) {
				res, err := client.Get(base + path)
				if err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				var out map[string]any
				err = json.NewDecoder(res.Body).Decode(&out)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					failed.Add(1)
					t.Errorf("status %d, %v, %v", res.StatusCode, out, err)
					return
				}
				requests.Add(1)
				time.Sleep(500 * time.Millisecond) // a client's own work
			}
		}()
	}
	wg.Wait()
	t.Logf("%d requests, %d sets of credentials, %d STS calls", requests.Load(), s.rolledOver(), s.sts.Calls("AssumeRoleWithWebIdentity"))
	assert.Zero(t, failed.Load())
	assert.GreaterOrEqual(t, s.rolledOver(), 2)

	res, err := client.Get(base + "/nothing")
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, http.StatusNotFound, res.StatusCode)
	require.NoError(t, server.Stop(syscall.SIGTERM), "it ends with status 0")
}

// TestExampleServerDrains tells the server to end while requests are open: each
// of them is answered, and then it ends.
func TestExampleServerDrains(t *testing.T) {
	s := newServices(t, time.Hour)
	s.hold = make(chan struct{})
	base, address, server := startExampleServer(t, s)
	const open = 50
	var answered atomic.Int64
	var wg sync.WaitGroup
	for range open {
		wg.Add(1)
		go func() {
			defer wg.Done()
			res, err := http.Get(base + "/photos")
			if assert.NoError(t, err) {
				res.Body.Close()
				if assert.Equal(t, http.StatusOK, res.StatusCode) {
					answered.Add(1)
				}
			}
		}()
	}
	require.Eventually(t, func() bool { return s.held.Load() == open }, patience, 5*time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- server.Stop(syscall.SIGTERM) }()
	// The server no longer takes connections once it drains.
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, patience, 5*time.Millisecond)
	close(s.hold)
	wg.Wait()
	assert.EqualValues(t, open, answered.Load())
	assert.NoError(t, <-stopped)
}
