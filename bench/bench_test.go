// Package bench sets the library beside what a Go program would use without
// it, in one run: the SDK's stscreds provider in an aws.CredentialsCache, and
// an aws.CredentialsCache around fixed credentials. Compare ratios of one run;
// times of different machines say nothing.
//
//	go test -bench . -benchmem
package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/internal/testworld"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/ststest"
)

const role = "arn:aws:iam::123456789012:role/web"

// rig is an STS, and a token for role.
type rig struct {
	sts   *ststest.Server
	token string
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	w := testworld.New(role, false)
	tb.Cleanup(w.Close)
	return &rig{w.STS, w.Issuer.Mint()}
}

// providers are the library and its peers.
func (r *rig) providers() map[string]*aws.CredentialsCache {
	return map[string]*aws.CredentialsCache{
		"vercelaws": vercelaws.NewProvider(role, func(o *vercelaws.Options) { o.Client = r.sts.STS() }),
		"stscreds":  aws.NewCredentialsCache(stscreds.NewWebIdentityRoleProvider(r.sts.STS(), role, fixed(r.token))),
		"fixed":     aws.NewCredentialsCache(temporary{}),
		"eternal":   aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider("AKIA", "secret", "session")),
	}
}

// temporary provides fixed credentials with an end, as all of STS's have.
type temporary struct{}

func (temporary) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "secret", SessionToken: "session", CanExpire: true, Expires: time.Now().Add(time.Hour)}, nil
}

// fixed is an IdentityTokenRetriever.
type fixed string

func (f fixed) GetIdentityToken() ([]byte, error) { return []byte(f), nil }

// BenchmarkWarmRetrieve is what every signed request pays. "fixed" is the
// SDK's cache alone. "eternal" is that cache with keys that never expire, for
// which it does not look at the clock; that look is most of the difference.
func BenchmarkWarmRetrieve(b *testing.B) {
	r := newRig(b)
	ctx := oidc.ContextWithToken(context.Background(), r.token)
	for _, name := range []string{"fixed", "vercelaws", "stscreds", "eternal"} {
		p := r.providers()[name]
		b.Run(name, func(b *testing.B) {
			_, err := p.Retrieve(ctx)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = p.Retrieve(ctx)
			}
		})
	}
}

// BenchmarkRequest is what a request pays to carry its token.
func BenchmarkRequest(b *testing.B) {
	r := newRig(b)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set(oidc.Header, r.token)
	b.Run("RequestContext", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = oidc.RequestContext(request)
		}
	})
	b.Run("Middleware", func(b *testing.B) {
		h := oidc.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		b.ReportAllocs()
		for b.Loop() {
			h.ServeHTTP(nil, request)
		}
	})
}

// BenchmarkColdRetrieve is a first fetch over loopback.
func BenchmarkColdRetrieve(b *testing.B) {
	r := newRig(b)
	ctx := oidc.ContextWithToken(context.Background(), r.token)
	for _, name := range []string{"vercelaws", "stscreds"} {
		p := r.providers()[name]
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p.Invalidate()
				if _, err := p.Retrieve(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLongestWait is the longest that any of 50 callers waited while the
// credentials were refreshed some times, with STS taking 300 ms. Credentials
// live four seconds here.
func BenchmarkLongestWait(b *testing.B) {
	const latency, life = 300 * time.Millisecond, 4 * time.Second
	for _, name := range []string{"vercelaws", "stscreds"} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b)
			p := r.providers()[name]
			ctx := oidc.ContextWithToken(context.Background(), r.token)
			r.sts.SetFault(ststest.Always(ststest.Fault{Latency: latency, Lifetime: life}))
			_, err := p.Retrieve(ctx)
			require.NoError(b, err)
			var mu sync.Mutex
			var longest time.Duration
			for b.Loop() {
				var wg sync.WaitGroup
				end := time.Now().Add(3 * life)
				for range 50 {
					wg.Add(1)
					go func() {
						defer wg.Done()
						for time.Now().Before(end) {
							start := time.Now()
							_, _ = p.Retrieve(ctx)
							wait := time.Since(start)
							mu.Lock()
							longest = max(longest, wait)
							mu.Unlock()
							time.Sleep(time.Millisecond) // a caller's own work
						}
					}()
				}
				wg.Wait()
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest-wait")
			b.ReportMetric(float64(r.sts.Calls("AssumeRoleWithWebIdentity")), "STS-calls")
		})
	}
}

// TestWarmRetrieveAllocatesNothing is the part of the benchmark that must hold
// on any machine.
func TestWarmRetrieveAllocatesNothing(t *testing.T) {
	r := newRig(t)
	ctx := oidc.ContextWithToken(context.Background(), r.token)
	p := r.providers()["vercelaws"]
	_, err := p.Retrieve(ctx)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = p.Retrieve(ctx) }))
}
