//go:build go1.25

package refresh

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oddContext is a caller's context whose Value method is a function.
type oddContext struct {
	context.Context
	value func()
}

func (c oddContext) Value(any) any { c.value(); return nil }

// If a caller's context does not work, one fetch fails in time. Credentials that have
// not expired are still returned.
func TestACallersContextThatDoesNotWork(t *testing.T) {
	for name, value := range map[string]func(){
		"panics": func() { panic("no") },
		"exits":  runtime.Goexit,
		"blocks": func() { time.Sleep(time.Hour) },
	} {
		for how, carry := range map[string]func(context.Context) context.Context{
			"without Carry": nil,
			"with Carry": func(ctx context.Context) context.Context {
				return context.WithValue(context.Background(), valueKey{}, ctx.Value(valueKey{}))
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
					odd := oddContext{context.Background(), value}
					start := time.Now()
					_, err := c.Retrieve(odd)
					require.ErrorContains(t, err, "refresh: *refresh.fakeProvider ")
					assert.LessOrEqual(t, time.Since(start), 10*time.Second)
					assert.Zero(t, p.calls())

					key := p.key(t, c)
					time.Sleep(54 * time.Minute)
					for range 60 {
						start := time.Now()
						got, err := c.Retrieve(odd)
						require.NoError(t, err)
						assert.Equal(t, key, got.AccessKeyID)
						assert.Zero(t, time.Since(start))
						if carry == nil {
							break // a refresh takes nothing of it along
						}
						time.Sleep(time.Second)
					}
					time.Sleep(70 * time.Second) // no back-off is left
					p.key(t, c)
					time.Sleep(time.Second)
					if name != "blocks" {
						assert.NotEqual(t, key, p.key(t, c))
					}
				}, func(o *Options) { o.Carry = carry })
			})
		}
	}
}

// A context that a provider kept from an earlier call has no effect on another cache,
// even if several callers wait with it.
func TestAContextThatWasKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept context.Context
		first := NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			kept = context.WithoutCancel(ctx)
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "s"}, nil
		}))
		_, err := first.Retrieve(t.Context())
		require.NoError(t, err)
		for _, later := range []time.Duration{0, 9 * time.Second, time.Hour} {
			time.Sleep(later)
			p := newFake()
			p.slow(9 * time.Second)
			c := NewCredentialsCache(p)
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					_, err := c.Retrieve(kept)
					assert.NoError(t, err)
				})
			}
			wg.Wait()
		}
	})
}

// If another cache's fetch is nearly over, the fetch that it starts here still has its
// full time, for other callers who wait for it.
func TestAFetchWithinAnotherThatIsNearlyOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		p.slow(2 * time.Second)
		inner := NewCredentialsCache(p)
		outer := NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			time.Sleep(9 * time.Second)
			return inner.Retrieve(ctx)
		}))
		go func() { _, _ = outer.Retrieve(t.Context()) }()
		time.Sleep(9*time.Second + time.Millisecond)
		p.key(t, inner)
		assert.Equal(t, 1, p.calls())
	})
}

// At most four calls of a provider hang, even if the next ones begin before the time of
// the earlier ones is over.
func TestFourCallsHangAtMost(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.key(t, c)
		p.set(hang(time.Hour))
		for range 12 { // each has the one before given up at once
			time.Sleep(58 * time.Minute)
			c.Invalidate()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := c.Retrieve(ctx)
			cancel()
			require.Error(t, err)
			synctest.Wait()
		}
		time.Sleep(2 * time.Hour)
		before := p.calls()
		for range 8 {
			c.Invalidate()
			_, err := c.Retrieve(t.Context())
			require.Error(t, err)
		}
		assert.Equal(t, before+4, p.calls())
	})
}

// A RetryNow that panics or hangs harms nothing, and no caller waits for it.
func TestARetrierThatMisbehaves(t *testing.T) {
	for name, misbehave := range map[string]func(){
		"panics": func() { panic("no") },
		"exits":  runtime.Goexit,
		"blocks": func() { time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, asked := newFake(), new(atomic.Int64)
				c := NewCredentialsCache(oddRetrier{p, func() { asked.Add(1); misbehave() }})
				key := p.key(t, c)
				p.fails(errDown)
				every(t, c, time.Second, 59*time.Minute+55*time.Second, func(got aws.Credentials, err error, took time.Duration) {
					require.NoError(t, err)
					require.Zero(t, took)
					require.Equal(t, key, got.AccessKeyID)
				})
				assert.Positive(t, asked.Load())
				p.fails(nil)
				time.Sleep(10 * time.Second)
				assert.NotEqual(t, key, p.key(t, c), "cold, there are others")
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

type oddRetrier struct {
	*fakeProvider
	misbehave func()
}

func (r oddRetrier) RetryNow(error) bool { r.misbehave(); return true }

// A fault in a provider's optional methods makes one fetch fail.
func TestOptionalMethodsThatMisbehave(t *testing.T) {
	for name, misbehave := range map[string]func(){
		"panics": func() { panic("the secret") },
		"exits":  runtime.Goexit,
		"blocks": func() { time.Sleep(time.Hour) },
	} {
		for method, provider := range map[string]aws.CredentialsProvider{
			"DependsUntil":        oddDependent{newFake(), misbehave},
			"AdjustExpiresBy":     oddAdjuster{newFake(), misbehave},
			"HandleFailToRefresh": oddHook{misbehave},
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := NewCredentialsCache(provider, func(o *Options) { o.ExpiryWindow = time.Minute })
					start := time.Now()
					_, err := c.Retrieve(t.Context())
					require.Error(t, err)
					assert.NotContains(t, err.Error(), "the secret")
					assert.LessOrEqual(t, time.Since(start), 10*time.Second)
					if method == "HandleFailToRefresh" {
						assert.ErrorIs(t, err, errDown)
					}
					time.Sleep(2 * time.Hour)
				})
			})
		}
	}
}

type oddDependent struct {
	aws.CredentialsProvider
	misbehave func()
}

func (d oddDependent) DependsUntil() time.Time { d.misbehave(); return time.Time{} }

type oddAdjuster struct {
	aws.CredentialsProvider
	misbehave func()
}

func (a oddAdjuster) AdjustExpiresBy(creds aws.Credentials, _ time.Duration) (aws.Credentials, error) {
	a.misbehave()
	return creds, nil
}

type oddHook struct{ misbehave func() }

func (oddHook) Retrieve(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errDown }

func (h oddHook) HandleFailToRefresh(context.Context, aws.Credentials, error) (aws.Credentials, error) {
	h.misbehave()
	return aws.Credentials{}, errors.New("not reached")
}
