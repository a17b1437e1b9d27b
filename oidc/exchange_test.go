//go:build go1.25

package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

const aws = "https://sts.amazonaws.com"

// exchanging runs f under fake time with an issuer in memory and a source that
// exchanges the tokens of requests.
func exchanging(t *testing.T, f func(t *testing.T, issuer *oidctest.Server, source oidc.TokenSource)) {
	t.Helper()
	t.Setenv("VERCEL_PROJECT_ID", "")
	synctest.Test(t, func(t *testing.T) {
		issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = true })
		defer issuer.Close()
		f(t, issuer, oidc.Exchange(oidc.FromRequest(), aws, func(o *oidc.ExchangeOptions) {
			o.Endpoint, o.HTTPClient = issuer.ExchangeURL(), issuer.Client()
		}))
		time.Sleep(time.Minute) // exchanges that were abandoned end
	})
}

func requestWith(raw string) context.Context {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if raw != "" {
		r.Header.Set(oidc.Header, raw)
	}
	return oidc.RequestContext(r)
}

func answer(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func TestExchange(t *testing.T) {
	exchanging(t, func(t *testing.T, issuer *oidctest.Server, source oidc.TokenSource) {
		ctx := requestWith(issuer.Mint())
		token, err := source.Token(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{aws}, token.Audience)
		assert.Equal(t, issuer.URL+"/acme", token.Issuer)
		assert.Equal(t, "request, exchanged", token.Source())

		again, err := source.Token(ctx)
		require.NoError(t, err)
		assert.Equal(t, token.Raw(), again.Raw())
		assert.Equal(t, 1, issuer.Exchanges(), "it is kept")

		_, err = source.Token(requestWith(issuer.Mint(func(c *oidctest.Claims) { c.JTI = "other" })))
		require.NoError(t, err)
		assert.Equal(t, 2, issuer.Exchanges(), "for its source token only")
	})
}

func TestExchangeIsMadeOnceForAllWhoWait(t *testing.T) {
	exchanging(t, func(t *testing.T, issuer *oidctest.Server, source oidc.TokenSource) {
		ctx := requestWith(issuer.Mint())
		hasty, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		slow(issuer, time.Second)
		wg.Go(func() {
			_, err := source.Token(hasty)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		for range 1000 {
			wg.Go(func() {
				_, err := source.Token(ctx)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, 1, issuer.Exchanges())
	})
}

// slow makes each exchange take d.
func slow(issuer *oidctest.Server, d time.Duration) {
	issuer.SetExchange(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(d)
		issuer.ServeExchange(w, r)
	}))
}

func TestExchangeWithoutExpiryIsNotKept(t *testing.T) {
	exchanging(t, func(t *testing.T, issuer *oidctest.Server, source oidc.TokenSource) {
		exchanged := issuer.Mint(func(c *oidctest.Claims) { c.Audience = aws })
		issuer.SetExchange(answer(200, fmt.Sprintf(`{"token":%q}`, exchanged)))
		ctx := requestWith(issuer.Mint())
		for range 3 {
			_, err := source.Token(ctx)
			require.NoError(t, err)
		}
		assert.Equal(t, 3, issuer.Exchanges())
	})
}

func TestExchangeOverItsLife(t *testing.T) {
	exchanging(t, func(t *testing.T, issuer *oidctest.Server, source oidc.TokenSource) {
		long := issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(100 * time.Hour) })
		issuer.SetExchange(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			end := time.Now().Add(time.Hour)
			_ = json.NewEncoder(w).Encode(map[string]any{"expiry": end.Unix(), "token": issuer.Mint(func(c *oidctest.Claims) { c.Audience, c.Expiry = aws, end })})
		}))
		for range 240 { // two hours
			token, err := source.Token(requestWith(long))
			require.NoError(t, err)
			require.True(t, time.Now().Before(token.Expiry))
			time.Sleep(30 * time.Second)
		}
		assert.LessOrEqual(t, issuer.Exchanges(), 4)

		// An exchange that fails leaves the one that lives in use, for that token.
		kept, err := source.Token(requestWith(long))
		require.NoError(t, err)
		issuer.SetExchange(answer(503, ""))
		time.Sleep(time.Until(kept.Expiry) - time.Second)
		same, err := source.Token(requestWith(long))
		require.NoError(t, err)
		assert.Equal(t, kept.Raw(), same.Raw())
		_, err = source.Token(requestWith(issuer.Mint()))
		require.ErrorContains(t, err, "503", "but not for another")
	})
}

func TestExchangeFaults(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	cases := []struct {
		name    string
		handler func(issuer *oidctest.Server, raw string) http.Handler
		says    string
		asked   int
	}{
		{"refusal", func(_ *oidctest.Server, _ string) http.Handler {
			return answer(403, `{"error":"audience not allowed"}`)
		}, `refused with status 403: "audience not allowed"`, 1},
		{"redirect", func(*oidctest.Server, string) http.Handler {
			return http.RedirectHandler("http://elsewhere.test/", http.StatusTemporaryRedirect)
		}, "redirect, which is not followed", 1},
		{"500", func(*oidctest.Server, string) http.Handler { return answer(500, "oops") }, `status 500: "oops"`, 3},
		{"429", func(*oidctest.Server, string) http.Handler { return answer(429, "") }, "status 429", 3},
		{"garbage", func(*oidctest.Server, string) http.Handler { return answer(200, "<html>") }, "it is not JSON", 3},
		{"no token", func(*oidctest.Server, string) http.Handler { return answer(200, "{}") }, "malformed token", 3},
		{"huge", func(*oidctest.Server, string) http.Handler { return answer(200, `{"token":"`+huge+`"}`) }, "longer than 65536 bytes", 3},
		{"hang", func(*oidctest.Server, string) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() })
		}, "exchange", 2},
		{"wrong audience", func(i *oidctest.Server, _ string) http.Handler {
			return answer(200, fmt.Sprintf(`{"token":%q,"expiry":4000000000}`, i.Mint()))
		}, "another audience than was asked for", 3},
		{"wrong project", func(i *oidctest.Server, _ string) http.Handler {
			return answer(200, fmt.Sprintf(`{"token":%q,"expiry":4000000000}`, i.Mint(func(c *oidctest.Claims) { c.Audience, c.Project = aws, "x" })))
		}, "another project", 3},
		{"expired", func(i *oidctest.Server, _ string) http.Handler {
			return answer(200, fmt.Sprintf(`{"token":%q,"expiry":1}`, i.Mint(func(c *oidctest.Claims) { c.Audience, c.Expiry = aws, time.Now().Add(-time.Hour) })))
		}, "expired", 3},
		{"echo", func(_ *oidctest.Server, raw string) http.Handler { return answer(400, `{"error":"bad token `+raw+`"}`) }, `bad token [\u2026].[\u2026].[\u2026]`, 1},
		{"echo of a part", func(_ *oidctest.Server, raw string) http.Handler { return answer(500, raw[strings.Index(raw, ".")+1:]) }, "status 500", 3},
		{"log lines", func(*oidctest.Server, string) http.Handler { return answer(400, "a\nlevel=INFO forged\x1b[0m") }, "a level=INFO", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			exchanging(t, func(t *testing.T, issuer *oidctest.Server, source oidc.TokenSource) {
				raw := issuer.Mint()
				issuer.SetExchange(c.handler(issuer, raw))
				start := time.Now()
				_, err := source.Token(requestWith(raw))
				require.ErrorContains(t, err, c.says)
				assert.LessOrEqual(t, time.Since(start), 10*time.Second)
				assert.Equal(t, c.asked, issuer.Exchanges())
				for _, part := range strings.Split(raw, ".")[1:] {
					assert.NotContains(t, err.Error(), part)
				}
				assert.NotContains(t, err.Error(), "\n")
				assert.Less(t, len(err.Error()), 600)

				if c.asked == 1 {
					_, err = source.Token(requestWith(raw))
					require.Error(t, err)
					assert.Equal(t, 1, issuer.Exchanges(), "a refusal is remembered for a second")
				}
				issuer.SetExchange(nil)
				time.Sleep(time.Second)
				_, err = source.Token(requestWith(raw))
				assert.NoError(t, err)
			})
		})
	}
}

func TestExchangeAudience(t *testing.T) {
	for _, audience := range []string{"", "a b", "a\n", "a\x7f", strings.Repeat("x", 3000)} {
		_, err := oidc.Exchange(oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
			return oidc.Token{}, errors.New("the source was asked")
		}), audience).Token(t.Context())
		require.ErrorContains(t, err, "the audience")
	}
}

func TestExchangeForgetsOldTokens(t *testing.T) {
	exchanging(t, func(t *testing.T, issuer *oidctest.Server, source oidc.TokenSource) {
		first := requestWith(issuer.Mint(func(c *oidctest.Claims) { c.JTI = "first" }))
		_, err := source.Token(first)
		require.NoError(t, err)
		for i := range 256 {
			_, err := source.Token(requestWith(issuer.Mint(func(c *oidctest.Claims) { c.JTI = fmt.Sprint(i) })))
			require.NoError(t, err)
		}
		_, err = source.Token(first)
		require.NoError(t, err)
		assert.Equal(t, 258, issuer.Exchanges())
	})
}
