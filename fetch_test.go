//go:build go1.25

package vercelaws

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/memnet"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/internal/testenv"
	"github.com/vercelaws/vercelaws/internal/testworld"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/refresh"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// Good tokens come first, then those that STS refused before, and last those
// that have just expired; the last two also where they are both.
func TestTheOrderOfTokens(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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

// The error stays the own token's, whatever is wrong with that, and whichever others
// were refused after it.
func TestTheErrorStaysTheOwnTokens(t *testing.T) {
	deployed(t, "prj_1", "production")
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.set(always(codeError("AccessDenied")))
		t.Setenv("VERCEL_OIDC_TOKEN", mint(t, "variable"))
		for own, says := range map[string]string{
			"e30.e30.c2lnbmF0dXJl":                           "malformed token",
			mint(t, "foreign", claim("project_id", "prj_2")): "prj_2",
		} {
			_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(own))
			require.ErrorContains(t, err, "no token to assume")
			require.ErrorContains(t, err, says)
		}

		p := NewProvider(testRole, withClient(s))
		s.set(nil)
		_, err := p.Retrieve(fromRequest(mint(t, "accepted", claim("sub", "accepted"))))
		require.NoError(t, err)
		p.Invalidate()
		s.set(always(codeError("AccessDenied")))
		_, err = p.Retrieve(fromRequest(mint(t, "own", claim("sub", "own"))))
		var refused *AssumeRoleError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, "own", refused.Subject)
	})
}

// An answer without a code, and then a refusal of the same token: that is the answer,
// and nothing more is asked or waited for.
func TestARefusalAfterAnAnswerWithoutACode(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		calls := 0
		s.set(func(context.Context, string) error {
			if calls++; calls == 1 {
				return apiAnswer(502, "UnknownError")
			}
			return codeError("AccessDenied")
		})
		began := time.Now()
		_, err := p.Retrieve(fromRequest(mint(t, "own")))
		require.ErrorContains(t, err, "AccessDenied")
		assert.Equal(t, 2, s.count())
		assert.LessOrEqual(t, time.Since(began), 160*time.Millisecond) // the grace, and the first pause
	})
}

// A single source's error has no list of reasons.
func TestTheErrorOfOneSource(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		_, err := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) { o.TokenSource = oidc.FromEnv() }).Retrieve(t.Context())
		require.ErrorContains(t, err, "with: oidc: VERCEL_OIDC_TOKEN: no token")
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
			withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
				synctest.Wait()
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
				assert.LessOrEqual(t, time.Since(start), 100*time.Millisecond)
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
			withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
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
			time.Sleep(300 * time.Millisecond) // STS tells whole seconds
			clock := func() time.Time { return time.Now().Add(-ahead) }
			w := testworld.New(testRole, true, func(o *ststest.Options) { o.Now = clock })
			defer w.Close()
			w.STS.SetFault(ststest.Always(ststest.Fault{Lifetime: -20 * time.Minute}))
			ctx := fromRequest(w.Issuer.Mint(func(c *oidctest.Claims) { c.IssuedAt, c.Expiry = clock(), time.Now().Add(time.Hour) }))
			_, err := NewProvider(testRole, withClient(w.STS.STS())).Retrieve(ctx)
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

// A project in global issuer mode narrows its tokens to AWS. The role trusts
// the team's issuer, which exchanged tokens have.
func TestExchangedTokens(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		const audience = "https://sts.amazonaws.com"
		issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory, o.Global = true, true })
		defer issuer.Close()
		server := ststest.NewServer(func(o *ststest.Options) { o.InMemory, o.HTTPClient = true, issuer.Client() })
		defer server.Close()
		policy, err := trustpolicy.Build(trustpolicy.Spec{
			AccountID: ststest.Account, BaseIssuer: issuer.URL, Global: true, Audience: audience,
			Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"},
		})
		require.NoError(t, err)
		server.AddProvider(issuer.URL+"/acme", audience)
		server.AddRole(ststest.Role{ARN: testRole, TrustPolicy: policy.String()})

		p := NewProvider(testRole, withClient(server.STS()), func(o *Options) {
			o.TokenSource = oidc.Exchange(oidc.DefaultSource(), audience, func(o *oidc.ExchangeOptions) {
				o.Endpoint, o.HTTPClient = issuer.ExchangeURL(), issuer.Client()
			})
		})
		for range 3 {
			_, err := p.Retrieve(fromRequest(issuer.Mint()))
			require.NoError(t, err)
			time.Sleep(70 * time.Minute)
		}
		// The leader's token is forged: the exchange refuses it, and another
		// request's is taken.
		fromRequest(issuer.Mint())
		_, err = p.Retrieve(fromRequest(issuer.MintForged()))
		require.NoError(t, err)
		assert.Equal(t, 4, server.Calls("AssumeRoleWithWebIdentity"))
	})
}

func TestABadAudienceIsSaid(t *testing.T) {
	_, err := NewProvider(testRole, func(o *Options) { o.Audience = "bad audience" }).Retrieve(t.Context())
	var bad *ConfigError
	require.ErrorAs(t, err, &bad, "before any token is sought")
	assert.Equal(t, "Options.Audience", bad.Setting)
}

const exchangeAudience = "https://sts.amazonaws.com"

// exchangeEndpoint is an endpoint without a network. Its token is kept as long
// as it lives.
type endpoint func(r *http.Request) (*http.Response, error)

func (f endpoint) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func exchangeEndpoint(t *testing.T, answer func(raw string) (status int, body string)) endpoint {
	return func(r *http.Request) (*http.Response, error) {
		var in struct{ Token string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		status, body := answer(in.Token)
		switch {
		case status == 0:
			return nil, errors.New("no route")
		case status == http.StatusOK && body == "":
			from, err := oidc.ParseUnverified(in.Token)
			if err != nil {
				return nil, err
			}
			var claims map[string]any
			if err := from.Claims(&claims); err != nil {
				return nil, err
			}
			claims["aud"] = exchangeAudience
			payload, _ := json.Marshal(claims)
			parts := strings.Split(in.Token, ".")
			body = fmt.Sprintf(`{"token":%q,"expiry":%d}`, parts[0]+"."+base64.RawURLEncoding.EncodeToString(payload)+"."+parts[2], from.Expiry.Unix())
		}
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

// A flood of forged tokens, each new, costs the exchange what it may cost, and
// does not keep a good one out that recurs.
func TestAFloodOnAnExchange(t *testing.T) {
	for _, perSecond := range []int{20, 200, 1000} {
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			attack(t, func(t *testing.T, _ *fakeSTS, good string) {
				s := newFakeSTS()
				s.latency = 20 * time.Millisecond
				refused := newFakeSTS() // counts
				p, _ := exchanging(t, s, func(raw string) (int, string) {
					if raw != good {
						refused.mu.Lock()
						defer refused.mu.Unlock()
						refused.calls = append(refused.calls, time.Now())
						return 403, `{"error":"bad signature"}`
					}
					return 200, ""
				})
				end := flood(p, time.Second/time.Duration(perSecond), forged(t))
				time.Sleep(3 * time.Second)
				served := twiceASecond(p, good)
				assert.GreaterOrEqual(t, len(served), 18)
				end()
				refused.paced(t, 4)
				assert.Positive(t, refused.count())
			})
		})
	}
}

// What the exchange refused to one request's token does not fail the others, and
// that token comes last for a while.
func TestARefusedExchangeGivesWayToAnother(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		p, _ := exchanging(t, newFakeSTS(), func(raw string) (int, string) {
			asked = append(asked, jti(t, raw))
			if jti(t, raw) == "bad" {
				return 403, ""
			}
			return 200, ""
		})
		bad := mint(t, "bad")
		fromRequest(mint(t, "good"))
		_, err := p.Retrieve(fromRequest(bad))
		require.NoError(t, err)
		assert.Equal(t, []string{"bad", "good"}, asked)
		p.Invalidate()
		_, err = p.Retrieve(fromRequest(bad))
		require.NoError(t, err)
		assert.Equal(t, []string{"bad", "good"}, asked, "what is kept is not exchanged again")
	})
}

// One token that draws faults from the exchange does not stand for all.
func TestAnExchangesFaultThatIsOneTokens(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		p, _ := exchanging(t, newFakeSTS(), func(raw string) (int, string) {
			if jti(t, raw) == "crafted" {
				return 500, ""
			}
			return 200, ""
		})
		fromRequest(mint(t, "good"))
		start := time.Now()
		_, err := p.Retrieve(fromRequest(mint(t, "crafted")))
		require.NoError(t, err)
		assert.Zero(t, time.Since(start), "others are tried before it is tried again")
	})
}

// An exchange that does not answer, or hangs, leaves time for the token accepted
// last, whose exchange is kept.
func TestTheLastAcceptedServesWhereTheExchangeIsDown(t *testing.T) {
	for name, down := range map[string]func() (int, string){
		"no answer": func() (int, string) { return 0, "" },
		"500":       func() (int, string) { return 500, "" },
		"hangs":     func() (int, string) { time.Sleep(20 * time.Second); return 0, "" },
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			synctest.Test(t, func(t *testing.T) {
				s, isDown := newFakeSTS(), false
				p, _ := exchanging(t, s, func(string) (int, string) {
					if isDown {
						return down()
					}
					return 200, ""
				})
				_, err := p.Retrieve(fromRequest(mint(t, "accepted")))
				require.NoError(t, err)
				isDown = true
				p.Invalidate()
				fromRequest(mint(t, "other"))
				start := time.Now()
				_, err = p.Retrieve(fromRequest(mint(t, "own")))
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(start), 5200*time.Millisecond)
				assert.Equal(t, []string{"accepted", "accepted"}, s.names(t))
				time.Sleep(time.Minute)
			})
		})
	}
}

// But it does not stand in for a token that the caller chose.
func TestNothingStandsInForAGivenTokensExchange(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		isDown := false
		p, s := exchanging(t, newFakeSTS(), func(string) (int, string) {
			if isDown {
				return 0, ""
			}
			return 200, ""
		})
		_, err := p.Retrieve(fromRequest(mint(t, "accepted")))
		require.NoError(t, err)
		isDown = true
		p.Invalidate()
		_, err = p.Retrieve(oidc.ContextWithToken(t.Context(), mint(t, "given")))
		require.Error(t, err)
		assert.Equal(t, []string{"accepted"}, s.names(t))
	})
}

// So its exchange has all the time of the fetch.
func TestAGivenTokensSlowExchange(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		slow := time.Duration(0)
		p, s := exchanging(t, newFakeSTS(), func(string) (int, string) {
			time.Sleep(slow)
			return 200, ""
		})
		_, err := p.Retrieve(fromRequest(mint(t, "accepted")))
		require.NoError(t, err)
		slow = 5500 * time.Millisecond
		p.Invalidate()
		_, err = p.Retrieve(oidc.ContextWithToken(t.Context(), mint(t, "given")))
		require.NoError(t, err)
		assert.Equal(t, []string{"accepted", "given"}, s.names(t))
		time.Sleep(time.Minute)
	})
}

// Exchanges of many requests' tokens for many providers take as long as one.
func TestExchangesOfManyProviders(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		source := oidc.Exchange(oidc.FromRequest(), exchangeAudience, func(o *oidc.ExchangeOptions) {
			o.HTTPClient = &http.Client{Transport: exchangeEndpoint(t, func(string) (int, string) {
				time.Sleep(20 * time.Millisecond)
				return 200, ""
			})}
		})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			p := NewProvider(testRole, withClient(s), func(o *Options) { o.TokenSource = source })
			wg.Go(func() {
				_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, 20*time.Millisecond, time.Since(start))
	})
}

// What a step of the user's own does, in oidc.Map, reaches nobody else.
func TestAStepThatMisbehaves(t *testing.T) {
	isolate(t)
	refused := errors.New("not this one")
	for name, step := range map[string]func(context.Context, oidc.Token) (oidc.Token, error){
		"not this one": func(context.Context, oidc.Token) (oidc.Token, error) { return oidc.Token{}, refused },
		"panicked":     func(context.Context, oidc.Token) (oidc.Token, error) { panic("step") },
		"zero Token":   func(context.Context, oidc.Token) (oidc.Token, error) { return oidc.Token{}, nil },
		"did not return": func(_ context.Context, tok oidc.Token) (oidc.Token, error) {
			time.Sleep(time.Hour)
			return tok, nil
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			forgetRequests()
			s := newFakeSTS()
			p := NewProvider(testRole, withClient(s), func(o *Options) {
				o.TokenSource = oidc.Map(oidc.FromRequest(), func(ctx context.Context, tok oidc.Token) (oidc.Token, error) {
					if jti(t, tok.Raw()) == "good" {
						return tok, nil
					}
					return step(ctx, tok)
				})
			})
			_, err := p.Retrieve(fromRequest(mint(t, "bad")))
			require.ErrorContains(t, err, name)
			fromRequest(mint(t, "good"))
			_, err = p.Retrieve(t.Context())
			require.NoError(t, err)
			time.Sleep(2 * time.Hour)
		})
	}
}

// New tokens do not end the back-off while the exchange is down, nor does a fetch
// walk through them.
func TestNewTokensWhileTheExchangeIsDown(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		asked, isDown := 0, false
		p, s := exchanging(t, newFakeSTS(), func(string) (int, string) {
			asked++
			if isDown {
				return 0, ""
			}
			return 200, ""
		})
		_, err := p.Retrieve(fromRequest(mint(t, "accepted", claim("exp", time.Now().Add(40*time.Minute).Unix()))))
		require.NoError(t, err)
		isDown = true
		sleepToSoftExpiry(s)
		asked = 0
		for i := range 120 {
			_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.LessOrEqual(t, asked, 3*15)
		assert.Greater(t, asked, 5)
	})
}

// Nor do they while STS refuses the request whatever the token.
func TestNewTokensWhileTheRequestIsRefused(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		_, err := p.Retrieve(fromRequest(longLived(t)))
		require.NoError(t, err)
		s.set(always(codeError("MalformedPolicyDocument")))
		sleepToSoftExpiry(s)
		before := s.count()
		for i := range 120 {
			_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, s.count()-before, 15)
		assert.Greater(t, s.count()-before, 3)
	})
}

// At a cold start a fetch ends with the first token's exchange that has no answer.
func TestAnExchangeThatIsDownAtAColdStart(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		p, s := exchanging(t, newFakeSTS(), func(raw string) (int, string) {
			asked = append(asked, jti(t, raw))
			return 0, ""
		})
		fromRequest(mint(t, "other"))
		_, err := p.Retrieve(fromRequest(mint(t, "own")))
		require.ErrorContains(t, err, "after 3 attempts")
		assert.Equal(t, []string{"own", "own", "own"}, asked)
		assert.Zero(t, s.count())
	})
}

// A cold start whose first region accepts and never answers.
func TestASilentRegion(t *testing.T) {
	for _, fallback := range []string{"", "us-west-2"} {
		t.Run(fallback, func(t *testing.T) {
			isolate(t)
			testenv.HideAWS(t)
			synctest.Test(t, func(t *testing.T) {
				w := testworld.New(testRole, true)
				defer w.Close()
				silent := ststest.NewServer(func(o *ststest.Options) { o.InMemory = true })
				defer silent.Close()
				silent.SetFault(ststest.Always(ststest.Fault{Hang: true}))

				f := newFetcher(testRole, Options{})
				f.client = stsclient.New(stsclient.Options{RoleARN: testRole, FallbackRegion: fallback, Override: func(o *sts.Options) {
					server := w.STS
					if o.Region == "us-east-1" {
						server = silent
					}
					o.BaseEndpoint, o.HTTPClient = aws.String(server.URL), server.Client()
				}})
				p := refresh.NewCredentialsCache(f)
				start := time.Now()
				_, err := p.Retrieve(fromRequest(w.Issuer.Mint()))
				if fallback != "" {
					require.NoError(t, err)
					assert.LessOrEqual(t, time.Since(start), 1500*time.Millisecond)
				} else {
					var failed *AssumeRoleError
					require.ErrorAs(t, err, &failed)
					assert.LessOrEqual(t, time.Since(start), 10*time.Second)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestAWrongEnvironmentOrRegionIsNamed(t *testing.T) {
	cases := []struct{ variable, value, fallback, says string }{
		{"AWS_CA_BUNDLE", "/nowhere/missing.pem", "", "AWS_CA_BUNDLE"},
		{"AWS_MAX_ATTEMPTS", "abc", "", "AWS_MAX_ATTEMPTS"},
		{"AWS_RETRY_MODE", "standart", "", "standard or adaptive"},
		{"AWS_ENDPOINT_URL_STS", "sts.example.com", "", "https://sts.eu-central-1.amazonaws.com"},
		{"AWS_REGION", "us-east-1", "us-east-1", "us-east-1"},
		{"AWS_REGION", "us-east-1", "cn-north-1", "cn-north-1"},
		{"AWS_REGION", "us-east-1", "no region", "no region"},
	}
	for _, c := range cases {
		t.Run(c.variable+c.fallback, func(t *testing.T) {
			isolate(t)
			testenv.HideAWS(t)
			t.Setenv(c.variable, c.value)
			p := NewProvider(testRole, func(o *Options) { o.FallbackRegion = c.fallback })
			_, err := p.Retrieve(fromRequest(""))
			require.ErrorAs(t, err, new(*ConfigError), "also where there is no token")
			_, err = p.Retrieve(fromRequest(mint(t, "a")))
			require.ErrorContains(t, err, c.says)
			var bad *ConfigError
			require.ErrorAs(t, err, &bad)
			want := c.variable
			if c.fallback != "" {
				want = "Options.FallbackRegion"
			}
			assert.Equal(t, want, bad.Setting)
			assert.NotErrorAs(t, err, new(*AssumeRoleError))
			assert.NotContains(t, err.Error(), "try again")
		})
	}
}

func TestWarningsAreLogged(t *testing.T) {
	isolate(t)
	testenv.HideAWS(t)
	t.Setenv("AWS_PROFILE", "other")
	synctest.Test(t, func(t *testing.T) {
		log := &logBuffer{}
		NewProvider(testRole, log.option)
		synctest.Wait()
		assert.Contains(t, log.String(), "AWS_PROFILE")
		silent := &logBuffer{}
		NewProvider(testRole, silent.option, withClient(newFakeSTS()))
		synctest.Wait()
		assert.Empty(t, silent.String())
	})
}

// The round trips of a first fetch are counted under fake time, on a link that
// adds latency and on which nothing else takes any time at all.
func TestPreconnectSavesRoundTrips(t *testing.T) {
	const roundTrip = 100 * time.Millisecond
	first := func(t *testing.T, option func(*Options), idle time.Duration) (took time.Duration, conns int64) {
		isolate(t)
		synctest.Test(t, func(t *testing.T) {
			w := testworld.New(testRole, true)
			defer w.Close()
			raw := w.Issuer.Mint()
			_, err := NewProvider(testRole, withClient(w.STS.STS())).Retrieve(fromRequest(raw)) // STS fetches the issuer's keys
			require.NoError(t, err)

			link := listenTLS(t, w)
			defer link.close()
			client := link.client(roundTrip)
			p := NewProvider(testRole, withClient(client), option)
			time.Sleep(idle)
			start := time.Now()
			_, err = p.Retrieve(fromRequest(raw))
			require.NoError(t, err)
			took, conns = time.Since(start), link.conns.Load()
			link.transport.CloseIdleConnections()
			time.Sleep(roundTrip) // let the closing pass the link
		})
		return took, conns
	}
	none := func(*Options) {}
	preconnect := func(o *Options) { o.Preconnect = true }

	cold, conns := first(t, none, time.Second)
	assert.Equal(t, 3*roundTrip, cold, "TCP, TLS, HTTP")
	assert.EqualValues(t, 1, conns)
	warm, conns := first(t, preconnect, time.Second)
	assert.Equal(t, roundTrip, warm, "HTTP alone")
	assert.EqualValues(t, 1, conns, "the connection that was opened is the one that is used")
	t.Logf("first credentials at a round trip of %s: %s without Preconnect, %s with it", roundTrip, cold, warm)

	early, _ := first(t, preconnect, 0)
	assert.LessOrEqual(t, early, cold, "a fetch that comes before the connection is there is no later for it")
}

func TestPreconnectNeverHurts(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS() // not an *sts.Client
		p := NewProvider(testRole, withClient(s), func(o *Options) { o.Preconnect = true })
		synctest.Wait()
		assert.Zero(t, s.count())
		creds, err := p.Retrieve(fromRequest(mint(t, "a")))
		usable(t, s, creds, err)

		broken := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://sts.test"), HTTPClient: &http.Client{Transport: hung{}}})
		NewProvider(testRole, withClient(broken), func(o *Options) { o.Preconnect = true })
		time.Sleep(longestFetch)
		synctest.Wait() // the goroutine has ended: synctest.Test would fail otherwise
	})
}

// What a user's code does in the background ends neither the process nor the
// provider: an HTTP client that is to connect beforehand, and a log handler that
// is told of settings without effect.
func TestWhatMisbehavesInTheBackground(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_PROFILE", "other")
	for name, misbehave := range map[string]func(){
		"panics": func() { panic("no") },
		"exits":  runtime.Goexit,
		"blocks": func() { time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://sts.test"), HTTPClient: misbehaving(misbehave)})
				p := NewProvider(testRole, withClient(client), func(o *Options) { o.Preconnect = true })
				synctest.Wait()
				began := time.Now()
				_, err := p.Retrieve(fromRequest(mint(t, "a")))
				require.Error(t, err)
				assert.LessOrEqual(t, time.Since(began), 10*time.Second)

				asked := make(chan struct{}, 10)
				NewProvider(testRole, func(o *Options) {
					o.Logger = slog.New(misbehavingHandler{func() { asked <- struct{}{}; misbehave() }})
				})
				<-asked
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// misbehaving is an HTTP client, misbehavingHandler a log handler.
type misbehaving func()

func (m misbehaving) Do(*http.Request) (*http.Response, error) {
	m()
	return nil, errors.New("out of order")
}

type misbehavingHandler struct{ misbehave func() }

func (misbehavingHandler) Enabled(context.Context, slog.Level) bool    { return true }
func (h misbehavingHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h misbehavingHandler) WithGroup(string) slog.Handler             { return h }
func (h misbehavingHandler) Handle(context.Context, slog.Record) error { h.misbehave(); return nil }

// hung is a transport that never answers.
type hung struct{}

func (hung) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// tlsLink is the world's STS behind TLS, on a link with latency.
type tlsLink struct {
	listener  *memnet.Listener
	server    *http.Server
	roots     *x509.CertPool
	transport *http.Transport
	conns     atomic.Int64
}

func listenTLS(t *testing.T, w *testworld.World) *tlsLink {
	t.Helper()
	target, err := url.Parse(w.STS.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = w.STS.Client().Transport
	l := &tlsLink{listener: memnet.Listen("example.com:443"), server: &http.Server{Handler: proxy}, roots: x509.NewCertPool()}
	certificate := testCertificate()
	l.roots.AddCert(certificate.Leaf)
	go func() {
		_ = l.server.Serve(tls.NewListener(l.listener, &tls.Config{Certificates: []tls.Certificate{certificate}, Time: time2026}))
	}()
	return l
}

// testCertificate borrows the certificate of httptest, which is for example.com.
func testCertificate() tls.Certificate {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	certificate := server.TLS.Certificates[0]
	certificate.Leaf = server.Certificate()
	return certificate
}

// time2026 is a time at which that certificate is valid, as the fake clock of
// synctest, which begins in 2000, need not be.
func time2026() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func (l *tlsLink) close() {
	l.server.Close()
	l.listener.Close()
}

func (l *tlsLink) client(roundTrip time.Duration) *sts.Client {
	l.transport = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.roots, Time: time2026},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			l.conns.Add(1)
			time.Sleep(roundTrip) // SYN, SYN-ACK
			c, err := l.listener.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return delayed(c, roundTrip/2), nil
		},
	}
	return sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("https://example.com"), Retryer: aws.NopRetryer{},
		HTTPClient: &http.Client{Transport: l.transport},
	})
}

// delayed returns the near end of a link to c that carries each byte for d.
func delayed(c net.Conn, d time.Duration) net.Conn {
	near, far := net.Pipe()
	carry := func(to io.WriteCloser, from io.Reader) {
		type parcel struct {
			due  time.Time
			data []byte
		}
		road := make(chan parcel, 1024)
		go func() {
			defer to.Close()
			for p := range road {
				time.Sleep(time.Until(p.due))
				if _, err := to.Write(p.data); err != nil {
					for range road { // let the sender end
					}
					return
				}
			}
		}()
		defer close(road)
		for {
			data := make([]byte, 16<<10)
			n, err := from.Read(data)
			if n > 0 {
				road <- parcel{time.Now().Add(d), data[:n]}
			}
			if err != nil {
				return
			}
		}
	}
	go carry(c, far)
	go carry(far, c)
	return near
}
