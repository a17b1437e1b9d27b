//go:build go1.25

package vercelaws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/pace"
	"github.com/vercelaws/vercelaws/internal/testworld"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/refresh"
	"github.com/vercelaws/vercelaws/ststest"
)

// withProvider runs f with fake time, a fake STS and a provider that uses it.
func withProvider(t *testing.T, f func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache)) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
				assert.LessOrEqual(t, time.Since(start), longestFetch)
			})
		}
		wg.Wait()
		s.set(nil)
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
	})
}

func TestCallersContext(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
			withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
		withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
			s.set(forged(""))
			const seconds = 20
			flood(t, p, "a", seconds*time.Second)
			s.paced(t, 4)
		})
	})
	t.Run("does not push a proven token out", func(t *testing.T) {
		withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
		log := &logBuffer{}
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
		assert.LessOrEqual(t, time.Since(start), longestFetch+100*time.Millisecond)
	})
}

// inWorld runs f under fake time with a provider that speaks HTTP to the STS.
func inWorld(t *testing.T, f func(t *testing.T, w *testworld.World, p *aws.CredentialsCache)) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		w := testworld.New(testRole, true)
		defer w.Close()
		f(t, w, NewProvider(testRole, withClient(w.STS.STS())))
	})
}

// faults are those of ststest, and all of them mixed at random.
func faults() map[string]func() ststest.Fault {
	out := map[string]func() ststest.Fault{}
	down := ststest.Down()
	for name, fault := range down {
		out[name] = func() ststest.Fault { return fault }
	}
	all := slices.Collect(maps.Values(down))
	out["all mixed"] = func() ststest.Fault { return all[rand.IntN(len(all))] }
	return out
}

func choose(f func() ststest.Fault) func(ststest.Call) ststest.Fault {
	return func(c ststest.Call) ststest.Fault {
		if c.Action != "AssumeRoleWithWebIdentity" {
			return ststest.Fault{}
		}
		return f()
	}
}

func TestOutageWhileCredentialsLive(t *testing.T) {
	for name, fault := range faults() {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
				ctx := fromRequest(w.Issuer.Mint())
				first, err := p.Retrieve(ctx)
				require.NoError(t, err)
				session, ok := w.STS.Session(first.AccessKeyID)
				require.True(t, ok)

				w.STS.SetFault(choose(fault))
				before := w.Calls()
				for time.Until(session.Expires) > time.Minute {
					start := time.Now()
					creds, err := p.Retrieve(ctx)
					require.NoError(t, err)
					require.Equal(t, first.AccessKeyID, creds.AccessKeyID)
					require.Less(t, time.Since(start), 5*time.Millisecond)
					time.Sleep(time.Second)
				}
				tried := w.Calls() - before
				assert.Positive(t, tried)
				assert.LessOrEqual(t, tried, 3*(3+10+45*60/15), "three attempts a refresh, refreshes as the back-off allows from the first quarter of the hour on")

				w.STS.SetFault(nil)
				back := time.Now()
				for {
					creds, err := p.Retrieve(ctx)
					require.NoError(t, err)
					if creds.AccessKeyID != first.AccessKeyID {
						break
					}
					time.Sleep(time.Second)
				}
				assert.LessOrEqual(t, time.Since(back), 45*time.Second)
				synctest.Wait()
			})
		})
	}
}

func TestOutageAtColdStart(t *testing.T) {
	for name, fault := range faults() {
		if name == "all mixed" {
			continue // a retry may meet a good answer
		}
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
				w.STS.SetFault(choose(fault))
				ctx := fromRequest(w.Issuer.Mint())
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						start := time.Now()
						_, err := p.Retrieve(ctx)
						var failed *AssumeRoleError
						assert.ErrorAs(t, err, &failed)
						assert.LessOrEqual(t, time.Since(start), longestFetch)
					})
				}
				wg.Wait()
				w.STS.SetFault(nil)
				if fault().Lifetime < 0 {
					time.Sleep(time.Second) // a wrong clock is remembered for a moment
				}
				_, err := p.Retrieve(ctx)
				require.NoError(t, err, "the first caller after STS is back")
				time.Sleep(time.Minute) // abandoned attempts end
			})
		})
	}
}

// A connection that hangs costs one attempt, and not the whole fetch.
func TestHungAttemptIsRetried(t *testing.T) {
	for name, fault := range map[string]ststest.Fault{"hang": {Hang: true}, "drip": {Drip: true}, "latency": {Latency: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
				w.STS.SetFault(func(c ststest.Call) ststest.Fault {
					if c.Action == "AssumeRoleWithWebIdentity" && c.N == 1 {
						return fault
					}
					return ststest.Fault{}
				})
				start := time.Now()
				_, err := p.Retrieve(fromRequest(w.Issuer.Mint()))
				require.NoError(t, err)
				assert.GreaterOrEqual(t, time.Since(start), 3*time.Second)
				assert.Less(t, time.Since(start), 2*3*time.Second)
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestWrongLocalClockIsNamed(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		behind := func() time.Time { return time.Now().Add(-2 * time.Hour) }
		w := testworld.New(testRole, true, func(o *ststest.Options) { o.Now = behind })
		defer w.Close()
		p := NewProvider(testRole, withClient(w.STS.STS()))
		token := w.Issuer.Mint(func(c *oidctest.Claims) { c.IssuedAt, c.Expiry = behind(), time.Now().Add(2*time.Hour) })
		_, err := p.Retrieve(fromRequest(token))
		require.ErrorContains(t, err, "expired on arrival")
		assert.ErrorContains(t, err, "2h0m0s ahead of STS's; set the local clock right")
	})
}

// badLeaders are the requests that must fail nobody else, by what is wrong
// with their token.
func badLeaders(t testing.TB) map[string]func() string {
	return map[string]func() string{
		"missing":   func() string { return "" },
		"garbage":   func() string { return "garbage" },
		"truncated": func() string { raw := mint(t, "x"); return raw[:len(raw)/2] },
		"expired":   func() string { return mint(t, "x", claim("exp", time.Now().Add(-time.Hour).Unix())) },
		"forged":    func() string { return mint(t, "forged") },
		"refused by the trust policy": func() string {
			return mint(t, "other", claim("project", "other"), claim("project_id", "prj_2"), claim("sub", "owner:acme:project:other:environment:production"))
		},
	}
}

// judge is an STS that takes good tokens only, and takes a moment over it.
func judge(t testing.TB, good string) *fakeSTS {
	s := newFakeSTS()
	s.set(func(_ context.Context, raw string) error {
		tok, err := oidc.ParseUnverified(raw)
		switch {
		case err != nil:
			return codeError("InvalidIdentityToken")
		case tok.Project != "web":
			return codeError("AccessDenied")
		case raw != good:
			return codeError("InvalidIdentityToken")
		}
		return nil
	})
	return s
}

// A leader with a bad token, and 100 callers with good ones who wait for the
// same fetch: none of the 100 fails. Under fake time every caller is in place
// before STS answers the leader.
func TestPoison(t *testing.T) {
	const rounds = 1000
	for name, bad := range badLeaders(t) {
		for _, when := range []string{"cold", "hard expiry", "at refresh", "last minute"} {
			t.Run(name+"/"+when, func(t *testing.T) {
				isolate(t)
				synctest.Test(t, func(t *testing.T) {
					raw := mint(t, "good", claim("exp", time.Now().Add(5000*time.Hour).Unix()))
					s := judge(t, raw)
					s.latency = 50 * time.Millisecond
					p := NewProvider(testRole, withClient(s))
					for round := range rounds / 20 { // of each kind; 24 kinds make more than 1,000
						switch when {
						case "cold":
							forgetRequests()
							p = NewProvider(testRole, withClient(s))
						case "hard expiry":
							time.Sleep(s.life + time.Hour)
						case "at refresh":
							sleepToSoftExpiry(s)
						case "last minute":
							time.Sleep(s.life - 30*time.Second)
						}
						poisonRound(t, p, bad(), raw, round)
					}
				})
			})
		}
	}
}

func poisonRound(t *testing.T, p *aws.CredentialsCache, bad, good string, round int) {
	t.Helper()
	var failed atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.Retrieve(fromRequest(bad)) })
	for range 100 {
		wg.Go(func() {
			if _, err := p.Retrieve(fromRequest(good)); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load(), "round %d", round)
	time.Sleep(2 * time.Second)
}

// TestPoisonWindow measures the one gap that cannot be closed from inside the
// SDK's single flight: a leader without a token, while no request has been seen
// yet, fails at once; a caller who joins that flight between our last look for
// a token and the flight's end fails with it, although it has a good token.
// The test reports how often real threads hit it, and fails only if a good
// caller's next try fails too.
func TestPoisonWindow(t *testing.T) {
	isolate(t)
	good := mint(t, "good")
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	var hit atomic.Int64
	for range rounds {
		forgetRequests()
		s := judge(t, good)
		p := NewProvider(testRole, withClient(s))
		start := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { <-start; _, _ = p.Retrieve(context.Background()) })
		for range 4 {
			wg.Go(func() {
				<-start
				ctx := fromRequest(good)
				if _, err := p.Retrieve(ctx); err != nil {
					hit.Add(1)
					_, err = p.Retrieve(ctx)
					if err != nil && strings.Contains(err.Error(), "no token") {
						t.Errorf("the second try failed too: %v", err)
					}
				}
			})
		}
		close(start)
		wg.Wait()
	}
	t.Logf("%d of %d callers hit the window", hit.Load(), 4*rounds)
}

// Each test here is an attack, or a mishap that reads like one, and the promise
// that it must not break.

// attack runs f under fake time with an STS that takes only the token good.
func attack(t *testing.T, f func(t *testing.T, s *fakeSTS, good string)) {
	t.Helper()
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		good := mint(t, "good", claim("exp", time.Now().Add(1000*time.Hour).Unix()))
		s := judge(t, good)
		s.latency = 20 * time.Millisecond
		f(t, s, good)
		time.Sleep(time.Hour) // flights and handlers end
	})
}

func TestAGoodTokenBesideAFewForgedOnes(t *testing.T) {
	for _, forged := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {1, 0}, {3, 0}} { // before and after the good one
		t.Run(fmt.Sprint(forged), func(t *testing.T) {
			attack(t, func(t *testing.T, s *fakeSTS, good string) {
				for round := range 50 {
					forgetRequests()
					p := NewProvider(testRole, withClient(s))
					var wg sync.WaitGroup
					request := func(raw string, must bool) {
						ctx := fromRequest(raw)
						wg.Go(func() {
							start := time.Now()
							_, err := p.Retrieve(ctx)
							if must {
								assert.NoError(t, err)
								assert.Less(t, time.Since(start), 200*time.Millisecond, "at once")
							}
						})
						synctest.Wait()
					}
					for i := range forged[0] {
						request(mint(t, fmt.Sprint("before", round, i)), false)
					}
					request(good, true)
					for i := range forged[1] {
						request(mint(t, fmt.Sprint("after", round, i)), false)
					}
					wg.Wait()
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// flood has requests with tokens of their own ask p, one each every, until the
// function that it returns is called. That waits for the last.
func flood(p *aws.CredentialsCache, every time.Duration, token func(i int) string) (end func()) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(every):
			}
			ctx := fromRequest(token(i))
			wg.Go(func() { _, _ = p.Retrieve(ctx) })
		}
	})
	return func() {
		close(stop)
		wg.Wait()
	}
}

// forged are tokens that are each new.
func forged(t *testing.T) func(i int) string {
	return func(i int) string { return mint(t, fmt.Sprint("forged", i)) }
}

// twiceASecond has requests with a good token ask p for ten seconds, and returns
// after what time each was served that was.
func twiceASecond(p *aws.CredentialsCache, good string) (served []time.Duration) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	start := time.Now()
	for range 20 {
		ctx := fromRequest(good)
		wg.Go(func() {
			if _, err := p.Retrieve(ctx); err == nil {
				mu.Lock()
				defer mu.Unlock()
				served = append(served, time.Since(start))
			}
		})
		time.Sleep(500 * time.Millisecond)
	}
	wg.Wait()
	return served
}

// A good token that recurs twice a second, among forged ones that are each new.
func TestAGoodTokenInAFlood(t *testing.T) {
	for _, rate := range []int{20, 200, 1000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			attack(t, func(t *testing.T, s *fakeSTS, good string) {
				p := NewProvider(testRole, withClient(s))
				end := flood(p, time.Second/time.Duration(rate), forged(t))
				time.Sleep(100 * time.Millisecond) // a forged one leads
				served := twiceASecond(p, good)
				end()
				require.NotEmpty(t, served)
				assert.LessOrEqual(t, served[0], 5*time.Second)
				s.paced(t, 4)
			})
		})
	}
}

func TestGarbageTakesNoPlace(t *testing.T) {
	attack(t, func(t *testing.T, s *fakeSTS, good string) {
		p := NewProvider(testRole, withClient(s))
		var wg sync.WaitGroup
		leader := fromRequest(mint(t, "forged"))
		wg.Go(func() { _, _ = p.Retrieve(leader) })
		synctest.Wait()
		ctx := fromRequest(good)
		for i := range 1000 {
			fromRequest(fmt.Sprint("garbage", i))
		}
		_, err := p.Retrieve(ctx)
		require.NoError(t, err)
		wg.Wait()
	})
}

func TestRefusedTokensStandBeforeNoOtherSource(t *testing.T) {
	isolate(t)
	t.Setenv("VERCEL", "")
	t.Setenv("VERCEL_OIDC_TOKEN", mint(t, "environment", claim("exp", time.Now().Add(100*365*24*time.Hour).Unix())))
	attackWithEnvironment := func(forged ...string) {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeSTS()
			s.set(func(_ context.Context, raw string) error {
				if tok, _ := oidc.ParseUnverified(raw); strings.Contains(string(raw), "forged") || tok.Environment == "forged" {
					return codeError("InvalidIdentityToken")
				}
				return nil
			})
			p := NewProvider(testRole, withClient(s))
			for _, jti := range forged {
				raw := mint(t, jti, claim("environment", "forged"))
				for range 3 {
					creds, err := p.Retrieve(fromRequest(raw))
					usable(t, s, creds, err)
					p.Invalidate()
				}
			}
		})
	}
	attackWithEnvironment("one", "two", "three")
}

// brokenHandler is a log handler that does f with each record.
type brokenHandler struct{ f func(slog.Record) }

func (brokenHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h brokenHandler) Handle(_ context.Context, r slog.Record) error {
	h.f(r)
	return nil
}
func (h brokenHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h brokenHandler) WithGroup(string) slog.Handler      { return h }

func TestHandlersDelayNobody(t *testing.T) {
	var p *aws.CredentialsCache
	var used atomic.Int64
	handlers := map[string]func(){
		"uses the provider": func() {
			if _, err := p.Retrieve(context.Background()); err == nil {
				used.Add(1)
			}
		},
		"sleeps":             func() { time.Sleep(30 * time.Second) },
		"never returns":      func() { time.Sleep(1000 * time.Hour) },
		"panics":             func() { panic("no") },
		"ends its goroutine": runtime.Goexit,
	}
	for name, handler := range handlers {
		for _, hook := range []string{"Logger", "OnEvent"} {
			t.Run(hook+" "+name, func(t *testing.T) {
				attack(t, func(t *testing.T, s *fakeSTS, good string) {
					p = NewProvider(testRole, withClient(s), func(o *Options) {
						if hook == "Logger" {
							o.Logger = slog.New(brokenHandler{func(slog.Record) { handler() }})
						} else {
							o.OnEvent = func(refresh.Event) { handler() }
						}
					})
					for range 3 {
						for range 10 {
							start := time.Now()
							_, err := p.Retrieve(fromRequest(good))
							require.NoError(t, err)
							require.LessOrEqual(t, time.Since(start), s.latency)
						}
						p.Invalidate()
					}
					if name == "never returns" {
						time.Sleep(10_000 * time.Hour)
					}
				})
			})
		}
	}
	assert.Positive(t, used.Load())
}

// stuckClient never returns, whatever its context says.
type stuckClient struct{ *fakeSTS }

func (c stuckClient) AssumeRoleWithWebIdentity(context.Context, *sts.AssumeRoleWithWebIdentityInput, ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	time.Sleep(time.Hour)
	return nil, errors.New("late")
}

func TestWhatNeverReturnsIsNamed(t *testing.T) {
	options := map[string]func(*Options){
		"Options.Client": withClient(stuckClient{newFakeSTS()}),
		"Options.TokenSource": func(o *Options) {
			o.Client = newFakeSTS()
			o.TokenSource = oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
				time.Sleep(time.Hour)
				return oidc.Token{}, errors.New("late")
			})
		},
	}
	for name, option := range options {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			synctest.Test(t, func(t *testing.T) {
				p := NewProvider(testRole, option)
				ctx := fromRequest(mint(t, "a", claim("exp", time.Now().Add(1000*time.Hour).Unix())))
				for i := range 6 {
					start := time.Now()
					_, err := p.Retrieve(ctx)
					require.ErrorContains(t, err, name)
					assert.LessOrEqual(t, time.Since(start), 10*time.Second)
					if i >= 4 {
						assert.Zero(t, time.Since(start))
					}
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// The local clock is two hours ahead of STS, and is set right.
func TestAClockThatIsSetRight(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		ahead.Store(int64(2 * time.Hour))
		clock := func() time.Time { return time.Now().Add(-time.Duration(ahead.Load())) }
		w := testworld.New(testRole, true, func(o *ststest.Options) { o.Now = clock })
		defer w.Close()
		p := NewProvider(testRole, withClient(w.STS.STS()))
		ctx := fromRequest(w.Issuer.Mint(func(c *oidctest.Claims) { c.IssuedAt, c.Expiry = clock(), time.Now().Add(2*time.Hour) }))
		for range 5 {
			_, err := p.Retrieve(ctx)
			require.ErrorContains(t, err, "expired on arrival")
		}
		ahead.Store(0)
		_, err := p.Retrieve(ctx)
		require.NoError(t, err)
	})
}

// A clock that is 14 minutes behind must not plan the refresh after the real
// end of the credentials.
func TestAClockThatIsBehind(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		const behind = 14 * time.Minute
		w := testworld.New(testRole, true, func(o *ststest.Options) { o.Now = func() time.Time { return time.Now().Add(behind) } })
		defer w.Close()
		p := NewProvider(testRole, withClient(w.STS.STS()))
		ctx := fromRequest(w.Issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(100 * time.Hour) }))
		for range 3 * 60 {
			creds, err := p.Retrieve(ctx)
			require.NoError(t, err)
			session, ok := w.STS.Session(creds.AccessKeyID)
			require.True(t, ok)
			require.True(t, time.Now().Add(behind).Before(session.Expires), "dead by STS's clock")
			time.Sleep(time.Minute)
		}
	})
}

// Credentials that are dead by STS's clock, and alive by a local one that is
// behind, are asked for no more often than others that come dead.
func TestCredentialsThatAreDeadByTheOtherClock(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		w := testworld.New(testRole, true, func(o *ststest.Options) { o.Now = func() time.Time { return time.Now().Add(14 * time.Minute) } })
		defer w.Close()
		w.STS.SetFault(ststest.Always(ststest.Fault{Lifetime: -time.Minute}))
		p := NewProvider(testRole, withClient(w.STS.STS()))
		ctx := fromRequest(w.Issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(time.Hour) }))
		start := time.Now()
		for range 20 {
			_, err := p.Retrieve(ctx)
			require.ErrorContains(t, err, "14m0s behind STS's")
		}
		assert.GreaterOrEqual(t, time.Since(start), 8*time.Second)
	})
}

// One service knows no session and calls every key dead. The clients of other
// services must not feel it, whether STS works or not.
func TestAServiceThatCallsEverythingDead(t *testing.T) {
	for _, down := range []bool{false, true} {
		t.Run(fmt.Sprintf("STS down %t", down), func(t *testing.T) {
			attack(t, func(t *testing.T, s *fakeSTS, good string) {
				p := NewProvider(testRole, withClient(s))
				ctx := fromRequest(good)
				_, err := p.Retrieve(ctx)
				require.NoError(t, err)
				if down {
					s.set(always(errDown))
				}
				before := s.count()
				for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					start := time.Now()
					creds, err := p.Retrieve(ctx)
					usable(t, s, creds, err)
					require.Zero(t, time.Since(start))
					refresh.ReportRejected(ctx, p, creds.AccessKeyID)
				}
				calls := s.count() - before
				if down {
					assert.LessOrEqual(t, calls, 10, "the back-off holds")
				} else {
					assert.LessOrEqual(t, calls, 6, "after 1, 2, 4, 8 and 16 seconds")
					assert.GreaterOrEqual(t, calls, 4)
				}
			})
		})
	}
}

// The HTTP requests of a cold provider whose STS fails at once, with callers
// that try again at once.
func TestAFailingSTSIsNotHammered(t *testing.T) {
	for name, fault := range map[string]ststest.Fault{
		"503": {Status: 503}, "throttling": {Status: 400, Code: "Throttling", Message: "Rate exceeded"},
		"IDPCommunicationError": {Status: 400, Code: "IDPCommunicationError"}, "reset": {Reset: true}, "garbage": {Garbage: true},
		"expired": {Lifetime: -time.Minute}, "empty": {EmptyCredentials: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
				var mu sync.Mutex
				var calls []time.Time
				w.STS.SetFault(func(c ststest.Call) ststest.Fault {
					mu.Lock()
					defer mu.Unlock()
					calls = append(calls, time.Now())
					return fault
				})
				raw := w.Issuer.Mint()
				for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
					_, err := p.Retrieve(fromRequest(raw))
					require.Error(t, err)
				}
				mu.Lock()
				defer mu.Unlock()
				for i := range calls {
					if i+5 < len(calls) {
						require.GreaterOrEqual(t, calls[i+5].Sub(calls[i]), time.Second-time.Millisecond, "six in a second")
					}
				}
				assert.Greater(t, len(calls), 15)
			})
		})
	}
}

// A quiet site is the one that starts cold. Its first request may be lost in a
// flood; the second is known, though it comes a minute later.
func TestAQuietSiteInAFlood(t *testing.T) {
	for _, rate := range []int{5, 20} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			attack(t, func(t *testing.T, s *fakeSTS, good string) {
				p := NewProvider(testRole, withClient(s))
				end := flood(p, time.Second/time.Duration(rate), forged(t))
				time.Sleep(5 * time.Second)
				_, _ = p.Retrieve(fromRequest(good))
				time.Sleep(time.Minute)
				_, err := p.Retrieve(fromRequest(good))
				assert.NoError(t, err)
				end()
			})
		})
	}
}

// STS refused the good token while the role was wrong. When that is mended, new
// forged tokens do not stay ahead of it.
func TestAMendedRoleInAFlood(t *testing.T) {
	attack(t, func(t *testing.T, s *fakeSTS, good string) {
		const wrong = 20 * time.Second
		start := time.Now()
		s.set(func(_ context.Context, raw string) error {
			if raw != good || time.Since(start) < wrong {
				return apiAnswer(403, "AccessDenied")
			}
			return nil
		})
		p := NewProvider(testRole, withClient(s))
		end := flood(p, 5*time.Millisecond, forged(t))
		for {
			if _, err := p.Retrieve(fromRequest(good)); err == nil {
				break
			}
			require.Less(t, time.Since(start), wrong+35*time.Second)
			time.Sleep(500 * time.Millisecond)
		}
		end()
	})
}

// A token that comes at the end of a fetch does not make it any longer.
func TestATokenThatComesLate(t *testing.T) {
	attack(t, func(t *testing.T, s *fakeSTS, _ string) {
		s.latency = 9 * time.Second
		p := NewProvider(testRole, withClient(s))
		start := time.Now()
		go func() {
			time.Sleep(9*time.Second + 5*time.Millisecond)
			fromRequest(mint(t, "late"))
		}()
		_, err := p.Retrieve(fromRequest(mint(t, "forged")))
		require.Error(t, err)
		assert.LessOrEqual(t, time.Since(start), 10*time.Second)
	})
}

// A crafted token that draws an answer which is not listed stops nobody.
func TestATokenThatDrawsAnUnknownAnswer(t *testing.T) {
	for name, answer := range map[string]error{
		"418":             apiAnswer(418, "Teapot"),
		"413":             apiAnswer(413, "RequestEntityTooLarge"),
		"ValidationError": apiAnswer(400, "ValidationError"),
	} {
		t.Run(name, func(t *testing.T) {
			attack(t, func(t *testing.T, s *fakeSTS, good string) {
				s.set(func(_ context.Context, raw string) error {
					if raw != good {
						return answer
					}
					return nil
				})
				p := NewProvider(testRole, withClient(s))
				var wg sync.WaitGroup
				leader, ctx := fromRequest(mint(t, "crafted")), fromRequest(good)
				wg.Go(func() { _, _ = p.Retrieve(leader) })
				synctest.Wait()
				_, err := p.Retrieve(ctx)
				require.NoError(t, err)
				wg.Wait()
			})
		})
	}
}

func apiAnswer(status int, code string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: code, Message: "no"},
	}
}

func TestWhatATokenSaysIsQuotedAndShortened(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		hostile := "https://oidc.vercel.com/acme\nlevel=INFO \x1b[31m\u202e" + strings.Repeat("x", 4000)
		for _, code := range []string{"AccessDenied", "InvalidIdentityToken", "IDPCommunicationError", "Other"} {
			for _, name := range []string{"iss", "sub", "aud", "environment", "project"} {
				forgetRequests()
				s.set(always(&smithy.GenericAPIError{Code: code, Message: hostile}))
				_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(mint(t, code+name, claim(name, hostile))))
				require.Error(t, err)
				assert.Less(t, len(err.Error()), 4000)
				assert.NotContains(t, err.Error(), "\n")
				assert.NotContains(t, err.Error(), "\x1b")
				assert.NotContains(t, err.Error(), "\u202e")
			}
		}
		_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(strings.Repeat("é\n", 17_000)))
		require.Error(t, err)
		assert.Less(t, len(err.Error()), 4000)
	})
}

// What a request carries beside its token goes no further than the request: no
// trace hook of it fires in a fetch, which others wait for and which may go on
// after the request.
func TestATraceHookNeverFires(t *testing.T) {
	inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
		traced := func() context.Context {
			hook := func(string) { t.Error("a hook fired"); select {} }
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: hook}))
			r.Header.Set(oidc.Header, w.Issuer.Mint())
			return oidc.RequestContext(r)
		}
		for range 2 {
			_, err := p.Retrieve(traced())
			require.NoError(t, err)
			time.Sleep(58 * time.Minute)
		}
		synctest.Wait()
		assert.Equal(t, 2, w.Calls())
	})
}

// A revoked session or another mistake of a service: what says that credentials are rejected.
func TestWhatRejectsCredentials(t *testing.T) {
	for code, dead := range map[string]bool{
		"ExpiredToken": true, "ExpiredTokenException": true, "InvalidClientTokenId": true, "InvalidAccessKeyId": true,
		"UnrecognizedClientException": true, "InvalidToken": true,
		"AccessDenied": false, "RequestExpired": false, "SignatureDoesNotMatch": false, "RequestTimeTooSkewed": false,
	} {
		assert.Equal(t, dead, saysRejected(codeError(code)), code)
	}
	assert.True(t, saysRejected(&smithy.GenericAPIError{Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials"}))
	assert.False(t, saysRejected(&smithy.GenericAPIError{Code: "AuthFailure", Message: "Not authorized for images: [ami-1]"}))
	assert.False(t, saysRejected(errors.New("ExpiredToken")))
}

// STS accepts a token up to five minutes past its expiry. It is the last to be
// tried, and once.
func TestATokenThatHasJustExpired(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		old := mint(t, "old", claim("exp", time.Now().Add(-4*time.Minute).Unix()))
		s := newFakeSTS()
		p := NewProvider(testRole, withClient(s))
		creds, err := p.Retrieve(fromRequest(old))
		usable(t, s, creds, err)

		fromRequest(mint(t, "fresh"))
		p.Invalidate()
		_, err = p.Retrieve(fromRequest(old))
		require.NoError(t, err)
		fresh, err := oidc.ParseUnverified(s.tokens[len(s.tokens)-1])
		require.NoError(t, err)
		assert.True(t, fresh.Expiry.After(time.Now()), "a living one comes first")

		forgetRequests()
		s = newFakeSTS()
		s.set(always(codeError("ExpiredTokenException")))
		p = NewProvider(testRole, withClient(s))
		for range 3 {
			_, err = p.Retrieve(oidc.ContextWithToken(t.Context(), old))
			require.Error(t, err)
		}
		_, err = p.Retrieve(fromRequest(mint(t, "older", claim("exp", time.Now().Add(-6*time.Minute).Unix()))))
		require.ErrorIs(t, err, oidc.ErrExpired)
		assert.Equal(t, 1, s.count())
	})
}

func TestProviderPrintsNoSecret(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		raw := mint(t, "a")
		f := newFetcher(testRole, Options{Client: s})
		creds, err := f.Retrieve(fromRequest(raw))
		require.NoError(t, err)
		cache := NewProvider(testRole, withClient(s))
		given, err := cache.Retrieve(fromRequest(raw))
		require.NoError(t, err)
		s.set(always(codeError("AccessDenied")))
		_, err = f.Retrieve(fromRequest(mint(t, "b")))
		require.Error(t, err)
		synctest.Wait()                       // the SDK's single flight has ended too
		f.client, f.options.Client = nil, nil // the fake keeps what it was sent
		for _, v := range []any{f, &f.known, f.options, Options{}, cache} {
			shown := []string{}
			verbs := []string{"%v", "%+v", "%#v", "%s", "%d", "%t", "%x", "%q"}
			if v == cache {
				verbs = verbs[:3] // the SDK's type itself shows its credentials under a verb that does not fit it
			}
			for _, verb := range verbs {
				shown = append(shown, fmt.Sprintf(verb, v))
			}
			if b, err := json.Marshal(v); err == nil {
				shown = append(shown, string(b))
			}
			for _, out := range shown {
				for _, secret := range []string{
					creds.SecretAccessKey, creds.SessionToken, given.SecretAccessKey, given.SessionToken, raw[strings.LastIndex(raw, ".")+1:],
				} {
					assert.NotContains(t, out, secret)
				}
			}
		}
	})
}

// Sets of forged tokens, each repeated far more often than the good one, that
// change each second.
func TestAGoodTokenAmongForgedOnesThatRepeat(t *testing.T) {
	attack(t, func(t *testing.T, s *fakeSTS, good string) {
		p := NewProvider(testRole, withClient(s))
		start := time.Now()
		known := map[string]string{}
		end := flood(p, 2*time.Millisecond, func(i int) string {
			id := fmt.Sprint(i%10, "of", time.Since(start).Truncate(time.Second))
			if known[id] == "" {
				known[id] = mint(t, id)
			}
			return known[id]
		})
		time.Sleep(100 * time.Millisecond)
		served := twiceASecond(p, good)
		end()
		require.NotEmpty(t, served)
		assert.LessOrEqual(t, served[0], 5*time.Second-100*time.Millisecond)
		s.paced(t, 4)
	})
}

// wrappedClient is a user's decorator of the SDK's client.
type wrappedClient struct{ *sts.Client }

func TestAWrappedClientIsPacedByItsRequests(t *testing.T) {
	inWorld(t, func(t *testing.T, w *testworld.World, _ *aws.CredentialsCache) {
		w.STS.SetFault(ststest.Always(ststest.Fault{Status: 503}))
		p := NewProvider(testRole, withClient(wrappedClient{w.STS.STS()}))
		raw := w.Issuer.Mint()
		const seconds = 20
		for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			_, err := p.Retrieve(fromRequest(raw))
			require.Error(t, err)
		}
		assert.LessOrEqual(t, w.Calls(), 3+2*(seconds+10), "the last fetch may take its ten seconds")
		assert.Greater(t, w.Calls(), 20)
	})
}

// A source that panics is asked no more often than one that fails.
func TestASourceThatPanicsIsAskedAsSeldom(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		raw := mint(t, "a", claim("exp", time.Now().Add(100*time.Hour).Unix()))
		var broken atomic.Bool
		var asked atomic.Int64
		p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
			o.TokenSource = oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
				asked.Add(1)
				if broken.Load() {
					panic("no")
				}
				return oidc.ParseUnverified(raw)
			})
		})
		ctx := fromRequest(raw) // arrives before the first fetch
		_, err := p.Retrieve(ctx)
		require.NoError(t, err)
		fromRequest(mint(t, "another"))
		time.Sleep(53 * time.Minute)
		broken.Store(true)
		asked.Store(0)
		for range 300 {
			_, err := p.Retrieve(ctx)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, asked.Load(), int64(40))
		assert.Greater(t, asked.Load(), int64(5))
	})
}

// Each test here is a fault that another SDK's credentials had in the field.

func longLived(t testing.TB) string {
	return mint(t, "long", claim("exp", time.Now().Add(1000*time.Hour).Unix()))
}

// aws-sdk-net issue 3541, reverted by 4023: after idle times, a background
// refresh handed out expired credentials.
func TestScarIdlePastExpiry(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.latency = 300 * time.Millisecond
		raw := longLived(t)
		for round := range 20 {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					creds, err := p.Retrieve(fromRequest(raw))
					usable(t, s, creds, err)
				})
			}
			wg.Wait()
			require.Equal(t, round+1, s.count(), "everyone waited for one fetch")
			time.Sleep(s.life + time.Duration(round)*time.Minute)
		}
	})
}

// aws-sdk-java-v2 issue 3314: one thread refreshed while the others were given
// expired credentials.
func TestScarOthersDuringTheRefresh(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		raw := longLived(t)
		_, err := p.Retrieve(fromRequest(raw))
		require.NoError(t, err)
		s.latency = 2 * time.Second
		time.Sleep(s.life - time.Second) // they end while the refresh is on its way
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 30 * time.Millisecond)
				creds, err := p.Retrieve(fromRequest(raw))
				usable(t, s, creds, err)
			})
		}
		wg.Wait()
		assert.Equal(t, 2, s.count())
	})
}

// aws-sdk-net issue 4316, aws-sdk-java issue 1893: with sessions of 15 minutes
// and a window of 15 minutes, every call refreshed.
func TestScarWindowAsLongAsTheSession(t *testing.T) {
	for _, life := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
				s.life = life
				raw := longLived(t)
				const lives = 10
				for end := time.Now().Add(lives * life); time.Now().Before(end); time.Sleep(life / 100) {
					creds, err := p.Retrieve(fromRequest(raw))
					usable(t, s, creds, err)
				}
				assert.LessOrEqual(t, s.count(), lives*4/3+2, "a refresh comes after three quarters of the life, or later")
			})
		})
	}
}

// aws-sdk-java-v2 issue 6805: exponential back-off overflowed after 58
// failures, and the provider never refreshed again.
func TestScarBackOffOverflow(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.life = 12 * time.Hour
		ctx := fromRequest(longLived(t))
		first, err := p.Retrieve(ctx)
		require.NoError(t, err)
		end, _ := s.expiry(first.AccessKeyID)
		s.set(always(errDown))
		time.Sleep(s.life - 30*time.Minute) // a refresh is due from here on
		for ; time.Now().Before(end); time.Sleep(time.Second) {
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err)
		}
		assert.Greater(t, s.count(), 50)
		assert.LessOrEqual(t, s.count(), 1+10+30*60/15)
		for range 1000 {
			_, err := p.Retrieve(ctx)
			require.Error(t, err)
		}
		s.set(nil)
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
	})
}

// mulgadc/spinifex issue 995, on Go's EC2 provider: on a failed refresh the
// same credentials came back with a later expiry, so a dead key lived on.
func TestScarExpiryMovedLater(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(longLived(t))
		first, err := p.Retrieve(ctx)
		require.NoError(t, err)
		end, _ := s.expiry(first.AccessKeyID)
		s.set(always(errDown))
		for ; time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err) // checks the expiry against STS's
		}
		_, err = p.Retrieve(ctx)
		require.Error(t, err)
	})
}

// A wrong local clock: credentials that are expired on arrival were fetched
// again on every call, and nothing said why.
func TestScarExpiredOnArrival(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.life = -3 * time.Minute
		for i := range 100 {
			_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
			require.ErrorContains(t, err, "expired on arrival")
			require.NotContains(t, err.Error(), "of STS", "whose time is not known")
			time.Sleep(time.Millisecond)
		}
		s.paced(t, 4)
		synctest.Wait()
		s.life = time.Hour
		time.Sleep(time.Second)
		creds, err := p.Retrieve(fromRequest(longLived(t)))
		usable(t, s, creds, err)
	})
}

// cockroachdb issue 169764: a request signed in the last moment of its
// credentials reached the service after their end.
func TestScarWakingInTheLastMinute(t *testing.T) {
	wake := func(t *testing.T, f func(s *fakeSTS, p *aws.CredentialsCache, ctx context.Context, first aws.Credentials)) {
		withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
			ctx := fromRequest(longLived(t))
			first, err := p.Retrieve(ctx)
			require.NoError(t, err)
			time.Sleep(s.life - 40*time.Second)
			f(s, p, ctx, first)
		})
	}
	t.Run("waits for fresh ones", func(t *testing.T) {
		wake(t, func(s *fakeSTS, p *aws.CredentialsCache, ctx context.Context, first aws.Credentials) {
			s.latency = 300 * time.Millisecond
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					creds, err := p.Retrieve(ctx)
					usable(t, s, creds, err)
					assert.NotEqual(t, first.AccessKeyID, creds.AccessKeyID)
				})
			}
			wg.Wait()
			assert.Equal(t, 2, s.count())
		})
	})
	t.Run("serves the old ones if STS is down, and waits once only", func(t *testing.T) {
		wake(t, func(s *fakeSTS, p *aws.CredentialsCache, ctx context.Context, first aws.Credentials) {
			s.set(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
			start := time.Now()
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err)
			assert.Equal(t, first.AccessKeyID, creds.AccessKeyID)
			assert.LessOrEqual(t, time.Since(start), longestFetch)
			for range 15 {
				time.Sleep(time.Second)
				start := time.Now()
				creds, err := p.Retrieve(ctx)
				usable(t, s, creds, err)
				assert.Zero(t, time.Since(start))
			}
			time.Sleep(longestFetch) // let the last fetch end
			synctest.Wait()
		})
	})
	t.Run("the time in which nobody asked is not spent on refreshes", func(t *testing.T) {
		wake(t, func(s *fakeSTS, _ *aws.CredentialsCache, _ context.Context, _ aws.Credentials) {
			assert.Equal(t, 1, s.count())
		})
	})
}

// aws-sdk-java-v2 issue 5690: a misconfigured role hammered STS. A refusal that
// no token changes is remembered whatever the token is.
func TestScarMisconfiguredRole(t *testing.T) {
	for _, code := range []string{"MalformedPolicyDocument", "PackedPolicyTooLarge", "RegionDisabledException"} {
		t.Run(code, func(t *testing.T) {
			withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
				s.set(always(codeError(code)))
				for i := range 100 {
					_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
					require.ErrorContains(t, err, code)
					time.Sleep(10 * time.Millisecond)
				}
				s.paced(t, 4)
				calls := s.count()
				start := time.Now()
				for range 100 { // as nearly all requests have, one token
					_, err := p.Retrieve(fromRequest(mint(t, "99")))
					require.ErrorContains(t, err, code)
				}
				assert.LessOrEqual(t, s.count(), calls+1)
				assert.LessOrEqual(t, time.Since(start), time.Second)
			})
		})
	}
}

func TestAnswersThatHoldNoCredentials(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		var spoil func(out *sts.AssumeRoleWithWebIdentityOutput) *sts.AssumeRoleWithWebIdentityOutput
		p := NewProvider(testRole, withClient(spoiled{s, &spoil}))
		ctx := fromRequest(longLived(t))
		const empty = "the answer holds credentials with an empty key or session token"
		for _, c := range []struct {
			says  string
			spoil func(c *types.Credentials) *types.Credentials
		}{
			{"the answer holds no credentials", func(*types.Credentials) *types.Credentials { return nil }},
			{empty, func(c *types.Credentials) *types.Credentials { c.AccessKeyId = nil; return c }},
			{empty, func(c *types.Credentials) *types.Credentials { c.SecretAccessKey = aws.String(""); return c }},
			{empty, func(c *types.Credentials) *types.Credentials { c.SessionToken = nil; return c }},
			{"the answer holds credentials without an expiry", func(c *types.Credentials) *types.Credentials { c.Expiration = nil; return c }},
			{"the STS client returned no answer and no error", nil},
		} {
			spoil = func(o *sts.AssumeRoleWithWebIdentityOutput) *sts.AssumeRoleWithWebIdentityOutput {
				if c.spoil == nil {
					return nil
				}
				o.Credentials = c.spoil(o.Credentials)
				return o
			}
			_, err := p.Retrieve(ctx)
			var failed *AssumeRoleError
			require.ErrorAs(t, err, &failed, c.says)
			assert.ErrorContains(t, err, testRole+": "+c.says+" (token", "without the words of stscreds around it")
			assert.NotContains(t, err.Error(), "secret-of")
		}
		spoil = func(o *sts.AssumeRoleWithWebIdentityOutput) *sts.AssumeRoleWithWebIdentityOutput { return o }
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
	})
}

// spoiled changes what an STS answers.
type spoiled struct {
	*fakeSTS
	change *func(*sts.AssumeRoleWithWebIdentityOutput) *sts.AssumeRoleWithWebIdentityOutput
}

func (s spoiled) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, optFns ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	out, err := s.fakeSTS.AssumeRoleWithWebIdentity(ctx, in, optFns...)
	if err != nil {
		return nil, err
	}
	return (*s.change)(out), nil
}

// presign makes a URL of S3 for life with p's credentials.
func presign(t *testing.T, p *aws.CredentialsCache, token string, life time.Duration) *http.Request {
	creds, err := p.Retrieve(fromRequest(token))
	require.NoError(t, err)
	r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://photos.s3.us-east-1.amazonaws.com/harbour.jpg?X-Amz-Expires=%d", int(life.Seconds())), nil)
	require.NoError(t, err)
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	require.NoError(t, err)
	r, err = http.NewRequest(http.MethodGet, signed, nil)
	require.NoError(t, err)
	return r
}

// TestPresignedURLsToTheirEnd makes URLs for a day, of instances that are
// asked once in two minutes and once in an hour and a half on average, and uses each
// a second before its end. Docs/presigning.md has the table.
//
// Without a window an instance's refresh starts 7.5 minutes before the end at the
// latest, at the first question after that. With up to 2.5 minutes between questions,
// 5 minutes are left.
func TestPresignedURLsToTheirEnd(t *testing.T) {
	const m, h = time.Minute, time.Hour
	for _, c := range []struct {
		duration, window, url time.Duration
		least, most           float64 // per cent that end early
	}{
		{0, 0, 5 * m, 0, 0},   // an instance that is awake; see below for one that slept
		{0, 0, 15 * m, 0, 20}, // by the instance's own time of refresh
		{0, 0, 1 * h, 95, 100},
		{0, 5 * m, 5 * m, 0, 0},
		{0, 15 * m, 15 * m, 0, 0},
		{0, 36 * m, 35 * m, 0, 0},
		{12 * h, 0, 1 * h, 0, 0}, // they are replaced before each token's end
		{12 * h, 1 * h, 1 * h, 0, 0},
		{12 * h, 7 * h, 7 * h, 0, 0},
	} {
		for name, every := range map[string]time.Duration{"awake": 2 * time.Minute, "seldom asked": 90 * time.Minute} {
			t.Run(fmt.Sprintf("duration %s, window %s, URL of %s, %s", c.duration, c.window, c.url, name), func(t *testing.T) {
				isolate(t)
				synctest.Test(t, func(t *testing.T) {
					w := testworld.New(testRole, true)
					defer w.Close()
					w.STS.AddRole(ststest.Role{ARN: testRole, TrustPolicy: w.Policy, MaxSessionDuration: 12 * h})
					p := NewProvider(testRole, withClient(w.STS.STS()), func(o *Options) { o.Duration, o.ExpiryWindow = c.duration, c.window })
					var made, early atomic.Int64
					var uses sync.WaitGroup
					token, minted := "", time.Time{}
					for end := time.Now().Add(24 * h); time.Now().Before(end); time.Sleep(every*3/4 + rand.N(every/2)) {
						if time.Since(minted) > 90*time.Minute { // as Vercel hands them out
							token, minted = w.Issuer.Mint(), time.Now()
						}
						r := presign(t, p, token, c.url)
						made.Add(1)
						uses.Add(1)
						time.AfterFunc(c.url-time.Second, func() {
							defer uses.Done()
							if _, err := w.STS.Verify(r); err != nil {
								early.Add(1)
							}
						})
					}
					uses.Wait()
					percent := 100 * float64(early.Load()) / float64(made.Load())
					t.Logf("%.1f %% of %d ended early, %d calls of STS", percent, made.Load(), w.Calls())
					if name == "awake" {
						assert.GreaterOrEqual(t, percent, c.least)
					}
					if name == "awake" || c.window > 0 {
						assert.LessOrEqual(t, percent, c.most)
					}
				})
			})
		}
	}
}

// A URL of 15 minutes, made at any time with an ExpiryWindow of 30, outlives an
// outage of STS of 15 minutes.
func TestPresignedURLsThroughAnOutage(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		w := testworld.New(testRole, true)
		defer w.Close()
		p := NewProvider(testRole, withClient(w.STS.STS()), func(o *Options) { o.ExpiryWindow = 30 * time.Minute })
		token := w.Issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(48 * time.Hour) })
		presign(t, p, token, time.Minute)
		var uses sync.WaitGroup
		for minute := range 24 * 60 {
			down := minute%100 < 15
			w.STS.SetFault(choose(func() ststest.Fault {
				if down {
					return ststest.Fault{Status: 503}
				}
				return ststest.Fault{}
			}))
			began := time.Now()
			r := presign(t, p, token, 15*time.Minute)
			assert.LessOrEqual(t, time.Since(began), 500*time.Millisecond)
			uses.Add(1)
			time.AfterFunc(15*time.Minute-time.Second, func() {
				defer uses.Done()
				_, err := w.STS.Verify(r)
				assert.NoError(t, err)
			})
			time.Sleep(time.Minute)
		}
		uses.Wait()
	})
}

// service is a real SDK client whose service checks signatures against the
// STS: GetCallerIdentity.
func service(w *testworld.World, p *aws.CredentialsCache, options ...func(*middleware.Stack) error) *sts.Client {
	return w.STS.STS(func(o *sts.Options) {
		o.Credentials, o.Retryer = p, aws.NopRetryer{}
		o.APIOptions = append(o.APIOptions, options...)
	})
}

func codeOf(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}

func TestRejectedCredentialsAreReplaced(t *testing.T) {
	kill := map[string]func(t *testing.T, w *testworld.World){
		"the role was deleted and made again": func(t *testing.T, w *testworld.World) { w.RecreateRole() },
		"all sessions were revoked":           func(_ *testing.T, w *testworld.World) { w.STS.RevokeAll() },
	}
	for name, kill := range kill {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
				client := service(w, p, InvalidateDeadCredentials(p))
				ctx := fromRequest(w.Issuer.Mint())
				_, err := client.GetCallerIdentity(ctx, nil)
				require.NoError(t, err)
				kill(t, w)
				_, err = client.GetCallerIdentity(ctx, nil)
				require.Equal(t, "InvalidClientTokenId", codeOf(err))
				synctest.Wait()
				_, err = client.GetCallerIdentity(ctx, nil)
				require.NoError(t, err, "the next request after the refresh uses fresh ones")
				assert.Equal(t, 2, w.Calls())

				without := service(w, p)
				kill(t, w)
				for range 3 {
					_, err = without.GetCallerIdentity(ctx, nil)
					require.Equal(t, "InvalidClientTokenId", codeOf(err), "without the middleware they stay")
				}
			})
		})
	}
}

func TestManyRejectionsCostOneCallASecond(t *testing.T) {
	inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
		watch := InvalidateDeadCredentials(p)
		clients := []*sts.Client{service(w, p, watch), service(w, p, watch)}
		ctx := fromRequest(w.Issuer.Mint())
		w.STS.SetFault(func(c ststest.Call) ststest.Fault {
			if c.Action == "GetCallerIdentity" { // whatever the credentials
				return ststest.Fault{Code: "ExpiredToken", Status: 403}
			}
			return ststest.Fault{}
		})
		const seconds = 10
		for range 10 * seconds { // 2,000 requests in 10 seconds
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					_, err := clients[i%2].GetCallerIdentity(ctx, nil)
					assert.Equal(t, "ExpiredToken", codeOf(err))
				})
			}
			wg.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, w.Calls(), seconds+1)
		assert.Greater(t, w.Calls(), 1)
	})
}

func TestOtherErrorsChangeNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
		client := service(w, p, InvalidateDeadCredentials(p))
		ctx := fromRequest(w.Issuer.Mint())
		for _, fault := range []ststest.Fault{
			{Code: "AccessDenied", Status: 403}, {Code: "SignatureDoesNotMatch", Status: 403}, {Status: 500}, {Code: "Throttling"}, {Reset: true},
		} {
			w.STS.SetFault(func(c ststest.Call) ststest.Fault {
				if c.Action == "GetCallerIdentity" {
					return fault
				}
				return ststest.Fault{}
			})
			_, err := client.GetCallerIdentity(ctx, nil)
			require.Error(t, err)
			time.Sleep(2 * time.Second)
		}
		assert.Equal(t, 1, w.Calls())
	})
}

// head sends a request as a client of S3 does, whose answer is status alone.
func head(t *testing.T, watch func(*middleware.Stack) error, method, key string, status int) {
	t.Helper()
	stack := middleware.NewStack("HeadObject", smithyhttp.NewStackRequest)
	require.NoError(t, watch(stack))
	request := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	request.Method = method
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key+"/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
	_, _, _ = stack.Deserialize.HandleMiddleware(t.Context(), request, middleware.HandlerFunc(func(context.Context, any) (any, middleware.Metadata, error) {
		if status == 0 {
			return nil, middleware.Metadata{}, errors.New("connection reset by peer")
		}
		if status < 400 {
			return nil, middleware.Metadata{}, nil
		}
		return nil, middleware.Metadata{}, &smithy.OperationError{ServiceID: "S3", OperationName: "HeadObject", Err: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
			Err:      &smithy.GenericAPIError{Code: strings.ReplaceAll(http.StatusText(status), " ", "")},
		}}
	}))
	synctest.Wait()
}

// A HEAD request has no body for a code. Three that are refused in a row, with no
// request accepted in between, are a rejection.
func TestHeadRequestsWithoutACode(t *testing.T) {
	const head400 = "HEAD 400"
	for name, c := range map[string]struct {
		answers  []string
		rejected bool
	}{
		"three in a row":                {[]string{head400, head400, head400}, true},
		"two":                           {[]string{head400, head400}, false},
		"one accepted in between":       {[]string{head400, head400, "GET 200", head400, head400}, false},
		"one that found nothing":        {[]string{head400, head400, "HEAD 404", head400}, false},
		"what says nothing in between":  {[]string{head400, "GET 503", head400, "GET 403", "GET 0", head400}, true},
		"one of another key in between": {[]string{head400, head400, "GET 200 other", head400}, true},
		"of a key that was replaced":    {[]string{head400 + " other", head400 + " other", head400, head400}, false},
		"requests that are no HEAD":     {[]string{"GET 400", "GET 400", "GET 400", "GET 400"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
				creds, err := p.Retrieve(fromRequest(w.Issuer.Mint()))
				require.NoError(t, err)
				watch := InvalidateDeadCredentials(p)
				for _, answer := range c.answers {
					var method, key string
					var status int
					_, _ = fmt.Sscan(answer, &method, &status, &key)
					head(t, watch, method, cmp.Or(key, creds.AccessKeyID), status)
				}
				time.Sleep(time.Second)
				after, err := p.Retrieve(fromRequest(w.Issuer.Mint()))
				require.NoError(t, err)
				assert.Equal(t, c.rejected, after.AccessKeyID != creds.AccessKeyID)
			})
		})
	}
}

func TestSigningKey(t *testing.T) {
	r := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	assert.Empty(t, signingKey(r))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20260101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0")
	assert.Equal(t, "ASIAEXAMPLE", signingKey(r))
	r.Header.Set("Authorization", "Bearer x")
	assert.Empty(t, signingKey(r))
}

var soak = flag.Duration("soak", 2*time.Second, "how long TestSoak runs")

// TestSoak has 10,000 goroutines ask real threads for credentials of a few
// seconds' life, with good and bad tokens, while STS fails at random. It checks
// each answer: it is credentials that STS gave, whole, and alive; or a typed
// error. Run it longer with `go test -race -run TestSoak -soak 30s`.
func TestSoak(t *testing.T) {
	isolate(t)
	before := runtime.NumGoroutine()
	w := testworld.New(testRole, false)
	down := faults()["all mixed"]
	w.STS.SetFault(choose(func() ststest.Fault {
		fault := ststest.Fault{}
		if rand.IntN(3) == 0 {
			fault = down()
		}
		if fault.Lifetime == 0 {
			fault.Lifetime = time.Duration(2+rand.IntN(3)) * time.Second
		}
		return fault
	}))
	p := NewProvider(testRole, withClient(w.STS.STS()))
	tokens := []string{w.Issuer.Mint(), w.Issuer.Mint(func(c *oidctest.Claims) { c.JTI = "2" }), w.Issuer.MintForged(), "garbage", ""}

	var requests []*http.Request
	for _, raw := range tokens {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(oidc.Header, raw)
		requests = append(requests, r)
	}

	var answers, failures, wrong atomic.Int64
	check := func(creds aws.Credentials, asked time.Time, err error) {
		if err != nil {
			failures.Add(1)
			var failed *AssumeRoleError
			if !errors.As(err, &failed) && !errors.Is(err, oidc.ErrNoToken) && !errors.Is(err, oidc.ErrMalformed) {
				wrong.Add(1)
				t.Errorf("an error without a type: %v", err)
			}
			return
		}
		answers.Add(1)
		session, known := w.STS.Session(creds.AccessKeyID)
		given := session.Credentials()
		switch {
		case !known, given.SecretAccessKey != creds.SecretAccessKey, given.SessionToken != creds.SessionToken:
			wrong.Add(1)
			t.Error("credentials that STS never gave")
		case creds.Expires.After(session.Expires), !asked.Before(session.Expires):
			wrong.Add(1)
			t.Errorf("credentials that ended at %s, asked for at %s", session.Expires, asked)
		}
	}
	// A run in which STS happened to fail all the time says nothing, so it goes on
	// until there were answers, if not for ever.
	begin := time.Now()
	more := func() bool {
		took := time.Since(begin)
		return took < *soak || answers.Load() == 0 && took < *soak+2*time.Minute
	}
	var wg sync.WaitGroup
	for range 10_000 {
		wg.Go(func() {
			for more() && wrong.Load() < 10 {
				ctx := oidc.RequestContext(requests[rand.IntN(len(requests))])
				asked := time.Now()
				creds, err := p.Retrieve(ctx)
				check(creds, asked, err)
				time.Sleep(rand.N(200 * time.Millisecond)) // the pace of a busy server
			}
		})
	}
	wg.Wait()
	require.Zero(t, wrong.Load())
	require.Positive(t, answers.Load())
	t.Logf("%d answers, %d errors, %d STS calls in %s", answers.Load(), failures.Load(), w.Calls(), *soak)

	w.Close()
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 2*longestFetch, 50*time.Millisecond, "goroutines are left")
}

// stsFunc is a client that cannot be compared, as a function cannot.
type stsFunc func(context.Context, *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error)

func (f stsFunc) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return f(ctx, in)
}

func TestAClientThatIsAFunctionIsPacedToo(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.set(always(errDown))
		p := NewProvider(testRole, withClient(stsFunc(func(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
			return s.AssumeRoleWithWebIdentity(ctx, in)
		})))
		for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
			_, err := p.Retrieve(fromRequest(mint(t, "good")))
			require.Error(t, err)
		}
		assert.Greater(t, s.count(), 20)
		s.paced(t, 3)
	})
}

// A source that was forgotten is an error of the first Retrieve, and does not end
// a program that makes its provider at the start.
func TestASourceThatIsNil(t *testing.T) {
	isolate(t)
	for name, source := range map[string]oidc.TokenSource{
		"FirstOf":  oidc.FirstOf(nil),
		"Map":      oidc.Map(nil, func(_ context.Context, t oidc.Token) (oidc.Token, error) { return t, nil }),
		"Exchange": oidc.Exchange(nil, "https://sts.amazonaws.com"),
	} {
		t.Run(name, func(t *testing.T) {
			var p *aws.CredentialsCache
			require.NotPanics(t, func() {
				p = NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) { o.TokenSource = source })
			})
			_, err := p.Retrieve(t.Context())
			require.ErrorContains(t, err, "Options.TokenSource panicked")
		})
	}
}

// Clients choose what they send, and so the text of the failure.
func TestGarbageDoesNotFillTheLog(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		var warnings atomic.Int64
		p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
			o.Logger = slog.New(levels(func(l slog.Level) {
				if l >= slog.LevelWarn {
					warnings.Add(1)
				}
			}))
		})
		start := time.Now()
		for i := range 1000 {
			garbage := fmt.Sprintf("%0*d", i%97+1, i)
			if i%2 == 0 {
				garbage = mint(t, fmt.Sprint(i), claim("exp", start.Add(-time.Duration(i+1)*time.Hour).Unix()))
			}
			_, err := p.Retrieve(fromRequest(garbage))
			require.Error(t, err)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		assert.LessOrEqual(t, warnings.Load(), int64(4*(time.Since(start)/(10*time.Second)+1)))
	})
}

// levels is a log handler that is told the level of each record.
type levels func(slog.Level)

func (levels) Enabled(context.Context, slog.Level) bool { return true }
func (l levels) Handle(_ context.Context, r slog.Record) error {
	l(r.Level)
	return nil
}
func (l levels) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l levels) WithGroup(string) slog.Handler      { return l }

// A step that hangs has used up the fetch's time: no other token is tried with
// what is left of nothing.
func TestAStepThatHangsIsNotAskedAgainInTheSameFetch(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
			o.TokenSource = oidc.Map(oidc.FromRequest(), func(context.Context, oidc.Token) (oidc.Token, error) {
				calls.Add(1)
				time.Sleep(time.Hour)
				return oidc.Token{}, nil
			})
		})
		for i := range 10 {
			fromRequest(mint(t, fmt.Sprint(i)))
		}
		_, err := p.Retrieve(fromRequest(mint(t, "own")))
		require.ErrorContains(t, err, "a step of Options.TokenSource did not return when its context ended")
		time.Sleep(10 * time.Second)
		assert.EqualValues(t, 1, calls.Load())
		time.Sleep(2 * time.Hour)
	})
}

// What STS calls a success and is none keeps the turn until it is judged: no more
// providers begin than after a failure that says so.
func TestAnswersThatAreNoneKeepTheirTurn(t *testing.T) {
	answers := map[string]func() *sts.AssumeRoleWithWebIdentityOutput{
		"no credentials": func() *sts.AssumeRoleWithWebIdentityOutput { return &sts.AssumeRoleWithWebIdentityOutput{} },
		"no answer":      func() *sts.AssumeRoleWithWebIdentityOutput { return nil },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			synctest.Test(t, func(t *testing.T) {
				s := newFakeSTS()
				client := &emptyAnswers{s, answer}
				providers := NewProviders(func(_ string, o *Options) { o.Client = client })
				_, err := providers.For(testRole).Retrieve(fromRequest(mint(t, "good")))
				require.Error(t, err)
				var wg sync.WaitGroup
				for i := range 200 {
					ctx := fromRequest(mint(t, "good"))
					wg.Go(func() {
						_, err := providers.For(fmt.Sprint(testRole, i)).Retrieve(ctx)
						assert.Error(t, err)
					})
				}
				wg.Wait()
				s.paced(t, 3)
			})
		})
	}
}

type emptyAnswers struct {
	*fakeSTS
	answer func() *sts.AssumeRoleWithWebIdentityOutput
}

func (e *emptyAnswers) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, optFns ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	if _, err := e.fakeSTS.AssumeRoleWithWebIdentity(ctx, in, optFns...); err != nil {
		return nil, err
	}
	return e.answer(), nil
}

// The same with the SDK's client, for credentials that have expired as they come.
func TestCredentialsThatAreDeadAsTheyComeKeepTheirTurn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *testworld.World, _ *aws.CredentialsCache) {
		var noted fakeSTS
		w.STS.SetFault(func(ststest.Call) ststest.Fault {
			noted.mu.Lock()
			defer noted.mu.Unlock()
			noted.calls = append(noted.calls, time.Now())
			return ststest.Fault{Lifetime: -time.Minute}
		})
		client, raw := w.STS.STS(), w.Issuer.Mint()
		for _, crowd := range []int{1, 200} {
			var wg sync.WaitGroup
			for range crowd {
				p, ctx := NewProvider(testRole, withClient(client)), fromRequest(raw)
				wg.Go(func() {
					_, err := p.Retrieve(ctx)
					assert.Error(t, err)
				})
			}
			wg.Wait()
		}
		noted.paced(t, 3)
	})
}

// A good answer without credentials is a fault like any other, which the next
// attempt may not meet.
func TestOneAnswerWithoutCredentialsAtAColdStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *testworld.World, p *aws.CredentialsCache) {
		w.STS.SetFault(ststest.First(2, ststest.Fault{EmptyCredentials: true}))
		_, err := p.Retrieve(fromRequest(w.Issuer.Mint()))
		require.NoError(t, err)
	})
}

// A server that cuts the token which it quotes.
func TestATokenThatIsCutIsNotShownInAnError(t *testing.T) {
	isolate(t)
	raw := mint(t, "a token whose signature is of some length")
	s := newFakeSTS()
	s.set(func(_ context.Context, raw string) error {
		return &smithy.GenericAPIError{Code: "InvalidIdentityToken", Message: "not good: " + raw[:len(raw)-2]}
	})
	_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(raw))
	require.ErrorContains(t, err, "not good: ")
	signature := raw[strings.LastIndex(raw, ".")+1:]
	for err := error(err); err != nil; err = errors.Unwrap(err) {
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), signature[:20])
	}
}

// In two regions, the one that was slower is cancelled. That is no fault.
func TestTheSlowerRegionOwesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := turns{Pacer: &pace.Pacer{Burst: 3}}
		var slower []func(bool)
		for range 10 {
			end, err := of.Begin(t.Context())
			require.NoError(t, err)
			slower = append(slower, end)
		}
		faster, err := of.Begin(t.Context())
		require.NoError(t, err)
		faster(false)
		of.judge(nil)
		of.Clear()
		for _, end := range slower {
			end(true)
		}
		start := time.Now()
		for range 100 {
			_, err := of.Begin(t.Context())
			require.NoError(t, err)
		}
		assert.Zero(t, time.Since(start))
	})
}

// A turn that was answered is kept until the operation is judged.
func TestATurnIsKeptUntilTheOperationIsJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pace.Pacer{Burst: 1}
		began := func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			defer cancel()
			end, err := p.Begin(ctx, 0)
			if err == nil {
				end(false)
			}
			return err == nil
		}
		end, err := p.Begin(t.Context(), 0)
		require.NoError(t, err)
		end(true)
		time.Sleep(pace.Every)
		for name, c := range map[string]struct {
			err  error
			next bool
		}{
			"an answer that is none": {fmt.Errorf("so: %w", unusableAnswer{errors.New("empty")}), false},
			"a refusal":              {codeError("AccessDenied"), true},
			"credentials":            {nil, true},
		} {
			time.Sleep(pace.Every)
			of := turns{Pacer: p}
			end, err := of.Begin(t.Context())
			require.NoError(t, err)
			end(false)
			assert.False(t, began(), name)
			of.judge(c.err)
			assert.Equal(t, c.next, began(), name)
		}
	})
}

// Roles whose callers bring nothing but bad tokens, without pause, do not keep other
// roles out that ask the same endpoint: each success lets all go.
func TestAttackedRolesDoNotKeepOthersOut(t *testing.T) {
	for _, c := range [][2]int{{413, 0}, {413, 100}, {0, 0}, {0, 500}} {
		status, gap := c[0], time.Duration(c[1])*time.Millisecond
		isolate(t)
		synctest.Test(t, func(t *testing.T) {
			s := newFakeSTS()
			s.latency = 20 * time.Millisecond
			s.set(func(_ context.Context, raw string) error {
				if jti(t, raw)[0] == 'g' {
					return nil
				}
				if status == 0 {
					return apiAnswer(400, "Throttling")
				}
				return apiAnswer(status, "UnknownError")
			})
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for a := range 20 {
				p := NewProvider(testRole+fmt.Sprint(a), withClient(s))
				wg.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						_, _ = p.Retrieve(oidc.ContextWithToken(ctx, mint(t, fmt.Sprintf("bad%d-%d", a, i))))
						cancel()
						time.Sleep(10 * time.Millisecond)
					}
				})
			}
			time.Sleep(5 * time.Second)
			failed := 0
			var mu sync.Mutex
			var healthy sync.WaitGroup
			for h := range 40 {
				p := NewProvider(testRole+"h"+fmt.Sprint(h), withClient(s))
				healthy.Go(func() {
					_, err := p.Retrieve(oidc.ContextWithToken(t.Context(), mint(t, fmt.Sprint("good", h))))
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						failed++
					}
				})
				time.Sleep(gap)
			}
			healthy.Wait()
			close(stop)
			wg.Wait()
			time.Sleep(time.Minute)
			assert.Zero(t, failed)
		})
	}
}
