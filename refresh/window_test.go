//go:build go1.25

package refresh

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func expiryWindow(d time.Duration) func(*Options) {
	return func(o *Options) { o.ExpiryWindow = d }
}

// While the provider answers, nobody gets credentials with less than the window
// left, and nobody waits for it.
func TestAnExpiryWindowIsLeft(t *testing.T) {
	for _, c := range []struct{ life, window time.Duration }{
		{15 * time.Minute, 5 * time.Minute},
		{time.Hour, 15 * time.Minute},
		{time.Hour, 36 * time.Minute},
		{12 * time.Hour, time.Hour},
		{12 * time.Hour, 7 * time.Hour},
	} {
		for _, latency := range []time.Duration{300 * time.Millisecond, 9 * time.Second} {
			t.Run(fmt.Sprint(c, latency), func(t *testing.T) {
				story(t, func(t *testing.T, p *fakeProvider, cache *aws.CredentialsCache, events *recorder) {
					p.lives(c.life)
					p.slow(latency)
					p.key(t, cache)
					least := c.life
					every(t, cache, 7*time.Second, 3*c.life, func(got aws.Credentials, err error, took time.Duration) {
						require.NoError(t, err)
						require.Zero(t, took)
						least = min(least, time.Until(p.end(got.AccessKeyID)))
					})
					assert.GreaterOrEqual(t, least, c.window)
					assert.LessOrEqual(t, p.calls(), 12)
					for _, e := range events.all() {
						assert.NoError(t, e.Err)
						assert.Equal(t, c.window, e.ExpiryWindow)
					}
				}, expiryWindow(c.window))
			})
		}
	}
}

// A refresh that takes until the window begins, or that succeeds in it: whoever asks
// then gets the new credentials.
func TestARefreshThatEndsInTheExpiryWindow(t *testing.T) {
	const life, window = time.Minute, 36 * time.Second
	for latency := 100 * time.Millisecond; latency < 9*time.Second; latency += 300 * time.Millisecond {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			p.lives(life)
			p.slow(latency)
			p.key(t, c)
			every(t, c, 50*time.Millisecond, 5*life, func(got aws.Credentials, err error, _ time.Duration) {
				require.NoError(t, err)
				require.GreaterOrEqual(t, time.Until(p.end(got.AccessKeyID)), window, latency)
			})
		}, expiryWindow(window))
	}
}

// A failed refresh in the window, and then one that succeeds: the new credentials are
// handed out at once.
func TestASuccessInTheExpiryWindowIsSeenAtOnce(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
		first := p.key(t, c)
		p.fails(errDown)
		every(t, c, 100*time.Millisecond, 50*time.Minute, func(_ aws.Credentials, err error, _ time.Duration) { require.NoError(t, err) })
		p.fails(nil)
		for p.key(t, c) == first {
			synctest.Wait()
			if status, _ := StatusOf(c); status.AccessKeyID != first {
				require.NotEqual(t, first, p.key(t, c))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}, expiryWindow(15*time.Minute))
}

// Many callers at once, at a cold start and at each refresh.
func TestManyCallersWithAnExpiryWindow(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.slow(time.Second)
		p.key(t, c)
		for end := time.Now().Add(2 * time.Hour); time.Now().Before(end); time.Sleep(20 * time.Second) {
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					start := time.Now()
					key := p.key(t, c)
					assert.Zero(t, time.Since(start))
					assert.GreaterOrEqual(t, time.Until(p.end(key)), 20*time.Minute)
				})
			}
			wg.Wait()
		}
	}, expiryWindow(20*time.Minute))
}

// An instance that slept until less than the window is left waits for the refresh
// as at a first fetch, all callers for the same, and gets new credentials.
func TestWakingInTheExpiryWindow(t *testing.T) {
	for _, latency := range []time.Duration{300 * time.Millisecond, 9 * time.Second} {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
			p.key(t, c)
			p.slow(latency)
			time.Sleep(46 * time.Minute)
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					start := time.Now()
					assert.Equal(t, "AKIA2", p.key(t, c))
					assert.Equal(t, latency, time.Since(start))
				})
			}
			wg.Wait()
			assert.Equal(t, 2, p.calls())
		}, expiryWindow(15*time.Minute))
	}
}

// In an outage the callers of the first fetch wait for it and get the old credentials.
// Later callers get them at once, and after a sleep within half a second.
func TestAnOutageInTheExpiryWindow(t *testing.T) {
	for name, outage := range map[string]func(context.Context, int) error{
		"fails":  func(context.Context, int) error { return errDown },
		"silent": func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() },
		"hangs":  hang(time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
				key := p.key(t, c)
				p.set(outage)
				time.Sleep(46 * time.Minute)
				waits := 0
				every(t, c, time.Second, 13*time.Minute, func(got aws.Credentials, err error, took time.Duration) {
					require.NoError(t, err)
					require.Equal(t, key, got.AccessKeyID)
					if took > 0 {
						waits++
						assert.LessOrEqual(t, took, 10*time.Second)
					}
				})
				if name == "fails" {
					assert.Zero(t, waits)
				} else {
					assert.Equal(t, 1, waits)
				}
				for _, e := range events.all()[1:] {
					assert.Equal(t, ReasonExpiring, e.Reason)
					assert.Error(t, e.Err)
				}
			}, expiryWindow(15*time.Minute))
			story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
				key := p.key(t, c)
				time.Sleep(46 * time.Minute)
				p.set(outage)
				p.key(t, c)
				for range 6 { // one request a minute
					time.Sleep(time.Minute)
					start := time.Now()
					require.Equal(t, key, p.key(t, c))
					assert.LessOrEqual(t, time.Since(start), 500*time.Millisecond)
				}
				p.set(nil)
				p.slow(300 * time.Millisecond)
				if name == "hangs" {
					time.Sleep(time.Until(p.end(key)))
				}
				time.Sleep(time.Minute)
				got, err := c.Retrieve(t.Context())
				if name == "hangs" {
					assert.Error(t, err) // four calls have not returned
					return
				}
				require.NoError(t, err)
				assert.NotEqual(t, key, got.AccessKeyID, "while the provider answers, nobody gets less")
			}, expiryWindow(15*time.Minute))
		})
	}
}

// If the credentials expire while a caller waits in the window, the rest of its ten
// seconds is for the fetch after the expiry.
func TestTheExpiryWindowsEnd(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		key := p.key(t, c)
		time.Sleep(time.Until(p.end(key)) - 3*time.Second)
		p.set(func(ctx context.Context, n int) error {
			if n == 2 {
				time.Sleep(5 * time.Second)
				return errDown
			}
			time.Sleep(time.Second)
			return nil
		})
		start := time.Now()
		assert.NotEqual(t, key, p.key(t, c))
		assert.Equal(t, 6*time.Second, time.Since(start))
		assert.Equal(t, 3, p.calls())
	}, expiryWindow(15*time.Minute))
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		key := p.key(t, c)
		time.Sleep(time.Until(p.end(key)) - 3*time.Second)
		p.set(hang(time.Hour))
		start := time.Now()
		_, err := c.Retrieve(t.Context())
		require.ErrorContains(t, err, "*refresh.fakeProvider")
		assert.LessOrEqual(t, time.Since(start), 10*time.Second)
	}, expiryWindow(15*time.Minute))
}

// A window longer than three fifths of the life is cut, and the event has the result.
// There are no more fetches because of it.
func TestAnExpiryWindowThatIsTooLong(t *testing.T) {
	for _, window := range []time.Duration{37 * time.Minute, time.Hour, 24 * time.Hour} {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
			p.key(t, c)
			every(t, c, time.Second, 10*time.Hour, func(got aws.Credentials, err error, took time.Duration) {
				require.NoError(t, err)
				require.Zero(t, took)
				require.GreaterOrEqual(t, time.Until(p.end(got.AccessKeyID)), 36*time.Minute)
			})
			assert.Equal(t, 36*time.Minute, events.all()[0].ExpiryWindow)
			assert.LessOrEqual(t, p.calls(), 48)
		}, expiryWindow(window))
	}
}

// A window that is not positive has no effect, nor has one for credentials that never
// expire.
func TestNoExpiryWindow(t *testing.T) {
	for _, window := range []time.Duration{0, -time.Hour} {
		story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
			behind(c).first = 1
			p.key(t, c)
			time.Sleep(52*time.Minute + 29*time.Second)
			p.key(t, c)
			synctest.Wait()
			assert.Equal(t, 1, p.calls())
			assert.Zero(t, events.all()[0].ExpiryWindow)
		}, expiryWindow(window))
	}
	synctest.Test(t, func(t *testing.T) {
		events := &recorder{}
		c := NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "s"}, nil
		}), expiryWindow(time.Hour), events.on)
		for range 3 {
			got, err := c.Retrieve(t.Context())
			require.NoError(t, err)
			assert.False(t, got.CanExpire)
			time.Sleep(1000 * time.Hour)
		}
		assert.Len(t, events.all(), 1)
		assert.Zero(t, events.all()[0].ExpiryWindow)
	})
}

// The times of credentials with a window, to the second.
func TestThePlanWithAnExpiryWindow(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for _, c := range []struct {
		life, window         time.Duration
		quarter, soonest, by time.Duration // since they came
	}{
		{1 * h, 0, 15 * m, 45 * m, 52*m + 30*s},
		{1 * h, 15 * m, 15 * m, 33*m + 45*s, 39*m + 22*s + 500*time.Millisecond},
		{1 * h, 36 * m, 15 * m, 18 * m, 21 * m},
		{12 * h, 1 * h, 3 * h, 10 * h, 10*h + 30*m},
	} {
		now := time.Unix(1_800_000_000, 0)
		creds := aws.Credentials{CanExpire: true, Expires: now.Add(c.life)}
		assert.Equal(t, now.Add(c.soonest), hold(creds, now, c.window, 0, false).refresh, c)
		assert.Equal(t, now.Add(c.by), hold(creds, now, c.window, 1, false).refresh, c)
		assert.Equal(t, now.Add(c.quarter), hold(creds, now, c.window, 0, true).refresh, c)
		assert.Equal(t, now.Add(c.by), hold(creds, now, c.window, 1, true).refresh, c)
		l := hold(creds, now, c.window, 0, false)
		assert.False(t, l.short(now.Add(c.life-c.window-1)))
		assert.Equal(t, c.window > 0, l.short(now.Add(c.life-c.window)))
	}
}

// Caches that start together refresh at different times, from the first refresh on.
func TestTheFirstRefreshIsSpreadOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		var caches []*aws.CredentialsCache
		for range 200 {
			caches = append(caches, NewCredentialsCache(p))
		}
		start := time.Now()
		for ; time.Since(start) < 53*time.Minute; time.Sleep(10 * time.Second) {
			for _, c := range caches {
				p.key(t, c)
			}
		}
		perQuarter := map[time.Duration]int{}
		for _, at := range p.starts()[200:] {
			perQuarter[at.Sub(start)/(15*time.Minute)]++
		}
		assert.Zero(t, perQuarter[0])
		assert.InDelta(t, 200*15/37.5, perQuarter[1], 35)
		assert.InDelta(t, 200*15/37.5, perQuarter[2], 35)
		assert.InDelta(t, 200*7.5/37.5, perQuarter[3], 30)
	})
}
