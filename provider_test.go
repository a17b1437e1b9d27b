package vercelaws

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/testenv"
	"github.com/vercelaws/vercelaws/internal/testtoken"
	"github.com/vercelaws/vercelaws/internal/testworld"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

const testRole = "arn:aws:iam::123456789012:role/web"

// What the docs promise.
const (
	longestFetch = 10 * time.Second
	keptRoles    = 10_000
)

// fakeSTS is an STS client for tests about time. It checks no token: each test
// says what happens. Tests about what STS does use package ststest.
type fakeSTS struct {
	mu      sync.Mutex
	answer  func(ctx context.Context, raw string) error // nil error: credentials
	latency time.Duration
	life    time.Duration
	calls   []time.Time
	tokens  []string
	given   map[string]time.Time // access key to expiry
	inputs  []*sts.AssumeRoleWithWebIdentityInput
}

func newFakeSTS() *fakeSTS { return &fakeSTS{life: time.Hour, given: map[string]time.Time{}} }

func (f *fakeSTS) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	raw := aws.ToString(in.WebIdentityToken)
	f.mu.Lock()
	f.calls = append(f.calls, time.Now())
	f.tokens = append(f.tokens, raw)
	f.inputs = append(f.inputs, in)
	answer, latency := f.answer, f.latency
	f.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if answer != nil {
		if err := answer(ctx, raw); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := fmt.Sprintf("ASIA%04d", len(f.given))
	expires := time.Now().Add(f.life).Truncate(time.Second)
	f.given[key] = expires
	return &sts.AssumeRoleWithWebIdentityOutput{
		AssumedRoleUser: &types.AssumedRoleUser{Arn: aws.String("arn:aws:sts::123456789012:assumed-role/web/s")},
		Credentials: &types.Credentials{
			AccessKeyId:     aws.String(key),
			SecretAccessKey: aws.String("secret-of-" + key),
			SessionToken:    aws.String("session-of-" + key),
			Expiration:      aws.Time(expires),
		},
	}, nil
}

// Format keeps the fake's own notes out of tests about what gets printed.
func (f *fakeSTS) Format(s fmt.State, _ rune) { fmt.Fprint(s, "fakeSTS") }

func (f *fakeSTS) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// paced checks that no window of time had more calls than a burst, and two for
// each second of it.
func (f *fakeSTS) paced(t testing.TB, burst int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.calls {
		for j := i; j < len(f.calls); j++ {
			require.LessOrEqual(t, j-i+1, burst+int(2*f.calls[j].Sub(f.calls[i]).Seconds()), "calls %d to %d", i, j)
		}
	}
}

func (f *fakeSTS) set(answer func(ctx context.Context, raw string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeSTS) expiry(key string) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.given[key]
	return t, ok
}

func codeError(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "the service says " + code}
}

func always(err error) func(context.Context, string) error {
	return func(context.Context, string) error { return err }
}

var errDown = codeError("InternalFailure") // a fault of the service

var (
	mint  = testtoken.Mint
	claim = testtoken.Claim
)

// fromRequest is the context of a request with the token raw; none if "".
func fromRequest(raw string) context.Context {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if raw != "" {
		r.Header.Set(oidc.Header, raw)
	}
	return oidc.RequestContext(r)
}

// isolate keeps the machine's environment and other tests' requests out.
func isolate(t testing.TB) {
	t.Helper()
	testenv.HideVercel(t)
	t.Setenv("VERCEL", "1")
	forgetRequests()
	t.Cleanup(forgetRequests)
}

func forgetRequests() {
	newFetcher(testRole, Options{}).request().Request.Recent().Forget(func(string) bool { return true })
}

func withClient(c stscreds.AssumeRoleWithWebIdentityAPIClient) func(*Options) {
	return func(o *Options) { o.Client = c }
}

// logBuffer keeps what a provider logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *logBuffer) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *logBuffer) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func (r *logBuffer) option(o *Options) {
	o.Logger = slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func roleNumber(i int) string { return fmt.Sprintf("arn:aws:iam::%012d:role/web", i) }

func fakeProviders(s *fakeSTS) *Providers {
	return NewProviders(func(_ string, o *Options) { o.Client = s })
}

// TestPromisesInRealTime holds what can be shown against an STS on loopback without
// depending on the machine's speed. It is for the oldest Go that we support, which
// has no testing/synctest, and so does not run the tests of promises_test.go.
func TestPromisesInRealTime(t *testing.T) {
	type world = testworld.World
	type provider = aws.CredentialsCache
	key := func(t *testing.T, p *provider, ctx context.Context) string {
		t.Helper()
		creds, err := p.Retrieve(ctx)
		require.NoError(t, err)
		require.True(t, time.Now().Before(creds.Expires))
		return creds.AccessKeyID
	}
	// everyone has fifty requests, each with a token of its own, and work without a
	// request retrieve at once, and returns the access keys that they got.
	everyone := func(w *world, p *provider, began *sync.WaitGroup) map[string]bool {
		var mu sync.Mutex
		keys := map[string]bool{}
		var all sync.WaitGroup
		for range 50 {
			all.Add(1)
			go func() {
				defer all.Done()
				ctx := fromRequest(w.Issuer.Mint())
				began.Done()
				for _, ctx := range []context.Context{ctx, context.Background()} {
					creds, err := p.Retrieve(ctx)
					mu.Lock()
					keys[fmt.Sprint(creds.AccessKeyID, err)] = true
					mu.Unlock()
				}
			}()
		}
		all.Wait()
		return keys
	}
	for name, test := range map[string]func(t *testing.T, w *world, p *provider){
		"a cold start asks once": func(t *testing.T, w *world, p *provider) {
			var began sync.WaitGroup
			began.Add(50)
			w.STS.SetFault(func(ststest.Call) ststest.Fault {
				began.Wait() // STS answers when everyone is there
				return ststest.Fault{}
			})
			keys := everyone(w, p, &began)
			assert.Len(t, keys, 1)
			assert.Contains(t, keys, key(t, p, context.Background())+"<nil>")
			assert.Equal(t, 1, w.Calls())
		},
		"credentials reach everyone while STS is down": func(t *testing.T, w *world, p *provider) {
			first := key(t, p, fromRequest(w.Issuer.Mint()))
			w.STS.SetFault(ststest.Always(ststest.Down()["500"]))
			var began sync.WaitGroup
			began.Add(50)
			assert.Equal(t, map[string]bool{first + "<nil>": true}, everyone(w, p, &began))
			assert.Equal(t, 1, w.Calls())
		},
		"invalidated credentials are replaced": func(t *testing.T, w *world, p *provider) {
			ctx := fromRequest(w.Issuer.Mint())
			first := key(t, p, ctx)
			p.Invalidate()
			assert.NotEqual(t, first, key(t, p, ctx))
			assert.Equal(t, 2, w.Calls())
		},
		"a refused token gives way to another request's": func(t *testing.T, w *world, p *provider) {
			fromRequest(w.Issuer.Mint())
			key(t, p, fromRequest(w.Issuer.MintForged()))
			assert.Equal(t, 2, w.Calls())
		},
		"a token that a caller chose is not replaced": func(t *testing.T, w *world, p *provider) {
			fromRequest(w.Issuer.Mint())
			_, err := p.Retrieve(oidc.ContextWithToken(t.Context(), w.Issuer.MintForged()))
			require.ErrorContains(t, err, "InvalidIdentityToken")
			assert.Equal(t, 1, w.Calls())
		},
		"a foreign token is not used": func(t *testing.T, w *world, p *provider) {
			foreign := func(c *oidctest.Claims) { c.Environment = "preview" }
			_, err := p.Retrieve(fromRequest(w.Issuer.Mint(foreign)))
			require.ErrorIs(t, err, oidc.ErrNoToken)
			_, err = p.Retrieve(context.Background())
			require.ErrorIs(t, err, oidc.ErrNoToken)
			assert.Zero(t, w.Calls())
		},
		"a caller leaves when its context ends": func(t *testing.T, w *world, p *provider) {
			ctx, cancel := context.WithCancel(fromRequest(w.Issuer.Mint()))
			w.STS.SetFault(func(ststest.Call) ststest.Fault {
				cancel()
				return ststest.Fault{Hang: true}
			})
			_, err := p.Retrieve(ctx)
			require.ErrorIs(t, err, context.Canceled)
		},
		"no error shows a token": func(t *testing.T, w *world, p *provider) {
			w.STS.SetFault(ststest.Always(ststest.Fault{Status: 400, Code: "InvalidIdentityToken", Message: "it is bad", EchoToken: true}))
			raw := w.Issuer.Mint()
			_, err := p.Retrieve(fromRequest(raw))
			require.ErrorContains(t, err, "it is bad")
			for _, part := range strings.Split(raw, ".")[1:] {
				assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), part)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			t.Setenv("VERCEL_ENV", "production")
			w := testworld.New(testRole, false)
			defer w.Close()
			test(t, w, NewProvider(testRole, withClient(w.STS.STS())))
		})
	}
}

// Two hundred requests of one role are one STS call, and each role has its own
// provider and options.
func TestProvidersGiveARoleItsProvider(t *testing.T) {
	isolate(t)
	s := newFakeSTS()
	providers := NewProviders(
		func(_ string, o *Options) { o.Client = s },
		func(roleARN string, o *Options) { o.RoleSessionName = "for-" + roleARN[13:25] })
	ctx := fromRequest(mint(t, "a"))
	var all sync.WaitGroup
	for i := range 200 {
		all.Add(1)
		go func() {
			defer all.Done()
			_, err := providers.For(roleNumber(i % 2)).Retrieve(ctx)
			assert.NoError(t, err)
		}()
	}
	all.Wait()
	require.Equal(t, 2, s.count())
	for _, in := range s.inputs {
		assert.Equal(t, "for-"+aws.ToString(in.RoleArn)[13:25], aws.ToString(in.RoleSessionName))
	}
	assert.Same(t, providers.For(roleNumber(0)), providers.For(roleNumber(0)))
	assert.NotSame(t, providers.For(roleNumber(0)), providers.For(roleNumber(1)))

	_, err := fakeProviders(s).For("web").Retrieve(ctx)
	require.ErrorAs(t, err, new(*ConfigError))
}

// Ten thousand roles are kept, at a few KiB each.
func TestTenThousandRoles(t *testing.T) {
	isolate(t)
	s := newFakeSTS()
	providers := fakeProviders(s)
	ctx := fromRequest(mint(t, "a"))
	size := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	retrieve := func() {
		places := make(chan struct{}, 16)
		for i := range keptRoles {
			places <- struct{}{}
			go func() {
				_, err := providers.For(roleNumber(i)).Retrieve(ctx)
				assert.NoError(t, err)
				<-places
			}()
		}
		for range cap(places) {
			places <- struct{}{}
		}
	}
	before := size()
	retrieve()
	require.Equal(t, keptRoles, s.count())
	s.mu.Lock()
	s.calls, s.tokens, s.inputs, s.given = nil, nil, nil, map[string]time.Time{}
	s.mu.Unlock()
	each := (size() - before) / keptRoles
	t.Logf("%d bytes a role", each)
	assert.Less(t, each, int64(12<<10))
	retrieve()
	assert.Zero(t, s.count(), "all are kept")
}

// Of more roles than are kept the one not asked for longest goes, unless somebody
// holds its provider.
func TestWhichRolesAreKept(t *testing.T) {
	isolate(t)
	providers := fakeProviders(newFakeSTS())
	held := providers.For(roleNumber(-1))
	providers.For(roleNumber(0))
	providers.For(roleNumber(1))
	providers.For(roleNumber(0))
	for i := range keptRoles - 1 {
		providers.For(roleNumber(1_000_000 + i))
	}
	kept := func(i int) bool {
		providers.mu.Lock()
		defer providers.mu.Unlock()
		return providers.known[roleNumber(i)] != nil
	}
	assert.True(t, kept(0))
	assert.False(t, kept(1))
	assert.False(t, kept(-1))
	assert.Same(t, held, providers.For(roleNumber(-1)), "there never are two")
	for i := range 3 * keptRoles {
		providers.For(roleNumber(2_000_000 + i))
	}
	assert.Eventually(t, func() bool {
		runtime.GC()
		providers.mu.Lock()
		defer providers.mu.Unlock()
		return providers.recent.Len() == keptRoles && len(providers.known) == keptRoles && len(providers.held) <= keptRoles+1
	}, 10*time.Second, 10*time.Millisecond, "what is not kept is gone")
	runtime.KeepAlive(held)
}

// An option function may take its time, panic, and ask for another role.
func TestOptionsOfARoleRunOutsideLocks(t *testing.T) {
	isolate(t)
	var providers *Providers
	inside := make(chan struct{})
	leave := make(chan struct{})
	providers = NewProviders(func(roleARN string, _ *Options) {
		switch roleARN {
		case roleNumber(1):
			close(inside)
			<-leave
		case roleNumber(2):
			panic("broken")
		case roleNumber(3):
			providers.For(roleNumber(4))
		}
	})
	done := make(chan *aws.CredentialsCache)
	go func() { done <- providers.For(roleNumber(1)) }()
	<-inside
	providers.For(roleNumber(0))
	assert.Panics(t, func() { providers.For(roleNumber(2)) })
	providers.For(roleNumber(3))
	close(leave)
	assert.Same(t, <-done, providers.For(roleNumber(1)))
}

// All roles share the connections: 500 that are fetched 16 at a time make some 16
// handshakes.
func TestRolesShareConnections(t *testing.T) {
	isolate(t)
	testenv.HideAWS(t)
	var conns atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	t.Setenv("AWS_CA_BUNDLE", bundle)
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)

	providers := NewProviders()
	ctx, cancel := context.WithTimeout(fromRequest(mint(t, "a")), time.Minute)
	defer cancel()
	places := make(chan struct{}, 16)
	for i := range 500 {
		places <- struct{}{}
		go func() {
			_, err := providers.For(roleNumber(i)).Retrieve(ctx)
			assert.NoError(t, err)
			<-places
		}()
	}
	for range cap(places) {
		places <- struct{}{}
	}
	assert.LessOrEqual(t, conns.Load(), int64(24), "some sixteen: a busy machine may cost a few")
}

// The default client is held to the provider's allowance of faults: the limits
// of its own do not stand before those.
func TestDefaultClientIsHeldToTheAllowanceOfFaults(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_CA_BUNDLE", "AWS_RETRY_MODE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	f := newFetcher("arn:aws:iam::123456789012:role/web", Options{TokenSource: oidc.TokenSourceFunc(nil)})
	call := &stsCall{client: f.client, calls: &f.clientCalls, faults: turns{Pacer: f.faults()}}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		_, err := call.ask(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String("r"), RoleSessionName: aws.String("s"), WebIdentityToken: aws.String("t")})
		require.Error(t, err)
	}
	assert.LessOrEqual(t, asked.Load(), 3+int64(time.Since(start)/(time.Second/2))+1)
}

// What each package may import. A user of the provider compiles the AWS SDK and
// nothing else; package oidc serves programs that have nothing to do with AWS.
func TestDependencies(t *testing.T) {
	const module = "github.com/vercelaws/vercelaws"
	sdk := []string{"github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go"}
	for pkg, allowed := range map[string][]string{
		".":             append([]string{module + "/oidc", module + "/refresh", module + "/internal", module}, append(sdk, "golang.org/x/sync/singleflight")...),
		"./refresh":     append([]string{module + "/refresh", module + "/internal"}, sdk...),
		"./oidc":        {module + "/oidc", module + "/internal", "golang.org/x/sync/singleflight"},
		"./trustpolicy": {module + "/trustpolicy"},
	} {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pkg).Output()
		require.NoError(t, err)
		for _, path := range strings.Fields(string(out)) {
			ok := false
			for _, prefix := range allowed {
				ok = ok || path == prefix || prefix != module && strings.HasPrefix(path, prefix+"/")
			}
			require.False(t, strings.HasSuffix(path, "aws-sdk-go-v2/config") || pkg == "./refresh" && strings.Contains(path, "/sts"), "%s imports %s", pkg, path)
			require.True(t, ok && !strings.HasPrefix(path, module+"/oidc/"), "%s imports %s", pkg, path)
			require.NotContains(t, path, "/internal/test", "%s imports what is for tests", pkg)
		}
	}
}
