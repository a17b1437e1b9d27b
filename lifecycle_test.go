//go:build go1.25

package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
)

// story runs f with fake time, a fake STS and a provider that uses it.
func story(t *testing.T, f func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache)) {
	t.Helper()
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		f(t, s, NewProvider(testRole, withClient(s)))
	})
}

// sleepToSoftExpiry sleeps to a time when a refresh is certainly due, and the
// last minute is still far.
func sleepToSoftExpiry(s *fakeSTS) { time.Sleep(s.life - min(15*time.Minute, s.life/4)/2) }

// usable fails the test unless creds are some that STS gave and that live.
func usable(t *testing.T, s *fakeSTS, creds aws.Credentials, err error) {
	t.Helper()
	require.NoError(t, err)
	expiry, known := s.expiry(creds.AccessKeyID)
	require.True(t, known, "credentials that STS never gave: %q", creds.AccessKeyID)
	require.Equal(t, "secret-of-"+creds.AccessKeyID, creds.SecretAccessKey)
	require.True(t, time.Now().Before(expiry), "credentials that have expired")
	require.False(t, creds.Expires.After(expiry), "an expiry that STS gave was moved later")
}

func TestColdStartAsksOnce(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.latency = 300 * time.Millisecond
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				creds, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
				assert.NoError(t, err)
				assert.Equal(t, "ASIA0000", creds.AccessKeyID)
				assert.Equal(t, "123456789012", creds.AccountID)
				assert.Equal(t, ProviderName, creds.Source)
			})
		}
		wg.Wait()
		assert.Equal(t, 1, s.count())
	})
}

func TestNoCallerWaitsForARefresh(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.latency = 300 * time.Millisecond
		ctx := fromRequest(mint(t, "a", claim("exp", time.Now().Add(24*time.Hour).Unix())))
		_, err := p.Retrieve(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, s.count())

		var longest atomic.Int64
		var keys sync.Map
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for end := time.Now().Add(5 * time.Hour); time.Now().Before(end); {
					start := time.Now()
					creds, err := p.Retrieve(ctx)
					usable(t, s, creds, err)
					keys.Store(creds.AccessKeyID, true)
					if wait := int64(time.Since(start)); wait > longest.Load() {
						longest.Store(wait)
					}
					time.Sleep(rand.N(10 * time.Second))
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		assert.Less(t, time.Duration(longest.Load()), 5*time.Millisecond)
		n := 0
		keys.Range(func(any, any) bool { n++; return true })
		assert.Equal(t, n, s.count(), "one STS call for each set of credentials")
		assert.GreaterOrEqual(t, n, 6)
		assert.LessOrEqual(t, n, 8)
	})
}

// backOffBound is how many refreshes may be tried in d if all fail.
func backOffBound(d time.Duration) int {
	n := 0
	for at := time.Duration(0); at <= d; at += backOff(n) {
		n++
	}
	return n
}

func TestServiceDownWhileCredentialsLive(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(mint(t, "a"))
		first, err := p.Retrieve(ctx)
		usable(t, s, first, err)
		expiry, _ := s.expiry(first.AccessKeyID)
		s.set(always(errDown))
		before := s.count()
		for time.Until(expiry) > time.Minute {
			time.Sleep(100 * time.Millisecond)
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err)
			require.Equal(t, first.AccessKeyID, creds.AccessKeyID)
		}
		synctest.Wait()
		assert.Greater(t, s.count(), before, "it tried")
		assert.LessOrEqual(t, s.count()-before, backOffBound(15*time.Minute))

		s.set(nil)
		back := time.Now()
		for {
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err)
			if creds.AccessKeyID != first.AccessKeyID {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, time.Since(back), lastBackOff+2*askAgain)
	})
}

func TestServiceDownPastTheEnd(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(mint(t, "a", claim("exp", time.Now().Add(24*time.Hour).Unix())))
		first, err := p.Retrieve(ctx)
		usable(t, s, first, err)
		expiry, _ := s.expiry(first.AccessKeyID)
		s.set(always(errDown))
		for time.Now().Before(expiry) {
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err)
			time.Sleep(time.Second)
		}
		_, err = p.Retrieve(ctx)
		var refused *AssumeRoleError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, "InternalFailure", refused.Code)
		s.set(nil)
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
	})
}

func TestSilentServiceAtColdStart(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.set(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		ctx := fromRequest(mint(t, "a"))
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				start := time.Now()
				_, err := p.Retrieve(ctx)
				var failed *AssumeRoleError
				assert.ErrorAs(t, err, &failed)
				assert.ErrorContains(t, err, "did not answer within 10s")
				assert.LessOrEqual(t, time.Since(start), fetchLimit)
			})
		}
		wg.Wait()
		s.set(nil)
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
	})
}

func TestCallersContext(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.latency = 2 * time.Second
		raw := mint(t, "a")
		hasty, cancel := context.WithTimeout(fromRequest(raw), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { // the leader
			start := time.Now()
			_, err := p.Retrieve(hasty)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 100*time.Millisecond, time.Since(start))
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				creds, err := p.Retrieve(fromRequest(raw))
				usable(t, s, creds, err)
			})
		}
		wg.Wait()
		assert.Equal(t, 1, s.count(), "the fetch that the leader started served the others")
	})
}

func TestInvalidate(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(mint(t, "a"))
		for round := range 5 {
			p.Invalidate()
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					creds, err := p.Retrieve(ctx)
					usable(t, s, creds, err)
					assert.Equal(t, fmt.Sprintf("ASIA%04d", round), creds.AccessKeyID)
				})
			}
			wg.Wait()
			require.Equal(t, round+1, s.count())
		}
		// Also while due to be replaced, and with a refresh on its way.
		sleepToSoftExpiry(s)
		s.latency = time.Second
		_, err := p.Retrieve(ctx)
		require.NoError(t, err)
		p.Invalidate()
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
		assert.Equal(t, 7, s.count(), "the fetch from before Invalidate does not count")
		time.Sleep(time.Minute)
		again, err := p.Retrieve(ctx)
		usable(t, s, again, err)
		assert.Equal(t, creds.AccessKeyID, again.AccessKeyID)

		s.set(always(errDown))
		p.Invalidate()
		_, err = p.Retrieve(ctx)
		assert.Error(t, err, "credentials that someone calls dead are not served")
	})
}

func TestRefusalIsRememberedForASecond(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		bad, good := mint(t, "bad"), mint(t, "good")
		s.set(func(_ context.Context, raw string) error {
			if raw == bad {
				return apiError("AccessDenied")
			}
			return nil
		})
		const seconds = 5
		for range seconds * 10 { // 1,000 callers a second
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					_, err := p.Retrieve(oidc.ContextWithToken(t.Context(), bad))
					var refused *AssumeRoleError
					assert.ErrorAs(t, err, &refused)
				})
			}
			wg.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, s.count(), seconds+1)
		assert.GreaterOrEqual(t, s.count(), seconds-1)

		start := time.Now()
		creds, err := p.Retrieve(fromRequest(good))
		usable(t, s, creds, err)
		assert.Zero(t, time.Since(start), "another token goes through at once")
	})
}

func TestRefusedTokenGivesWayToAnother(t *testing.T) {
	for _, code := range []string{"ExpiredTokenException", "ExpiredToken", "InvalidIdentityToken", "IDPRejectedClaim", "AccessDenied", "InvalidParameterValue"} {
		t.Run(code, func(t *testing.T) {
			story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
				bad, good := mint(t, "bad"), mint(t, "good")
				s.set(func(_ context.Context, raw string) error {
					if raw == bad {
						return apiError(code)
					}
					return nil
				})
				fromRequest(good) // another request was here
				creds, err := p.Retrieve(fromRequest(bad))
				usable(t, s, creds, err)
				assert.Equal(t, []string{bad, good}, s.tokens)
			})
		})
	}
}

func TestNeverMoreThanTwoOperations(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		for i := range 6 {
			fromRequest(mint(t, fmt.Sprint(i)))
		}
		s.set(always(apiError("InvalidIdentityToken")))
		_, err := p.Retrieve(fromRequest(mint(t, "own")))
		require.Error(t, err)
		assert.Equal(t, 2, s.count())
		s.set(always(errDown)) // a fault of the service says nothing of the token
		time.Sleep(time.Minute)
		_, err = p.Retrieve(fromRequest(mint(t, "own")))
		require.Error(t, err)
		assert.Equal(t, 3, s.count())
	})
}

func TestFloodOfForgedTokens(t *testing.T) {
	flood := func(t *testing.T, p *aws.CredentialsCache, name string, d time.Duration) (failed int) {
		i := 0
		for end := time.Now().Add(d); time.Now().Before(end); i++ {
			if _, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(name, i)))); err != nil {
				failed++
			}
			time.Sleep(10 * time.Millisecond)
		}
		return failed
	}
	forged := func(good string) func(context.Context, string) error {
		return func(_ context.Context, raw string) error {
			if raw != good {
				return apiError("InvalidIdentityToken")
			}
			return nil
		}
	}
	t.Run("at a cold start", func(t *testing.T) {
		story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
			s.set(forged(""))
			const seconds = 20
			flood(t, p, "a", seconds*time.Second)
			assert.LessOrEqual(t, s.count(), 2*(seconds+2), "two operations a retrieval, a retrieval a second, and one more for the first")
		})
	})
	t.Run("does not push a proven token out", func(t *testing.T) {
		story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
			good := mint(t, "good")
			s.set(forged(good))
			creds, err := p.Retrieve(fromRequest(good))
			usable(t, s, creds, err)
			assert.Zero(t, flood(t, p, "fresh", 5*time.Second), "credentials live")
			p.Invalidate()
			before := s.count()
			assert.Zero(t, flood(t, p, "cold", 5*time.Second))
			assert.LessOrEqual(t, s.count()-before, 2)
			sleepToSoftExpiry(s)
			before = s.count()
			assert.Zero(t, flood(t, p, "soft", 10*time.Second))
			assert.LessOrEqual(t, s.count()-before, 4)
		})
	})
}

func TestBackgroundGoroutineHasCredentialsAfterAnyRequest(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		_, err := p.Retrieve(context.Background())
		require.ErrorIs(t, err, oidc.ErrNoToken)
		fromRequest(mint(t, "a")) // a request that made no AWS call
		creds, err := p.Retrieve(context.Background())
		usable(t, s, creds, err)

		// Hours later the proven token is dead; the newest request's is not.
		time.Sleep(3 * time.Hour)
		_, err = p.Retrieve(context.Background())
		require.ErrorIs(t, err, oidc.ErrNoToken)
		fromRequest(mint(t, "b"))
		creds, err = p.Retrieve(context.Background())
		usable(t, s, creds, err)
	})
}

func TestNewTokenIsTriedAtOnceInTheAdvisoryWindow(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		dead, live := mint(t, "dead"), mint(t, "live")
		first, err := p.Retrieve(fromRequest(dead))
		usable(t, s, first, err)
		s.set(func(_ context.Context, raw string) error {
			if raw == dead {
				return apiError("ExpiredTokenException")
			}
			return nil
		})
		sleepToSoftExpiry(s)
		before := s.count()
		for range 60 {
			creds, err := p.Retrieve(fromRequest(dead))
			usable(t, s, creds, err)
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, s.count()-before, backOffBound(time.Minute), "the same token is not asked about every second")
		_, err = p.Retrieve(fromRequest(live))
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(askAgain)
		creds, err := p.Retrieve(fromRequest(live))
		usable(t, s, creds, err)
		assert.NotEqual(t, first.AccessKeyID, creds.AccessKeyID)
	})
}

func TestFrozenDuringARefresh(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(mint(t, "a", claim("exp", time.Now().Add(24*time.Hour).Unix())))
		first, err := p.Retrieve(ctx)
		usable(t, s, first, err)
		sleepToSoftExpiry(s)

		// A frozen instance's timers do not fire: the call outlives its limit.
		thaw := make(chan struct{})
		s.set(func(context.Context, string) error { <-thaw; return nil })
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
		synctest.Wait()
		require.Equal(t, 2, s.count())

		time.Sleep(2 * time.Hour)
		s.set(nil)
		start := time.Now()
		creds, err = p.Retrieve(ctx)
		usable(t, s, creds, err)
		assert.Equal(t, 3, s.count())
		assert.Zero(t, time.Since(start), "it does not wait for the dead connection")

		close(thaw)
		synctest.Wait()
		again, err := p.Retrieve(ctx)
		usable(t, s, again, err)
		assert.Equal(t, creds.AccessKeyID, again.AccessKeyID)
		s.set(always(errDown)) // so that the provider answers with what it holds
		sleepToSoftExpiry(s)
		again, err = p.Retrieve(ctx)
		usable(t, s, again, err)
		assert.Equal(t, creds.AccessKeyID, again.AccessKeyID, "what the frozen fetch brought is not used")
		synctest.Wait()
		// synctest.Test fails if a goroutine is left behind.
	})
}

// A refresh that was frozen in flight does not keep another from starting while
// the credentials live.
func TestFrozenRefreshIsGivenUp(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(longLived(t))
		first, err := p.Retrieve(ctx)
		usable(t, s, first, err)
		sleepToSoftExpiry(s)
		thaw := make(chan struct{})
		defer close(thaw)
		s.set(func(context.Context, string) error { <-thaw; return nil })
		_, err = p.Retrieve(ctx)
		require.NoError(t, err)
		synctest.Wait()
		s.set(nil)
		time.Sleep(fetchLimit + 2*time.Second)
		_, err = p.Retrieve(ctx)
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(askAgain)
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
		assert.NotEqual(t, first.AccessKeyID, creds.AccessKeyID)
	})
}

// Credentials end while a refresh is on its way, and that refresh fails. The
// caller who waited for it fetches itself.
func TestRefreshFailsAcrossTheEnd(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(longLived(t))
		first, err := p.Retrieve(ctx)
		usable(t, s, first, err)
		sleepToSoftExpiry(s)
		s.set(always(errDown))
		_, err = p.Retrieve(ctx) // a first failure, so that nobody waits in the last minute
		require.NoError(t, err)
		synctest.Wait()
		end, _ := s.expiry(first.AccessKeyID)
		time.Sleep(time.Until(end) - time.Second)
		s.latency = 3 * time.Second
		creds, err := p.Retrieve(ctx) // starts a refresh that fails after the end
		usable(t, s, creds, err)
		time.Sleep(1500 * time.Millisecond)
		s.set(nil) // the refresh on its way fails all the same
		creds, err = p.Retrieve(ctx)
		usable(t, s, creds, err)
	})
}

func TestLogger(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		log := &recorder{}
		p := NewProvider(testRole, withClient(s), log.option)
		ctx := fromRequest(mint(t, "a"))
		_, err := p.Retrieve(ctx)
		require.NoError(t, err)
		sleepToSoftExpiry(s)
		s.set(always(errDown))
		_, err = p.Retrieve(ctx)
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(time.Hour)
		_, err = p.Retrieve(ctx)
		require.Error(t, err)
		out := log.String()
		assert.Contains(t, out, `"AWS credentials refreshed" role=`+testRole)
		assert.Contains(t, out, "source=request")
		assert.Contains(t, out, "AWS credentials not refreshed; the old ones serve")
		assert.Contains(t, out, "next_try=")
		assert.Contains(t, out, "AWS credentials could not be fetched")
	})
}

var errSource = errors.New("the source is broken")

func TestBrokenSource(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		raw := mint(t, "a")
		var failing atomic.Bool
		p := NewProvider(testRole, withClient(s), func(o *Options) {
			o.TokenSource = oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
				if failing.Load() {
					return oidc.Token{}, errSource
				}
				return oidc.Parse(raw)
			})
		})
		failing.Store(true)
		_, err := p.Retrieve(t.Context())
		require.ErrorIs(t, err, errSource)
		failing.Store(false)
		creds, err := p.Retrieve(t.Context())
		usable(t, s, creds, err)
		failing.Store(true)
		time.Sleep(s.life - time.Second)
		creds, err = p.Retrieve(t.Context())
		usable(t, s, creds, err)
		time.Sleep(time.Second)
		_, err = p.Retrieve(t.Context())
		require.ErrorIs(t, err, errSource)
		time.Sleep(2 * time.Hour)
		failing.Store(false)
		_, err = p.Retrieve(t.Context())
		require.ErrorIs(t, err, oidc.ErrExpired, "a source that does not look at the expiry")
	})
}

// A source that hangs holds no caller longer than the limit, also when requests
// bring new tokens meanwhile.
func TestHungSourceIsBounded(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
			o.TokenSource = oidc.TokenSourceFunc(func(ctx context.Context) (oidc.Token, error) {
				<-ctx.Done()
				return oidc.Token{}, ctx.Err()
			})
		})
		start := time.Now()
		go func() {
			time.Sleep(time.Second)
			fromRequest(mint(t, "new"))
		}()
		_, err := p.Retrieve(fromRequest(""))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.LessOrEqual(t, time.Since(start), fetchLimit+tokenGrace)
	})
}
