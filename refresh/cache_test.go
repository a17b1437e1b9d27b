//go:build go1.25

package refresh

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/clock"
)

var errDown = errors.New("down")

// story runs f under fake time, with a provider and a cache of it.
func story(t *testing.T, f func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder), optFns ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, events := newFake(), &recorder{}
		f(t, p, NewCredentialsCache(p, append([]func(*Options){events.on}, optFns...)...), events)
		time.Sleep(2 * time.Hour) // what hangs returns
	})
}

// hang ignores its context for d.
func hang(d time.Duration) func(context.Context, int) error {
	return func(context.Context, int) error { time.Sleep(d); return errDown }
}

// every retrieves at each step for d, and calls look with each answer and the time it
// took.
func every(t *testing.T, c *aws.CredentialsCache, step, d time.Duration, look func(creds aws.Credentials, err error, took time.Duration)) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(step) {
		start := time.Now()
		creds, err := c.Retrieve(t.Context())
		look(creds, err, time.Since(start))
	}
}

func TestNobodyWaitsForARefresh(t *testing.T) {
	for _, life := range []time.Duration{time.Minute, 15 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
				p.lives(life)
				p.slow(5 * time.Second)
				first := p.key(t, c)
				every(t, c, life/200, 3*life, func(creds aws.Credentials, err error, took time.Duration) {
					require.NoError(t, err)
					assert.Zero(t, took)
					assert.True(t, time.Now().Before(p.end(creds.AccessKeyID)))
				})
				assert.NotEqual(t, first, p.key(t, c))
				assert.LessOrEqual(t, p.calls(), 5)
				for i, e := range events.all() {
					assert.Equal(t, i > 0, e.Reason == ReasonExpiring)
					assert.Equal(t, 5*time.Second, e.Took)
					assert.Zero(t, e.NextTry)
				}
			})
		})
	}
}

func TestRefreshesAreInTheirWindow(t *testing.T) {
	for _, c := range []struct{ life, window time.Duration }{
		{time.Minute, 15 * time.Second}, // a quarter
		{15 * time.Minute, 225 * time.Second},
		{30 * time.Minute, 450 * time.Second}, // a quarter, though less than fifteen minutes
		{time.Hour, 15 * time.Minute},
		{90*time.Minute - time.Second, 15 * time.Minute},
		{90 * time.Minute, 22*time.Minute + 30*time.Second}, // a quarter
		{12 * time.Hour, time.Hour},
	} {
		for _, jitter := range []float64{0, 0.5, 1} {
			now := time.Unix(1_800_000_000, 0)
			l := hold(aws.Credentials{CanExpire: true, Expires: now.Add(c.life)}, now, 0, jitter, false)
			assert.Equal(t, now.Add(c.life).Add(-c.window+time.Duration(jitter*float64(c.window/2))), l.refresh, c.life)
			assert.Equal(t, now.Add(c.life).Add(-min(time.Minute, c.life/16)), l.last)
			assert.GreaterOrEqual(t, l.last.Sub(l.refresh), min(time.Minute/2, c.life/16), "time for whoever is awake to begin before")
		}
	}
}

func TestAnOutageReachesNobodyWhileCredentialsLive(t *testing.T) {
	faults := map[string]func(context.Context, int) error{
		"fails at once":       func(context.Context, int) error { return errDown },
		"is silent":           func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() },
		"ignores its context": hang(time.Hour),
		"panics":              func(context.Context, int) error { panic("no") },
		"ends its goroutine":  func(context.Context, int) error { runtime.Goexit(); return nil },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
				key := p.key(t, c)
				end := p.end(key)
				p.set(fault)
				for time.Now().Add(time.Second).Before(end) {
					start := time.Now()
					got, err := c.Retrieve(t.Context())
					require.NoError(t, err, "%s before the end", time.Until(end))
					require.Equal(t, key, got.AccessKeyID)
					require.False(t, got.Expires.After(end))
					require.Zero(t, time.Since(start))
					time.Sleep(time.Second)
				}
				for _, e := range events.all()[1:] {
					assert.Error(t, e.Err)
					assert.Equal(t, ReasonExpiring, e.Reason)
					assert.True(t, e.Expires.Equal(end))
					assert.False(t, e.NextTry.IsZero())
				}
				assert.Greater(t, len(events.all()), 4)

				time.Sleep(2 * time.Second) // past the end
				start := time.Now()
				_, err := c.Retrieve(t.Context())
				require.Error(t, err)
				assert.LessOrEqual(t, time.Since(start), 10*time.Second)

				p.set(nil)
				time.Sleep(time.Hour) // what hangs returns
				assert.NotEqual(t, key, p.key(t, c))
			})
		})
	}
}

func TestBackOffDoublesAndStaysBounded(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.lives(12 * time.Hour)
		key := p.key(t, c)
		p.fails(errDown)
		end := p.end(key)
		for time.Now().Add(time.Second).Before(end) {
			p.key(t, c)
			time.Sleep(time.Second)
		}
		began := p.starts()[1:]
		for i := 1; i < len(began); i++ {
			pause := began[i].Sub(began[i-1])
			whole := 30 * time.Second
			if i <= 5 {
				whole = time.Second << (i - 1)
			}
			assert.GreaterOrEqual(t, pause, whole/2, i)
			assert.LessOrEqual(t, pause, whole+time.Second, i)
		}
		assert.Greater(t, len(began), 60) // of at least half an hour
	})
}

func TestSomethingNewEndsTheBackOff(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.key(t, c)
		time.Sleep(53 * time.Minute)
		p.fails(errDown)
		every(t, c, time.Second, 40*time.Second, func(_ aws.Credentials, err error, _ time.Duration) { require.NoError(t, err) })
		for calls := p.calls(); p.calls() == calls; time.Sleep(time.Second) {
			p.key(t, c)
			synctest.Wait()
		}
		p.fails(nil)
		calls := p.calls()
		p.key(t, c)
		time.Sleep(time.Second)
		require.Equal(t, calls, p.calls(), "it is in a pause of 4 seconds or more")
		p.retry.Store(true)
		p.key(t, c)
		synctest.Wait()
		assert.Equal(t, calls+1, p.calls())
	})
}

// An instance that slept wakes in the last minute, and STS does not answer. Its callers
// have a second each.
func TestWakingInTheLastMinute(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		key := p.key(t, c)
		p.set(hang(time.Hour))
		time.Sleep(time.Until(p.end(key)) - 50*time.Second)
		waits := 0
		for i := range 40 {
			var wg sync.WaitGroup
			var mu sync.Mutex
			waited := false
			for range 5 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					start := time.Now()
					got, err := c.Retrieve(ctx)
					assert.NoError(t, err)
					assert.Equal(t, key, got.AccessKeyID)
					assert.LessOrEqual(t, time.Since(start), 500*time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					waited = waited || time.Since(start) > 0
				})
			}
			wg.Wait()
			if waited {
				waits++
				assert.Zero(t, i, "only the first")
			}
			time.Sleep(time.Second)
		}
		assert.Equal(t, 1, waits)
	})
}

func TestEachWakingInTheLastMinuteWaitsOnce(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		key := p.key(t, c)
		p.fails(errDown)
		p.slow(300 * time.Millisecond)
		time.Sleep(time.Until(p.end(key)) - 55*time.Second)
		for range 3 {
			for i := range 3 {
				start := time.Now()
				require.Equal(t, key, p.key(t, c))
				want := 300 * time.Millisecond
				if i > 0 {
					want = 0
				}
				assert.Equal(t, want, time.Since(start))
				time.Sleep(time.Second)
			}
			time.Sleep(13 * time.Second) // frozen
		}
		p.fails(nil)
		time.Sleep(time.Second)
		assert.NotEqual(t, key, p.key(t, c))
	})
}

// In a back-off, callers of an instance that wakes in the last minute do not wait.
func TestWakingInABackOff(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		key := p.key(t, c)
		p.fails(errDown)
		last := p.end(key).Add(-time.Minute)
		for calls := 0; time.Now().Before(last) || p.calls() == calls; time.Sleep(time.Second) {
			calls = p.calls()
			require.Equal(t, key, p.key(t, c))
			synctest.Wait()
		}
		calls := p.calls()
		time.Sleep(11 * time.Second) // of a pause of 15 or more
		start := time.Now()
		require.Equal(t, key, p.key(t, c))
		assert.Zero(t, time.Since(start))
		assert.Equal(t, calls, p.calls())
	})
}

func TestAfterTheEndEveryoneWaitsForOneFetch(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		for range 3 {
			p.slow(time.Second)
			calls := p.calls()
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() { p.key(t, c) })
			}
			wg.Wait()
			assert.Equal(t, calls+1, p.calls())
			time.Sleep(2 * time.Hour)
		}
	})
}

// Callers who come after the expiry wait for a refresh that is still under way. If it
// fails, another fetch is made for them.
func TestAfterTheEndARefreshOnItsWayIsJoined(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint(fails), func(t *testing.T) {
			story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
				key := p.key(t, c)
				time.Sleep(time.Until(p.end(key)) - 2*time.Second)
				p.slow(4 * time.Second)
				p.set(func(_ context.Context, n int) error {
					if fails && n == 2 {
						return errDown
					}
					return nil
				})
				p.key(t, c) // waits as long as one does in the last minute
				time.Sleep(2 * time.Second)
				start := time.Now()
				assert.NotEqual(t, key, p.key(t, c))
				if fails {
					assert.Equal(t, 5600*time.Millisecond, time.Since(start))
					assert.Equal(t, 3, p.calls())
				} else {
					assert.Equal(t, 1600*time.Millisecond, time.Since(start))
					assert.Equal(t, 2, p.calls())
				}
			})
		})
	}
}

func TestEveryCallEndsInTenSeconds(t *testing.T) {
	t.Run("cold", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
			p.set(hang(time.Hour))
			for i := range 8 {
				start := time.Now()
				_, err := c.Retrieve(context.Background())
				require.ErrorContains(t, err, "*refresh.fakeProvider")
				if i < 4 {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					assert.LessOrEqual(t, time.Since(start), 10*time.Second)
					assert.Greater(t, time.Since(start), 9*time.Second)
				} else {
					assert.ErrorContains(t, err, "has not returned from 4 calls")
					assert.Zero(t, time.Since(start))
				}
			}
			synctest.Wait()
			assert.Equal(t, 4, p.calls())
			assert.Len(t, events.all(), 8)
			p.set(nil)
			time.Sleep(time.Hour)
			p.key(t, c)
		})
	})
	t.Run("joined a refresh at the end", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			key := p.key(t, c)
			time.Sleep(time.Until(p.end(key)) - 500*time.Millisecond)
			p.set(hang(time.Hour))
			p.key(t, c)
			time.Sleep(300 * time.Millisecond)
			start := time.Now()
			_, err := c.Retrieve(context.Background())
			require.Error(t, err)
			assert.LessOrEqual(t, time.Since(start), 10*time.Second)
		})
	})
	t.Run("a provider that heeds its context says why", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			p.set(func(ctx context.Context, _ int) error { <-ctx.Done(); return errDown })
			start := time.Now()
			_, err := c.Retrieve(context.Background())
			require.ErrorIs(t, err, errDown)
			assert.LessOrEqual(t, time.Since(start), 10*time.Second)
		})
	})
}

// After a refresh that fails, a caller who waited for it has the rest of its ten
// seconds for a fetch of its own, if more than a second is left.
func TestAFetchAfterARefreshThatWasJoined(t *testing.T) {
	for _, c := range []struct {
		fails time.Duration // after it began
		calls int
	}{{5 * time.Second, 3}, {9400 * time.Millisecond, 2}} {
		story(t, func(t *testing.T, p *fakeProvider, cache *aws.CredentialsCache, _ *recorder) {
			key := p.key(t, cache)
			time.Sleep(time.Until(p.end(key)) - 500*time.Millisecond)
			p.set(func(ctx context.Context, n int) error {
				if n > 2 {
					<-ctx.Done()
					return ctx.Err()
				}
				time.Sleep(c.fails)
				return errDown
			})
			p.key(t, cache)
			time.Sleep(300 * time.Millisecond)
			start := time.Now()
			_, err := cache.Retrieve(context.Background())
			require.Error(t, err)
			assert.LessOrEqual(t, time.Since(start), 10*time.Second)
			assert.Equal(t, c.calls, p.calls())
			assert.Equal(t, c.calls == 2, errors.Is(err, errDown))
		})
	}
}

func TestAPanicSaysWhereAndNotWhat(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.set(func(context.Context, int) error { panic("the secret") })
		_, err := c.Retrieve(t.Context())
		require.ErrorContains(t, err, "refresh: *refresh.fakeProvider panicked: a value of type string in github.com/vercelaws/vercelaws/refresh.TestAPanicSaysWhereAndNotWhat")
		assert.NotContains(t, err.Error(), "the secret")
		p.set(func(context.Context, int) error { runtime.Goexit(); return nil })
		_, err = c.Retrieve(t.Context())
		require.ErrorContains(t, err, "ended its goroutine")
	})
}

func TestInvalidate(t *testing.T) {
	whens := map[string]time.Duration{"fresh": time.Minute, "due": 58 * time.Minute, "in the last minute": time.Hour - 30*time.Second, "just before its end": time.Hour - 500*time.Millisecond}
	for name, when := range whens {
		for _, idle := range []time.Duration{0, 5 * time.Second} {
			t.Run(fmt.Sprintf("%s, idle %s", name, idle), func(t *testing.T) {
				story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
					p.key(t, c)
					p.fails(errDown)
					time.Sleep(when)
					key := p.key(t, c)
					synctest.Wait()
					time.Sleep(idle)

					c.Invalidate()
					_, err := c.Retrieve(t.Context())
					require.ErrorIs(t, err, errDown, "the failure is an error")

					p.fails(nil)
					p.slow(time.Second)
					start := time.Now()
					require.NotEqual(t, key, p.key(t, c))
					assert.Equal(t, time.Second, time.Since(start), "it waits for a fetch")
				})
			})
		}
	}
	t.Run("a refresh that is on its way is not used", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			p.key(t, c)
			time.Sleep(58 * time.Minute)
			p.slow(5 * time.Second)
			p.key(t, c)
			synctest.Wait()
			c.Invalidate()
			assert.Equal(t, "AKIA3", p.key(t, c))
			time.Sleep(10 * time.Second)
			assert.Equal(t, "AKIA3", p.key(t, c))
		})
	})
	t.Run("a refresh that nobody has seen is not used", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			p.key(t, c)
			time.Sleep(58 * time.Minute)
			p.key(t, c)
			synctest.Wait()
			c.Invalidate()
			assert.Equal(t, "AKIA3", p.key(t, c))
		})
	})
}

func TestBeforeADependenceEnds(t *testing.T) {
	cases := []struct {
		name       string
		life, left time.Duration
		refreshed  bool
	}{
		{"a token of an hour and a half", time.Hour, 90 * time.Minute, true}, // the second credentials get there
		{"a token of forty minutes", time.Hour, 40 * time.Minute, true},
		{"a token of ten minutes", time.Hour, 10 * time.Minute, true},
		{"a token of four minutes", time.Hour, 4 * time.Minute, false},
		{"half a day's credentials", 12 * time.Hour, 2 * time.Hour, true},
		{"short credentials", 15 * time.Minute, 5 * time.Minute, true},
	}
	for _, cs := range cases {
		t.Run(cs.name, func(t *testing.T) {
			story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
				behind(c).first = 1
				p.lives(cs.life)
				start, until := time.Now(), time.Now().Add(cs.left)
				p.until = until
				p.set(func(context.Context, int) error {
					if !time.Now().Before(until) {
						return errDown
					}
					return nil
				})
				served := time.Duration(0)
				every(t, c, 10*time.Second, cs.left+cs.life+time.Hour, func(_ aws.Credentials, err error, _ time.Duration) {
					if err == nil {
						served = time.Since(start)
					}
				})
				before := 0
				for _, b := range p.starts() {
					if b.Before(until) && until.Sub(b) <= 5*time.Minute && b.Sub(start) > 0 {
						before++
						assert.LessOrEqual(t, until.Sub(b), cs.left/10)
					}
				}
				told := 0
				for _, e := range events.all() {
					if e.Reason == ReasonDependency {
						told++
					}
				}
				assert.Equal(t, cs.refreshed, told == 1, "it is told as such")
				if cs.refreshed {
					assert.Equal(t, 1, before, "once, in the last tenth")
					assert.Greater(t, served, cs.left+cs.life-cs.left/10-time.Minute)
				} else {
					assert.Zero(t, before)
				}
			})
		})
	}
	t.Run("not while nobody asks", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			p.until = time.Now().Add(30 * time.Minute)
			p.key(t, c)
			time.Sleep(10 * time.Hour)
			assert.Equal(t, 1, p.calls())
		})
	})
}

// A provider with a cache of its own gives the same credentials until they end.
// It is asked again after a back-off, and there is no event for the same credentials.
func TestAProviderWithACacheOfItsOwn(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, _ *aws.CredentialsCache, _ *recorder) {
		events := &recorder{}
		inner := &counted{CredentialsCache: aws.NewCredentialsCache(p)}
		c := NewCredentialsCache(inner, events.on)
		key := p.key(t, c)
		end := p.end(key)
		for time.Now().Add(time.Second).Before(end) {
			require.Equal(t, key, p.key(t, c))
			time.Sleep(time.Second)
		}
		assert.Less(t, inner.n.Load(), int64(150))
		assert.Greater(t, inner.n.Load(), int64(10))
		assert.Len(t, events.all(), 1)
		time.Sleep(time.Second)
		assert.NotEqual(t, key, p.key(t, c))
		synctest.Wait()
		assert.Len(t, events.all(), 2)
	})
}

// A thin wrapper around one of our caches, whose provider is down, gives the same
// credentials with another Expires each time.
func TestAWrapperAroundOneOfOurCaches(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, inner *aws.CredentialsCache, _ *recorder) {
		events := &recorder{}
		c := NewCredentialsCache(aws.CredentialsProviderFunc(inner.Retrieve), events.on)
		key := p.key(t, c)
		p.fails(errDown)
		end := p.end(key)
		for time.Now().Add(2 * time.Second).Before(end) {
			require.Equal(t, key, p.key(t, c))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.Len(t, events.all(), 1, "the first")

		time.Sleep(3 * time.Second)
		_, err := c.Retrieve(t.Context())
		require.ErrorIs(t, err, errDown)
		p.fails(nil)
		assert.NotEqual(t, key, p.key(t, c))
		synctest.Wait()
		require.Len(t, events.all(), 3)
		assert.ErrorIs(t, events.all()[1].Err, errDown)
		assert.NoError(t, events.all()[2].Err)
	})
}

// After failures there is an event for a success, even if it returns the same keys.
func TestARecoveryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails error
		events := &recorder{}
		c := NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "s", CanExpire: true, Expires: time.Now().Add(time.Hour)}, fails
		}), events.on)
		ask := func(d time.Duration) {
			every(t, c, time.Second, d, func(_ aws.Credentials, err error, _ time.Duration) { require.NoError(t, err) })
		}
		ask(time.Second)
		fails = errDown
		ask(59 * time.Minute)
		synctest.Wait()
		failed := len(events.all())
		require.Greater(t, failed, 2)
		fails = nil
		ask(3 * time.Hour)
		require.Len(t, events.all(), failed+1)
		last := events.all()[failed]
		assert.NoError(t, last.Err)
		assert.Zero(t, last.NextTry)
		time.Sleep(time.Minute)
	})
}

// A key that expires sooner does not replace one that expires later, unless that one
// was rejected.
func TestAnAnswerThatEndsNoLater(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
		first := p.key(t, c)
		end := p.end(first)
		time.Sleep(53 * time.Minute)
		p.lives(2 * time.Minute)
		p.key(t, c)
		synctest.Wait()
		assert.Equal(t, 2, p.calls())
		assert.Len(t, events.all(), 1)
		p.fails(errDown)
		for time.Now().Add(time.Second).Before(end) {
			require.Equal(t, first, p.key(t, c))
			time.Sleep(time.Second)
		}
	})
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		first := p.key(t, c)
		p.lives(2 * time.Minute)
		ReportRejected(t.Context(), c, first)
		synctest.Wait()
		assert.NotEqual(t, first, p.key(t, c))
	})
}

// The first refresh comes early. If it brings nothing that lives longer, the next one
// comes at the usual time, and the provider is not asked all the while.
func TestAnEarlyRefreshThatBringsNothing(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
		p.lives(12 * time.Hour)
		first := p.key(t, c)
		p.lives(time.Hour)
		every(t, c, time.Second, 11*time.Hour-time.Second, func(got aws.Credentials, err error, took time.Duration) {
			require.NoError(t, err)
			require.Zero(t, took)
			require.Equal(t, first, got.AccessKeyID)
		})
		assert.Equal(t, 2, p.calls())
		every(t, c, time.Second, time.Hour, func(_ aws.Credentials, err error, took time.Duration) {
			require.NoError(t, err)
			require.Zero(t, took)
		})
		assert.LessOrEqual(t, p.calls(), 4)
		assert.Len(t, events.all(), p.calls()-1)
	})
}

// A provider can return the same key with a later expiry.
func TestTheSameKeyWithALaterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &recorder{}
		c := NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "s", SessionToken: "t", CanExpire: true, Expires: time.Now().Add(time.Hour)}, nil
		}), events.on)
		every(t, c, time.Minute, 10*time.Hour, func(_ aws.Credentials, err error, took time.Duration) {
			require.NoError(t, err)
			require.Zero(t, took)
		})
		assert.LessOrEqual(t, len(events.all()), 14)
		time.Sleep(time.Minute)
	})
}

// If a refresh fails in the last moments of the credentials, a caller that has the time
// still gets the old ones.
func TestJustBeforeTheEnd(t *testing.T) {
	for _, left := range []time.Duration{499, 400, 300, 100, 2} {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			key := p.key(t, c)
			p.set(hang(time.Minute))
			time.Sleep(time.Until(p.end(key)) - left*time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
			defer cancel()
			got, err := c.Retrieve(ctx)
			require.NoError(t, err, left)
			assert.Equal(t, key, got.AccessKeyID)
		})
	}
}

func TestCredentialsThatAreOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for says, creds := range map[string]aws.Credentials{
			"without keys":         {SessionToken: "s"},
			"have already expired": {AccessKeyID: "a", SecretAccessKey: "s", CanExpire: true, Expires: time.Now()},
		} {
			events := &recorder{}
			p := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })
			_, err := NewCredentialsCache(p, events.on).Retrieve(t.Context())
			require.ErrorContains(t, err, says)
			synctest.Wait()
			assert.ErrorContains(t, events.all()[0].Err, says)
		}
		_, err := NewCredentialsCache(nil).Retrieve(t.Context())
		require.ErrorContains(t, err, "no provider")
	})
}

func TestCredentialsThatNeverEnd(t *testing.T) {
	story(t, func(t *testing.T, _ *fakeProvider, _ *aws.CredentialsCache, events *recorder) {
		calls := 0
		c := NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			calls++
			return aws.Credentials{AccessKeyID: fmt.Sprint(calls), SecretAccessKey: "s"}, nil
		}), events.on)
		for range 3 {
			got, err := c.Retrieve(t.Context())
			require.NoError(t, err)
			assert.False(t, got.CanExpire)
			assert.Equal(t, "1", got.AccessKeyID)
			time.Sleep(1000 * time.Hour)
		}
		assert.Zero(t, events.all()[0].Expires)
		c.Invalidate()
		got, err := c.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "2", got.AccessKeyID)
		require.True(t, ReportRejected(t.Context(), c, "2"))
		synctest.Wait()
		got, err = c.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "3", got.AccessKeyID)
	})
}

// Credentials that never end replace those that do.
func TestCredentialsThatEndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		creds := aws.Credentials{AccessKeyID: "1", SecretAccessKey: "s", CanExpire: true, Expires: time.Now().Add(time.Hour)}
		c := NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil }))
		_, err := c.Retrieve(t.Context())
		require.NoError(t, err)
		creds = aws.Credentials{AccessKeyID: "2", SecretAccessKey: "s"}
		time.Sleep(53 * time.Minute)
		_, err = c.Retrieve(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Second)
		got, err := c.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "2", got.AccessKeyID)
	})
}

// Caches that were filled together do not refresh together.
func TestCachesDriftApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		var caches []*aws.CredentialsCache
		for range 20 {
			caches = append(caches, NewCredentialsCache(p))
		}
		for end := time.Now().Add(59 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
			for _, c := range caches {
				p.key(t, c)
			}
		}
		times := map[time.Time]bool{}
		for _, at := range p.starts()[20:] {
			times[at] = true
		}
		assert.Greater(t, len(times), 10)
	})
}

// The times in events have no monotonic reading. With one, an instance that was frozen
// could not see that it is late.
func TestTimesAreDates(t *testing.T) {
	now := time.Now() // no test clock, which has no such reading
	require.Contains(t, now.String(), " m=")
	l := hold(aws.Credentials{CanExpire: true, Expires: now.Add(time.Hour)}, clock.Wall(), 0, 0, false)
	assert.NotContains(t, l.creds.Expires.String(), " m=")
	assert.NotContains(t, l.answer(clock.Wall()).Expires.String(), " m=")
	require.True(t, l.before(now.Add(30*time.Minute), clock.Wall(), 0))
	assert.NotContains(t, l.answer(clock.Wall()).Expires.String(), " m=")
	l.rejected = true
	assert.NotContains(t, l.answer(clock.Wall()).Expires.String(), " m=")
	var b backOff
	b.fail()
	assert.NotContains(t, b.end().String(), " m=")
}

// The cause of the end of a fetch's context is its own, and not that of a caller's
// context.
func TestTheCauseOfAFetchsEnd(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.set(func(ctx context.Context, _ int) error { <-ctx.Done(); return context.Cause(ctx) })
		ctx, leave := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { leave(errors.New("the caller left")) })
		_, err := c.Retrieve(ctx)
		require.ErrorIs(t, err, context.Canceled)
		_, err = c.Retrieve(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A call that returns at the end of its time is not counted as abandoned.
func TestACallThatReturnsAtTheLimit(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.set(hang(callLimit))
		for range 100 {
			_, err := c.Retrieve(t.Context())
			require.NotContains(t, err.Error(), "has not returned from")
		}
	})
}

// A success ends the back-off: its event has no NextTry, and the pause after the next
// failure is the first again.
func TestASuccessEndsTheBackOff(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
		for range 2 {
			for range 5 {
				p.fails(errDown)
				_, err := c.Retrieve(t.Context())
				require.Error(t, err)
			}
			p.fails(nil)
			p.key(t, c)
			synctest.Wait()
			assert.Zero(t, events.all()[len(events.all())-1].NextTry)
			time.Sleep(53 * time.Minute)
			p.fails(errDown)
			p.key(t, c)
			synctest.Wait()
			next := events.all()[len(events.all())-1].NextTry
			assert.LessOrEqual(t, time.Until(next), time.Second)
			c.Invalidate()
		}
	})
}

// A Retrier is asked about failures, and never about the same credentials again.
func TestARetrierIsAskedAboutFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		inner := &counted{CredentialsCache: aws.NewCredentialsCache(p)}
		c := NewCredentialsCache(retrier{inner, t})
		for range 59 * 60 {
			p.key(t, c)
			time.Sleep(time.Second)
		}
		assert.Less(t, inner.n.Load(), int64(150))
		assert.Greater(t, inner.n.Load(), int64(10))
	})
}

// Failures of a provider that is no Retrier are tried again after the back-off.
func TestAProviderThatIsNoRetrier(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, _ *aws.CredentialsCache, _ *recorder) {
		c := NewCredentialsCache(aws.CredentialsProviderFunc(p.Retrieve))
		key := p.key(t, c)
		p.fails(errDown)
		for time.Until(p.end(key)) > time.Second {
			require.Equal(t, key, p.key(t, c))
			time.Sleep(time.Second)
		}
		assert.Greater(t, p.calls(), 5)
	})
}

// retrier wants each failure to be tried again at once.
type retrier struct {
	*counted
	t *testing.T
}

func (r retrier) RetryNow(err error) bool { return assert.Error(r.t, err) || true }

// Credentials can live so shortly that the first caller comes in the last moments. It
// waits as after a sleep.
func TestShortCredentialsInTheLastMoments(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		behind(c).first = 1 // as late as it may be
		p.lives(40 * time.Second)
		for range 4 {
			require.Equal(t, "AKIA1", p.key(t, c))
			time.Sleep(9500 * time.Millisecond)
		}
		p.slow(300 * time.Millisecond)
		assert.Equal(t, "AKIA2", p.key(t, c))
	})
}

// A refresh in the background has its full time, even if it was started by a fetch of
// another cache whose time is nearly over.
func TestARefreshWithinAnotherFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, events := newFake(), &recorder{}
		inner := NewCredentialsCache(p, events.on)
		key := p.key(t, inner)
		time.Sleep(58 * time.Minute)
		p.slow(3 * time.Second)
		outer := NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			time.Sleep(8 * time.Second)
			return inner.Retrieve(ctx)
		}))
		require.Equal(t, key, p.key(t, outer))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.NoError(t, events.all()[1].Err)
		assert.NotEqual(t, key, p.key(t, inner))
	})
}

// A fetch that another cache's fetch waits for ends before that one, which so gets its
// error.
func TestAFetchWithinAnotherFetchSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		p.set(func(ctx context.Context, _ int) error { <-ctx.Done(); return errDown })
		inner := NewCredentialsCache(p)
		outer := NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			time.Sleep(2 * time.Second)
			return inner.Retrieve(ctx)
		}))
		_, err := outer.Retrieve(t.Context())
		require.ErrorIs(t, err, errDown)
	})
}

// A refresh that another cache's fetch begins does not end with it.
func TestARefreshWithinAnotherFetchHasItsTime(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, inner *aws.CredentialsCache, events *recorder) {
		p.key(t, inner)
		time.Sleep(55 * time.Minute)
		p.slow(5 * time.Second)
		outer := NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			time.Sleep(8 * time.Second)
			return inner.Retrieve(ctx)
		}))
		_, err := outer.Retrieve(t.Context())
		require.NoError(t, err)
		time.Sleep(6 * time.Second)
		require.Len(t, events.all(), 2)
		assert.NoError(t, events.all()[1].Err)
	}, func(o *Options) { o.Carry = func(ctx context.Context) context.Context { return ctx } })
}

func TestACacheOfOursIsReturnedUnchanged(t *testing.T) {
	c := NewCredentialsCache(newFake())
	assert.Same(t, c, NewCredentialsCache(c))
	plain := aws.NewCredentialsCache(newFake())
	assert.NotSame(t, plain, NewCredentialsCache(plain))
}

func TestQuestionsOfTheSDKArePassedOn(t *testing.T) {
	c := NewCredentialsCache(newFake())
	assert.Empty(t, c.ProviderSources())
	assert.True(t, c.IsCredentialsProvider(newFake()))
	assert.False(t, c.IsCredentialsProvider(aws.AnonymousCredentials{}))
	assert.Equal(t, []aws.CredentialSource{aws.CredentialSourceCode},
		NewCredentialsCache(withSources{newFake()}).ProviderSources())
}

type withSources struct{ *fakeProvider }

func (withSources) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceCode}
}

type valueKey struct{}

func TestWhichContextAFetchSees(t *testing.T) {
	var seen []any
	look := func(p *fakeProvider) {
		p.set(func(ctx context.Context, _ int) error {
			seen = append(seen, ctx.Value(valueKey{}))
			_, bounded := ctx.Deadline()
			assert.True(t, bounded)
			return nil
		})
	}
	request := func(t *testing.T, v string) context.Context { return context.WithValue(t.Context(), valueKey{}, v) }
	ask := func(t *testing.T, c *aws.CredentialsCache) {
		_, err := c.Retrieve(request(t, "first"))
		require.NoError(t, err)
		time.Sleep(58 * time.Minute)
		_, err = c.Retrieve(request(t, "second"))
		require.NoError(t, err)
		synctest.Wait()
		require.True(t, ReportRejected(request(t, "third"), c, "AKIA2"))
		synctest.Wait()
	}
	t.Run("by default", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			seen = nil
			look(p)
			ask(t, c)
			assert.Equal(t, []any{"first", nil, nil}, seen)
		})
	})
	t.Run("as chosen", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			seen = nil
			look(p)
			ask(t, c)
			assert.Equal(t, []any{"first!", "second!", "third!"}, seen)
		}, func(o *Options) {
			o.Carry = func(ctx context.Context) context.Context {
				return context.WithValue(context.Background(), valueKey{}, ctx.Value(valueKey{}).(string)+"!")
			}
		})
	})
	t.Run("a choice that hangs or panics", func(t *testing.T) {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			start := time.Now()
			_, err := c.Retrieve(t.Context())
			require.Error(t, err)
			assert.LessOrEqual(t, time.Since(start), 10*time.Second)
		}, func(o *Options) {
			o.Carry = func(ctx context.Context) context.Context { time.Sleep(time.Minute); panic("no") }
		})
	})
}

// The end of one caller's context does not end the fetch for the others.
func TestTheEndOfACallersContextDoesNotEndTheFetch(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.slow(3 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Retrieve(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		p.key(t, c)
		assert.Equal(t, 1, p.calls())
	})
}

// A fetch from before the instance froze is neither waited for nor used.
func TestAFetchFromBeforeTheFreeze(t *testing.T) {
	frozen := &fetch{began: time.Now().Add(-11 * time.Second)}
	assert.True(t, frozen.frozen())
	assert.False(t, (&fetch{began: time.Now()}).frozen())
	assert.False(t, (&fetch{began: time.Now().Add(-10 * time.Second)}).frozen(), "it ends by itself")
	for name, left := range map[string]time.Duration{"due": 5 * time.Minute, "in the last minute": 30 * time.Second, "ended": -time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFake()
				c := newCache(p, Options{})
				old := p.key(t, c.front)
				time.Sleep(time.Hour - left)
				ended := make(chan struct{})
				c.mu.Lock()
				c.fetch = &fetch{began: time.Now().Add(-time.Minute), cancel: func() { close(ended) }, done: make(chan struct{})}
				c.mu.Unlock()
				p.key(t, c.front)
				<-ended
				time.Sleep(time.Second)
				assert.NotEqual(t, old, p.key(t, c.front))
			})
		})
	}
}

// Callers who waited for a fetch that was abandoned get an error, and never credentials
// without keys.
func TestAFetchThatIsAbandonedWhileItsCallerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		p.slow(time.Second)
		c := newCache(p, Options{})
		time.AfterFunc(500*time.Millisecond, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.fetch = nil // as a freeze does, and not canceled in time
		})
		got, err := c.front.Retrieve(t.Context())
		assert.Error(t, err)
		assert.False(t, got.HasKeys())
	})
}

func TestTheContextOfAFetchEndsWithIt(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		var fetch context.Context
		p.set(func(ctx context.Context, _ int) error { fetch = ctx; return ctx.Err() })
		p.key(t, c)
		synctest.Wait()
		assert.ErrorIs(t, fetch.Err(), context.Canceled)
	})
}

// The refresh before the end of a dependency is made once, even if the new credentials
// expire so soon that another refresh would gain time.
func TestOnceForADependence(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		behind(c).jitter, behind(c).first = 0, 1 // so that there are four minutes left
		p.until = time.Now().Add(40 * time.Minute)
		p.key(t, c)
		p.lives(30 * time.Minute)
		every(t, c, time.Second, 40*time.Minute, func(_ aws.Credentials, err error, _ time.Duration) { require.NoError(t, err) })
		assert.Equal(t, 2, p.calls())
	})
}

// The times of the refresh before the end of a dependency, to the second.
func TestTheTimeBeforeADependenceEnds(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for _, c := range []struct {
		life, left time.Duration
		jitter     float64
		due        time.Duration // before the dependence ends; 0: not for it
	}{
		{1 * h, 40 * m, 0, 4 * m},    // a tenth of what is left
		{1 * h, 40 * m, 1, 2 * m},    // half of that
		{12 * h, 2 * h, 0, 5 * m},    // five minutes at most
		{30 * m, 200 * s, 0, 20 * s}, // gains a tenth of the life
		{30 * m, 199 * s, 0, 0},      // less
		{3 * h, 350 * s, 0, 35 * s},  // gains five minutes
		{3 * h, 300 * s, 0, 0},       // less
		{1 * h, 90 * m, 0, 0},        // they are due before
		{0, 40 * m, 0, 0},            // they never end
	} {
		now := time.Unix(1_800_000_000, 0)
		l := hold(aws.Credentials{CanExpire: c.life > 0, Expires: now.Add(c.life)}, now, 0, 0, false)
		before := *l
		require.Equal(t, c.due > 0, l.before(now.Add(c.left), now, c.jitter), c)
		if c.due > 0 {
			assert.Equal(t, now.Add(c.left-c.due), l.refresh, c)
			assert.True(t, l.dependent)
		} else {
			assert.Equal(t, before, *l, c)
		}
	}
}

// The longest pause doubles up to thirty seconds, and each pause is at least half of it.
func TestPausesOfTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for failures := range 100 {
			whole := 30 * time.Second
			if failures < 5 {
				whole = time.Second << failures
			}
			least, most := whole, time.Duration(0)
			for range 200 {
				b := backOff{failures: failures}
				b.fail()
				least, most = min(least, b.pause), max(most, b.pause)
				require.False(t, b.over())
				require.True(t, b.end().Equal(time.Now().Add(b.pause)))
			}
			assert.GreaterOrEqual(t, least, whole/2)
			assert.Less(t, least, whole*6/10)
			assert.LessOrEqual(t, most, whole)
			assert.Greater(t, most, whole*9/10)
		}
		var b backOff
		assert.True(t, b.over())
		assert.Zero(t, b.end())
		b.fail()
		time.Sleep(b.pause)
		assert.True(t, b.over())
	})
}

// If the clock is set back while a caller waits for a fetch, expired credentials are
// valid again. The caller gets them before the fetch ends.
func TestCredentialsThatLiveAgainWhileACallerWaits(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		key := p.key(t, c)
		time.Sleep(2 * time.Hour)
		p.set(hang(time.Hour))
		time.AfterFunc(time.Second, func() { // as a clock does that is set back
			inner := behind(c)
			inner.mu.Lock()
			defer inner.mu.Unlock()
			inner.held.creds.Expires = time.Now().Add(time.Minute)
		})
		start := time.Now()
		got, err := c.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, key, got.AccessKeyID)
		assert.LessOrEqual(t, time.Since(start), 2*time.Second)
	})
}

// With three caches, each around a thin wrapper of the one before, no caller waits or
// fails, and the provider is called no more often.
func TestThreeCachesNested(t *testing.T) {
	for name, window := range map[string]time.Duration{"without a window": 0, "with one": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, events := newFake(), &recorder{}
				p.slow(300 * time.Millisecond)
				inner := NewCredentialsCache(p, expiryWindow(window))
				middle := NewCredentialsCache(aws.CredentialsProviderFunc(inner.Retrieve), expiryWindow(window))
				outer := NewCredentialsCache(aws.CredentialsProviderFunc(middle.Retrieve), events.on, expiryWindow(window))
				p.key(t, outer)
				every(t, outer, time.Second, 10*time.Hour, func(got aws.Credentials, err error, took time.Duration) {
					require.NoError(t, err)
					require.Zero(t, took)
					require.True(t, time.Now().Before(p.end(got.AccessKeyID)))
				})
				assert.LessOrEqual(t, p.calls(), 20)
				assert.LessOrEqual(t, len(events.all()), p.calls())

				outer.Invalidate()
				p.key(t, outer)
				time.Sleep(time.Minute)
			})
		})
	}
}

// Took contains neither the time of Carry nor the time after the call was abandoned.
func TestTookIsTheProvidersTime(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
		p.slow(2 * time.Second)
		p.key(t, c)
		p.slow(0)
		p.set(hang(time.Hour))
		c.Invalidate()
		_, err := c.Retrieve(t.Context())
		require.Error(t, err)
		synctest.Wait()
		require.Len(t, events.all(), 2)
		assert.Equal(t, 2*time.Second, events.all()[0].Took)
		assert.LessOrEqual(t, events.all()[1].Took, 7*time.Second, "it is given up ten seconds after Carry began")
	}, func(o *Options) {
		o.Carry = func(ctx context.Context) context.Context { time.Sleep(3 * time.Second); return ctx }
	})
}
