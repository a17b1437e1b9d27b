//go:build go1.25

package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

// Good tokens come first, then those that STS refused before, and last those
// that have just expired; the last two also where they are both.
func TestTheOrderOfTokens(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.set(always(codeError("AccessDenied")))
		good, refused := mint(t, "good"), mint(t, "refused")
		expired := mint(t, "expired", claim("exp", time.Now().Add(-time.Minute).Unix()))
		_, err := p.Retrieve(oidc.ContextWithToken(t.Context(), refused))
		require.Error(t, err)
		time.Sleep(5 * time.Second)

		fromRequest(good)
		fromRequest(refused)
		_, err = p.Retrieve(fromRequest(expired))
		require.Error(t, err)
		assert.Equal(t, []string{good, refused, expired}, s.tokens[1:])

		time.Sleep(5 * time.Second)
		_, err = p.Retrieve(fromRequest(expired))
		require.Error(t, err)
		assert.Len(t, s.tokens, 1+3+3)
		assert.Equal(t, expired, s.tokens[6])
	})
}

// The news is of the caller's own token, not of those that were tried instead.
func TestTheErrorIsOfTheFirstToken(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		mine := mint(t, "mine", claim("sub", "mine"))
		s.set(func(_ context.Context, raw string) error {
			if raw == mine {
				return codeError("AccessDenied")
			}
			return codeError("InvalidIdentityToken")
		})
		for i := range 40 { // more than are allowed in ten seconds
			fromRequest(mint(t, fmt.Sprint("other", i)))
		}
		start := time.Now()
		_, err := p.Retrieve(fromRequest(mine))
		var refused *AssumeRoleError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, "AccessDenied", refused.Code)
		assert.Equal(t, "mine", refused.Subject)
		assert.Greater(t, s.count(), 20)
		assert.LessOrEqual(t, time.Since(start), 10*time.Second)
	})
}

// Where no source has a token, the error names each reason, and each source is
// asked once.
func TestTheErrorOfSources(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		none := func(says string) oidc.TokenSource {
			return oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
				asked++
				return oidc.Token{}, fmt.Errorf("%s: %w", says, oidc.ErrNoToken)
			})
		}
		p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
			o.TokenSource = oidc.FirstOf(none("one"), none("two"), none("three"))
		})
		_, err := p.Retrieve(t.Context())
		assert.ErrorIs(t, err, oidc.ErrNoToken)
		assert.ErrorContains(t, err, "no source has a live token: one: no token; two: no token; three: no token")
		assert.Equal(t, 3, asked)
	})
}

// Where no other token will do, nobody waits for one: the caller chose it, or
// STS refuses the request whatever the token.
func TestNoOtherTokenIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		code   string
		chosen bool
	}{
		"a chosen token":    {"AccessDenied", true},
		"a refused request": {"MalformedPolicyDocument", false},
		"a limit of STS":    {"Throttling", false},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
				s.set(always(codeError(c.code)))
				fromRequest(mint(t, "another"))
				ctx := fromRequest(mint(t, "mine"))
				if c.chosen {
					ctx = oidc.ContextWithToken(t.Context(), mint(t, "mine"))
				}
				start := time.Now()
				_, err := p.Retrieve(ctx)
				require.ErrorContains(t, err, c.code)
				assert.Zero(t, time.Since(start))
				assert.Equal(t, 1, s.count())
			})
		})
	}
}

// A source that does not look at the expiry: STS allows for five minutes.
func TestASourceWithATokenThatHasExpired(t *testing.T) {
	for ago, allowed := range map[time.Duration]bool{4 * time.Minute: true, 7 * time.Minute: false} {
		isolate(t)
		synctest.Test(t, func(t *testing.T) {
			raw := mint(t, "a", claim("exp", time.Now().Add(-ago).Unix()))
			p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
				o.TokenSource = oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) { return oidc.ParseUnverified(raw) })
			})
			_, err := p.Retrieve(t.Context())
			if allowed {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, oidc.ErrExpired)
			}
		})
	}
}

// The allowance of refusals is for what STS refuses: neither successes nor
// faults use it up.
func TestOnlyRefusalsAreCountedAsSuch(t *testing.T) {
	for name, before := range map[string]func(s *fakeSTS){
		"successes":        func(*fakeSTS) {},
		"faults":           func(s *fakeSTS) { s.set(always(errDown)) },
		"unusable answers": func(s *fakeSTS) { s.life = -time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			attack(t, func(t *testing.T, s *fakeSTS, good string) {
				s.latency = 0
				judge := s.answer
				s.set(nil)
				p := NewProvider(testRole, withClient(s))
				ctx := oidc.ContextWithToken(t.Context(), good)
				before(s)
				for range 20 {
					_, _ = p.Retrieve(ctx)
					p.Invalidate()
				}
				require.Equal(t, 20, s.count())
				s.life = time.Hour
				s.set(judge)
				start := time.Now()
				fromRequest(good)
				for i := range 2 {
					fromRequest(mint(t, fmt.Sprint("forged", i)))
				}
				_, err := p.Retrieve(fromRequest(mint(t, "leader")))
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(start), 500*time.Millisecond, "faults are forgiven twice a second")
			})
		})
	}
}

// Successes cost no time, however many.
func TestWhatGoesRightIsFree(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		start := time.Now()
		ctx := fromRequest(mint(t, "a"))
		for range 100 {
			_, err := p.Retrieve(ctx)
			require.NoError(t, err)
			p.Invalidate()
		}
		assert.Equal(t, 100, s.count())
		assert.Zero(t, time.Since(start))
	})
}

// A fetch whose time is over before an allowance lets it ask says so.
func TestAFetchThatMayNotAskInTime(t *testing.T) {
	isolate(t)
	for answer, allowed := range map[error]int{codeError("AccessDenied"): 4, errors.New("no route"): 3} {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeSTS()
			s.set(always(answer))
			f := newFetcher(testRole, Options{Client: s})
			for i := range allowed + 1 {
				ctx, cancel := context.WithTimeout(oidc.ContextWithToken(t.Context(), mint(t, fmt.Sprint(i))), 100*time.Millisecond)
				_, err := f.Retrieve(ctx)
				cancel()
				var failed *AssumeRoleError
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, i == allowed, errors.Is(err, context.DeadlineExceeded))
			}
			assert.Equal(t, allowed, s.count())
		})
	}
}

// What the credentials depend on is the token that got them, also where one was
// accepted before that lives longer.
func TestDependsUntilTheTokenEndsThatWasUsed(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFetcher(testRole, Options{Client: newFakeSTS()})
		assert.Zero(t, f.DependsUntil())
		start := time.Now()
		for _, c := range []struct{ left, want time.Duration }{{time.Hour, time.Hour}, {2 * time.Hour, 2 * time.Hour}, {time.Hour, time.Hour}} {
			ctx := oidc.ContextWithToken(t.Context(), mint(t, c.left.String(), claim("exp", start.Add(c.left).Unix())))
			_, err := f.Retrieve(ctx)
			require.NoError(t, err)
			assert.True(t, start.Add(c.want).Equal(f.DependsUntil()), c)
		}
	})
}

// New tokens do not end the back-off while STS is down: they would have it
// asked by every request.
func TestNewTokensDuringAnOutage(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		_, err := p.Retrieve(fromRequest(mint(t, "a")))
		require.NoError(t, err)
		s.set(always(errors.New("no route")))
		sleepToSoftExpiry(s)
		before := s.count()
		for i := range 120 {
			_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		assert.Greater(t, s.count()-before, 5)
		assert.LessOrEqual(t, s.count()-before, 15)
	})
}

// A source that does not heed its context is not asked again once the time of a
// fetch is over.
func TestNoSourceIsAskedAfterTheEnd(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
			o.TokenSource = oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
				asked.Add(1)
				time.Sleep(6 * time.Second)
				return oidc.Token{}, errSource
			})
		})
		_, err := p.Retrieve(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		assert.Equal(t, int64(1), asked.Load())
	})
}

// A source that mints another token each time that it is asked is asked once, and
// its refusal is the error at once.
func TestASourceThatMintsIsAskedOnce(t *testing.T) {
	for name, wrap := range map[string]func(oidc.TokenSource) oidc.TokenSource{
		"by itself":          func(s oidc.TokenSource) oidc.TokenSource { return s },
		"behind the request": func(s oidc.TokenSource) oidc.TokenSource { return oidc.FirstOf(oidc.FromRequest(), s) },
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			synctest.Test(t, func(t *testing.T) {
				s := newFakeSTS()
				s.set(always(codeError("AccessDenied")))
				asked := 0
				p := NewProvider(testRole, withClient(s), func(o *Options) {
					o.TokenSource = wrap(oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
						asked++
						return oidc.ParseUnverified(mint(t, fmt.Sprint(asked)))
					}))
				})
				start := time.Now()
				_, err := p.Retrieve(t.Context())
				require.ErrorContains(t, err, "AccessDenied")
				assert.LessOrEqual(t, time.Since(start), tokenGrace)
				assert.Equal(t, 1, s.count())
				assert.Equal(t, 1, asked)
			})
		})
	}
}

func TestASourceWithAZeroToken(t *testing.T) {
	isolate(t)
	p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
		o.TokenSource = oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) { return oidc.Token{}, nil })
	})
	_, err := p.Retrieve(t.Context())
	require.ErrorIs(t, err, oidc.ErrNoToken)
	assert.ErrorContains(t, err, "a source of your own: no token: the source returned a zero Token and no error")
}

// A client that is not the SDK's is asked twice a second while it fails, and no
// more seldom.
func TestHowOftenAFailingClientIsAsked(t *testing.T) {
	for name, fail := range map[string]func(s *fakeSTS){
		"a fault":            func(s *fakeSTS) { s.set(always(errors.New("no route"))) },
		"an unusable answer": func(s *fakeSTS) { s.life = -time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
				fail(s)
				ctx := fromRequest(mint(t, "a"))
				for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
					_, err := p.Retrieve(ctx)
					require.Error(t, err)
				}
				assert.InDelta(t, 3+2*10, s.count(), 1)
				s.paced(t, 4)
			})
		})
	}
}

// Credentials that are dead as they come: the error says whose clock is wrong.
func TestWhoseClockIsWrong(t *testing.T) {
	isolate(t)
	for ahead, says := range map[time.Duration]string{
		0:                 ", as does that of STS (token",
		2 * time.Hour:     ", which is 2h0m0s ahead of STS's; set the local clock right (token",
		time.Second:       ", which is 1s ahead of STS's; set the local clock right (token",
		-14 * time.Minute: ", which is 14m0s behind STS's (token",
	} {
		synctest.Test(t, func(t *testing.T) {
			issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = true })
			defer issuer.Close()
			time.Sleep(300 * time.Millisecond) // STS tells whole seconds
			clock := func() time.Time { return time.Now().Add(-ahead) }
			w := &world{issuer: issuer, sts: ststest.NewServer(func(o *ststest.Options) {
				o.InMemory, o.HTTPClient, o.Now = true, issuer.Client(), clock
			})}
			defer w.sts.Close()
			w.sts.AddProvider(issuer.Issuer(), issuer.Audience())
			w.recreateRole(t)
			w.sts.SetFault(ststest.Always(ststest.Fault{Lifetime: -20 * time.Minute}))
			ctx := fromRequest(issuer.Mint(func(c *oidctest.Claims) { c.IssuedAt, c.Expiry = clock(), time.Now().Add(time.Hour) }))
			_, err := NewProvider(testRole, withClient(w.sts.STS())).Retrieve(ctx)
			at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
			assert.ErrorContains(t, err, fmt.Sprintf("expired on arrival: they end at %s and the local clock says %s%s",
				at(clock().Add(-20*time.Minute)), at(time.Now()), says))
		})
	}
}

// A good token is found at once by what speaks for it: that it is the newest of
// all, or that more requests brought it than any other.
func TestWhatSpeaksForAToken(t *testing.T) {
	for name, requests := range map[string]func(good string, forged []string){
		"the newest, among forged ones that recur": func(good string, forged []string) {
			for range 2 {
				for _, raw := range forged {
					fromRequest(raw)
				}
				time.Sleep(time.Second)
			}
			fromRequest(good)
		},
		"one that recurs, among newer forged ones": func(good string, forged []string) {
			for range 2 {
				fromRequest(good)
				time.Sleep(time.Second)
			}
			for _, raw := range forged {
				fromRequest(raw)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			attack(t, func(t *testing.T, s *fakeSTS, good string) {
				s.latency = 0
				var forged []string
				for i := range 30 {
					forged = append(forged, mint(t, fmt.Sprint("forged", i)))
				}
				leader := fromRequest(mint(t, "leader"))
				requests(good, forged)
				start := time.Now()
				_, err := NewProvider(testRole, withClient(s)).Retrieve(leader)
				require.NoError(t, err)
				assert.Zero(t, time.Since(start))
				assert.LessOrEqual(t, s.count(), 3)
			})
		})
	}
}
