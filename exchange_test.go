//go:build go1.25

package vercelaws

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

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
				refused.paced(t, refusalBurst)
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
			_, err = p.Retrieve(fromRequest(mint(t, "bad too")))
			require.NoError(t, err)
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
		assert.LessOrEqual(t, asked, 3*15)
		assert.Greater(t, asked, 5)
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
