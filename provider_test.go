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
		assert.LessOrEqual(t, s.count()-before, 3+10+45*60/15, "a few at first, and then one in 15 to 30 seconds")

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
		assert.LessOrEqual(t, time.Since(back), 32*time.Second)
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
				assert.ErrorContains(t, err, "did not answer in time")
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

func TestRefusalIsRememberedForASecond(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		bad, good := mint(t, "bad"), mint(t, "good")
		s.set(func(_ context.Context, raw string) error {
			if raw == bad {
				return codeError("AccessDenied")
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
						return codeError(code)
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
				return codeError("InvalidIdentityToken")
			}
			return nil
		}
	}
	t.Run("at a cold start", func(t *testing.T) {
		story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
			s.set(forged(""))
			const seconds = 20
			flood(t, p, "a", seconds*time.Second)
			s.paced(t, 4)
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
				return codeError("ExpiredTokenException")
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
		assert.LessOrEqual(t, s.count()-before, 10, "the same token is not asked about every second")
		_, err = p.Retrieve(fromRequest(live))
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(time.Second)
		creds, err := p.Retrieve(fromRequest(live))
		usable(t, s, creds, err)
		assert.NotEqual(t, first.AccessKeyID, creds.AccessKeyID)
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
		synctest.Wait()
		out := log.String()
		assert.Contains(t, out, `"AWS credentials refreshed" role=`+testRole)
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
				return oidc.ParseUnverified(raw)
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
