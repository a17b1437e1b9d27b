//go:build go1.25

package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/candidate"
	"github.com/vercelaws/vercelaws/internal/recent"
	"github.com/vercelaws/vercelaws/internal/refusals"
)

const exchangeAudience = "https://sts.amazonaws.com"

// roundTrip is an endpoint without a network.
type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func responding(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// exchanged answers with a token of the same claims for the audience.
func exchangedFor(t *testing.T, raw string) (*http.Response, error) {
	from, err := ParseUnverified(raw)
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, from.Claims(&claims))
	claims["aud"] = exchangeAudience
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	return responding(200, fmt.Sprintf(`{"token":%q,"expiry":%d}`, join("{}", string(payload), "exchanged"), from.Expiry.Unix()))
}

func sent(r *http.Request) string {
	var in struct{ Token string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	return in.Token
}

// bounds runs f under fake time with the exchange of what requests bring, at an
// endpoint that is a function.
func bounds(t *testing.T, endpoint roundTrip, f func(t *testing.T, source TokenSource)) {
	t.Helper()
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		f(t, Exchange(FromRequest(), exchangeAudience, func(o *ExchangeOptions) { o.HTTPClient = &http.Client{Transport: endpoint} }))
		time.Sleep(time.Minute)
	})
}

// atMost fails if more than burst and one each every of times are in any window.
func atMost(t *testing.T, times []time.Time, burst int, every time.Duration) {
	t.Helper()
	for i := range times {
		for j := i; j < len(times); j++ {
			require.LessOrEqual(t, j-i+1, burst+int(times[j].Sub(times[i])/every), "in %s", times[j].Sub(times[i]))
		}
	}
}

// A flood of forged tokens, each new, costs the endpoint what the allowance
// says, and does not keep a good one out that recurs twice a second.
func TestExchangeUnderAFlood(t *testing.T) {
	var mu sync.Mutex
	var refused []time.Time
	endpoint := func(r *http.Request) (*http.Response, error) {
		raw := sent(r)
		if tok, err := ParseUnverified(raw); err == nil && !strings.Contains(tok.Subject, "forged") {
			return exchangedFor(t, raw)
		}
		mu.Lock()
		defer mu.Unlock()
		refused = append(refused, time.Now())
		return responding(403, `{"error":"bad signature"}`)
	}
	for _, perSecond := range []int{20, 200, 1000} {
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			refused = nil
			bounds(t, endpoint, func(t *testing.T, source TokenSource) {
				good, start := mint(t, claim("jti", "good")), time.Now()
				done, flooded := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(flooded)
					for i := 0; ; i++ {
						select {
						case <-done:
							return
						case <-time.After(time.Second / time.Duration(perSecond)):
						}
						RequestContext(request(mint(t, claim("sub", fmt.Sprint("forged", i)))))
						if i%(perSecond/2) == 0 {
							RequestContext(request(good))
						}
					}
				}()
				// Flights as the SDK's cache leads them: one after the other, each
				// led by a forged token.
				for i := 0; ; i++ {
					ctx, cancel := context.WithTimeout(RequestContext(request(mint(t, claim("sub", fmt.Sprint("leader forged", i))))), 10*time.Second)
					tok, err := source.Token(ctx)
					cancel()
					if err == nil {
						require.NotContains(t, tok.Subject, "forged")
						break
					}
					require.Less(t, time.Since(start), 5*time.Second, err)
				}
				assert.Less(t, time.Since(start), 5*time.Second)
				// Once there is one, it serves whoever leads.
				_, err := source.Token(RequestContext(request(mint(t, claim("sub", "late forged")))))
				require.NoError(t, err)
				close(done)
				<-flooded
			})
			atMost(t, refused, 4, 500*time.Millisecond)
			assert.NotEmpty(t, refused)
		})
	}
}

// The endpoint refused the good token for a while. When that is over, new forged
// ones do not stay ahead of it.
func TestAMendedExchangeUnderAFlood(t *testing.T) {
	const wrong = 20 * time.Second
	var start time.Time
	bounds(t, func(r *http.Request) (*http.Response, error) {
		raw := sent(r)
		if tok, err := ParseUnverified(raw); err == nil && !strings.Contains(tok.Subject, "forged") && time.Since(start) >= wrong {
			return exchangedFor(t, raw)
		}
		return responding(403, `{"error":"no"}`)
	}, func(t *testing.T, source TokenSource) {
		start = time.Now()
		good := mint(t, claim("jti", "good"))
		done, flooded := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(flooded)
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				case <-time.After(5 * time.Millisecond):
				}
				RequestContext(request(mint(t, claim("sub", fmt.Sprint("forged", i)))))
				if i%100 == 0 {
					RequestContext(request(good))
				}
			}
		}()
		for i := 0; ; i++ {
			ctx, cancel := context.WithTimeout(RequestContext(request(mint(t, claim("sub", fmt.Sprint("leader forged", i))))), 10*time.Second)
			_, err := source.Token(ctx)
			cancel()
			if err == nil {
				break
			}
			require.Less(t, time.Since(start), wrong+35*time.Second, err)
		}
		close(done)
		<-flooded
	})
}

func TestRefusedExchangesAreBoundedWithoutAGoodToken(t *testing.T) {
	var mu sync.Mutex
	var refused []time.Time
	bounds(t, func(*http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		refused = append(refused, time.Now())
		return responding(403, "")
	}, func(t *testing.T, source TokenSource) {
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				start := time.Now()
				_, err := source.Token(ContextWithToken(t.Context(), mint(t, claim("jti", fmt.Sprint(i)))))
				var failure *ExchangeError
				assert.ErrorAs(t, err, &failure)
				assert.LessOrEqual(t, time.Since(start), 10*time.Second)
			})
			time.Sleep(30 * time.Millisecond)
		}
		wg.Wait()
	})
	atMost(t, refused, 4, 500*time.Millisecond)
	assert.Greater(t, len(refused), 10)
}

func TestFaultedRequestsAreBounded(t *testing.T) {
	status := func(status int) roundTrip {
		return func(*http.Request) (*http.Response, error) { return responding(status, "") }
	}
	const expired = "a token that has just expired"
	for name, endpoint := range map[string]roundTrip{
		"429": status(429), "500": status(500), "503": status(503),
		expired: func(*http.Request) (*http.Response, error) { // STS would allow for it
			return responding(200, fmt.Sprintf(`{"token":%q}`, mint(t, claim("aud", exchangeAudience), expiredBy(time.Minute))))
		},
	} {
		var mu sync.Mutex
		var faults []time.Time
		bounds(t, func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, time.Now())
			return endpoint(r)
		}, func(t *testing.T, source TokenSource) {
			ctx := RequestContext(request(mint(t)))
			for start := time.Now(); time.Since(start) < 20*time.Second; {
				begun := time.Now()
				_, err := source.Token(ctx)
				var failure *ExchangeError
				if name != expired || !errors.Is(err, ErrExpired) { // that one may also have no turn in time
					require.ErrorAs(t, err, &failure, name)
					assert.False(t, failure.Refused)
				}
				assert.LessOrEqual(t, time.Since(begun), 10*time.Second)
				time.Sleep(time.Millisecond)
			}
		})
		atMost(t, faults, 3, 500*time.Millisecond)
		assert.Greater(t, len(faults), 30)
	}
}

// What a user's client does to its goroutine reaches nobody who waits.
func TestExchangeWithAClientThatMisbehaves(t *testing.T) {
	var release chan struct{}
	cases := map[string]struct {
		client roundTrip
		says   string
	}{
		"panics":             {func(r *http.Request) (*http.Response, error) { panic("oh no: " + sent(r)) }, `panicked: "oh no: [token]"`},
		"ends its goroutine": {func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil }, "ended its goroutine"},
		"never returns":      {func(*http.Request) (*http.Response, error) { <-release; return nil, io.EOF }, "did not return within 3s"},
		"body panics": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: panicking{}}, nil
		}, `panicked: "body"`},
		"neither answer nor error": {func(*http.Request) (*http.Response, error) { return nil, nil }, "nil"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bounds(t, func(r *http.Request) (*http.Response, error) { return c.client(r) }, func(t *testing.T, source TokenSource) {
				release = make(chan struct{}) // one of this bubble
				raw := mint(t)
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						start := time.Now()
						_, err := source.Token(RequestContext(request(raw)))
						assert.ErrorContains(t, err, c.says)
						assert.NotContains(t, fmt.Sprint(err), raw)
						assert.LessOrEqual(t, time.Since(start), 10*time.Second)
						var failure *ExchangeError
						assert.ErrorAs(t, err, &failure)
					})
				}
				wg.Wait()
				close(release)
			})
		})
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("body") }
func (panicking) Close() error             { return nil }

// hanging is an exchange whose client does not return, and does not heed
// contexts, before mend is called. Begun counts its requests.
func hanging(t *testing.T) (source TokenSource, begun *atomic.Int32, mend func()) {
	release := make(chan struct{})
	var recovered atomic.Bool
	begun = new(atomic.Int32)
	source = Exchange(FromRequest(), exchangeAudience, func(o *ExchangeOptions) {
		o.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			begun.Add(1)
			if !recovered.Load() {
				<-release
				return nil, io.EOF
			}
			return exchangedFor(t, sent(r))
		})}
	})
	return source, begun, func() {
		recovered.Store(true)
		close(release)
		synctest.Wait()
	}
}

// At most four requests are left standing, and when they return all is well.
func TestExchangeLeavesFewRequestsStanding(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		source, begun, mend := hanging(t)
		ctx := RequestContext(request(mint(t)))
		for range 4 {
			_, err := source.Token(ctx)
			require.ErrorContains(t, err, "HTTPClient did not return")
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		for range 3 {
			start := time.Now()
			_, err := source.Token(ctx)
			require.ErrorContains(t, err, "HTTPClient has not returned from 4 requests")
			assert.Less(t, time.Since(start), 2*time.Second)
		}
		assert.EqualValues(t, 4, begun.Load())
		mend()
		_, err := source.Token(ctx)
		require.NoError(t, err)
	})
}

// Nor are more left standing where many exchanges are under way at a time.
func TestExchangesTogetherLeaveFewRequestsStanding(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		source, begun, mend := hanging(t)
		var wg sync.WaitGroup
		for i := range 20 {
			time.Sleep(300 * time.Millisecond)
			wg.Go(func() {
				start := time.Now()
				_, err := source.Token(ContextWithToken(t.Context(), mint(t, claim("jti", fmt.Sprint(i)))))
				var failure *ExchangeError
				assert.ErrorAs(t, err, &failure)
				assert.LessOrEqual(t, time.Since(start), 10*time.Second)
			})
		}
		wg.Wait()
		assert.EqualValues(t, maxStanding, begun.Load())
		mend()
		start := time.Now()
		_, err := source.Token(RequestContext(request(mint(t))))
		require.NoError(t, err)
		assert.Zero(t, time.Since(start), "what was not asked is not counted")
	})
}

// The exchange is nobody's in particular, so nothing of a caller's context goes
// into it, and its end does not end it.
func TestExchangeSeesNothingOfACallersContext(t *testing.T) {
	type key struct{}
	bounds(t, func(r *http.Request) (*http.Response, error) {
		time.Sleep(time.Second)
		assert.NoError(t, r.Context().Err())
		assert.Nil(t, r.Context().Value(key{}))
		assert.Nil(t, httptrace.ContextClientTrace(r.Context()))
		return exchangedFor(t, sent(r))
	}, func(t *testing.T, source TokenSource) {
		raw := mint(t)
		parent, cancel := context.WithTimeout(context.WithValue(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{}), key{}, "v"), time.Millisecond)
		defer cancel()
		_, err := source.Token(RequestContext(request(raw).WithContext(parent)))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		start := time.Now()
		_, err = source.Token(RequestContext(request(raw)))
		require.NoError(t, err)
		assert.Less(t, time.Since(start), time.Second, "it went on")
	})
}

func TestExchangeError(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		body    string
		refused bool
	}{
		"refused":            {403, hostile + strings.Repeat(hostile, 1000), true},
		"fault":              {503, hostile, false},
		"no JSON":            {200, hostile, false},
		"no token":           {200, `{}`, false},
		"an expired token":   {200, `{"token":"dead"}`, false},
		"a foreign audience": {200, fmt.Sprintf(`{"token":%q}`, mint(t)), false},
	} {
		t.Run(name, func(t *testing.T) {
			bounds(t, func(*http.Request) (*http.Response, error) {
				dead := mint(t, claim("aud", exchangeAudience), expiredBy(time.Hour))
				return responding(c.status, strings.ReplaceAll(c.body, "dead", dead))
			}, func(t *testing.T, source TokenSource) {
				raw := mint(t, claim("sub", hostile+strings.Repeat("x", 9000)))
				_, err := source.Token(RequestContext(request(raw)))
				var failure *ExchangeError
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, exchangeAudience, failure.Audience)
				assert.Equal(t, "https://oidc.vercel.com/acme", failure.Issuer)
				assert.Equal(t, c.status, failure.Status)
				assert.Equal(t, c.refused, failure.Refused)
				for _, not := range []error{ErrNoToken, ErrExpired, ErrMalformed} {
					assert.NotErrorIs(t, err, not)
				}
				fit(t, err.Error())
			})
		})
	}
	_, err := Exchange(FromRequest(), exchangeAudience, func(o *ExchangeOptions) { o.Endpoint = "http://\x7f" }).Token(t.Context())
	var failure *ExchangeError
	require.ErrorAs(t, err, &failure)
	assert.True(t, failure.Refused)
	_, err = Exchange(FromRequest(), exchangeAudience).Token(ContextWithToken(t.Context(), ""))
	assert.ErrorIs(t, err, ErrMalformed, "a source without a token says so itself")
	assert.False(t, errors.As(err, &failure))
}

// One token that draws faults from the endpoint does not stand for all.
func TestExchangeFaultThatIsOneTokens(t *testing.T) {
	var asked atomic.Int32
	bounds(t, func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		raw := sent(r)
		if tok, _ := ParseUnverified(raw); tok.Subject == "crafted" {
			return responding(500, "")
		}
		return exchangedFor(t, raw)
	}, func(t *testing.T, source TokenSource) {
		RequestContext(request(mint(t)))
		_, err := source.Token(RequestContext(request(mint(t, claim("sub", "crafted")))))
		require.NoError(t, err)
		assert.EqualValues(t, 4, asked.Load())
	})
}

// A token of ContextWithToken is exchanged for whoever gave it, and for nobody
// else.
func TestExchangedExplicitTokenIsNotLent(t *testing.T) {
	bounds(t, func(r *http.Request) (*http.Response, error) {
		raw := sent(r)
		if tok, _ := ParseUnverified(raw); strings.Contains(tok.Subject, "forged") {
			return responding(403, "")
		}
		return exchangedFor(t, raw)
	}, func(t *testing.T, source TokenSource) {
		raw := mint(t)
		tok := token(t, source, ContextWithToken(t.Context(), raw))
		assert.True(t, tok.explicit)
		assert.Equal(t, "ContextWithToken, exchanged", tok.Source())
		_, err := source.Token(RequestContext(request(mint(t, claim("sub", "forged")))))
		require.Error(t, err)
		_, err = source.Token(WithProvenToken(t.Context(), tok))
		require.Error(t, err)

		own := token(t, source, RequestContext(request(raw)))
		assert.False(t, own.explicit, "the same token as a request's own")
		recent.Forget(func(string) bool { return true })
		lent := token(t, source, RequestContext(request(mint(t, claim("sub", "forged")))))
		assert.Equal(t, own.Raw(), lent.Raw())
	})
}

// A fetch of credentials through Exchange goes on to other tokens, whose
// exchanged ones STS has not seen.
func TestExchangeTranslatesAFetchsHints(t *testing.T) {
	bounds(t, func(r *http.Request) (*http.Response, error) { return exchangedFor(t, sent(r)) }, func(t *testing.T, source TokenSource) {
		t.Setenv(envVariable, "")
		raws := map[string]string{}
		for _, jti := range []string{"a", "b", "c"} {
			raw := mint(t, claim("jti", jti))
			raws[jti] = raw
			RequestContext(request(raw))
		}
		late := mint(t, claim("jti", "late"), claim("exp", time.Now().Add(time.Minute).Unix()))
		lateExchanged := token(t, source, RequestContext(request(late)))
		time.Sleep(4 * time.Minute)
		own := token(t, source, RequestContext(request(raws["a"])))
		tried := fetch(t, RequestContext(request(raws["a"])), source, func(raw string) bool { return raw == own.Raw() })
		require.Len(t, tried, 4)
		assert.Equal(t, own.Raw(), tried[2], "refused, so after b and c")
		assert.Equal(t, lateExchanged.Raw(), tried[3], "expired, so last")

		h := candidate.Hints{Proven: own.Raw()}
		assert.Equal(t, own.Raw(), token(t, source, candidate.With(t.Context(), h)).Raw())
	})
}

// The default client leaves a connection that has gone silent, though the
// server would speak HTTP/2.
func TestExchangeRecoversFromASilentConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	silent := map[string]bool{} // the addresses of two connections that answer no second request
	var both sync.WaitGroup
	both.Add(2)
	var protocols []int
	quiet := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		protocols = append(protocols, r.ProtoMajor)
		dead, first := silent[r.RemoteAddr], len(silent) < 2
		if first {
			silent[r.RemoteAddr] = true
			both.Done()
		}
		mu.Unlock()
		switch {
		case dead:
			<-quiet
			return
		case first:
			both.Wait()
		}
		response, _ := exchangedFor(t, sent(r))
		_, _ = io.Copy(w, response.Body)
	}))
	var conns atomic.Int32
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer close(quiet)

	var n atomic.Int32
	source := Exchange(TokenSourceFunc(func(context.Context) (Token, error) { return ParseUnverified(mint(t, claim("jti", n.Add(1)))) }), exchangeAudience,
		func(o *ExchangeOptions) { o.Endpoint = server.URL })
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	source.(*exchange).exchanger.own.TLSClientConfig = &tls.Config{RootCAs: roots}

	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			_, err := source.Token(t.Context())
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	_, err := source.Token(t.Context())
	require.NoError(t, err, "the second attempt has a connection of its own")
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, []int{1, 1, 1, 1}, protocols, "one attempt into the silence, and not into the other connection")
	assert.EqualValues(t, 3, conns.Load())
}

func TestDefaultExchangeClientKeepsToItself(t *testing.T) {
	x, y := newExchanger("a", ExchangeOptions{}), newExchanger("a", ExchangeOptions{})
	assert.NotSame(t, x.own, y.own)
	assert.NotNil(t, x.own.Proxy)
	assert.LessOrEqual(t, x.own.IdleConnTimeout, 5*time.Second)
	given := &http.Client{}
	newExchanger("a", ExchangeOptions{HTTPClient: given})
	assert.Equal(t, http.Client{}, *given, "the caller's client is not changed")
}

// Exchanges that go right wait for no allowance.
func TestExchangesThatGoRightAreFree(t *testing.T) {
	bounds(t, func(r *http.Request) (*http.Response, error) { return exchangedFor(t, sent(r)) }, func(t *testing.T, source TokenSource) {
		start := time.Now()
		for i := range 40 {
			token(t, source, RequestContext(request(mint(t, claim("jti", i)))))
		}
		assert.Zero(t, time.Since(start))
	})
}

func TestWhatTheEndpointRefusedComesLast(t *testing.T) {
	var asked []string
	refuse := true
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		good, bad := mint(t, claim("jti", "good")), mint(t, claim("jti", "bad"))
		source := Exchange(FirstOf(FromRequest(), TokenSourceFunc(func(context.Context) (Token, error) { return ParseUnverified(good) })), exchangeAudience,
			func(o *ExchangeOptions) {
				o.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					raw := sent(r)
					asked = append(asked, raw)
					if refuse && raw == bad {
						return responding(403, "")
					}
					response, err := exchangedFor(t, raw)
					response.Body = io.NopCloser(strings.NewReader(strings.Replace(readAll(t, response.Body), `"expiry"`, `"not_kept"`, 1)))
					return response, err
				})}
			})
		first := token(t, source, RequestContext(request(bad)))
		assert.Equal(t, []string{bad, good}, asked)
		time.Sleep(refusals.LastChoice - time.Nanosecond)
		token(t, source, RequestContext(request(bad)))
		assert.Equal(t, []string{bad, good, good}, asked)

		// What STS has seen is not exchanged once more, though it is not kept.
		h := candidate.Hints{Tried: func(raw string) bool { return raw == first.Raw() }}
		_, err := source.Token(candidate.With(t.Context(), h))
		require.Error(t, err)
		h = candidate.Hints{Refused: h.Tried}
		_, err = source.Token(candidate.With(t.Context(), h))
		require.Error(t, err)
		assert.Equal(t, []string{bad, good, good, bad}, asked, "only the other one is asked about again, and once a second")

		refuse = false
		time.Sleep(time.Minute)
		token(t, source, candidate.With(RequestContext(request(bad)), h))
		own := token(t, source, RequestContext(request(bad)))
		assert.Equal(t, bad, asked[len(asked)-1], "it is as good as any, once it was accepted")
		assert.Equal(t, "request, exchanged", own.Source())
	})
}

func readAll(t *testing.T, r io.Reader) string {
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(b)
}

// Repeated forged tokens do not keep the newest from its turn.
func TestExchangeTakesTurns(t *testing.T) {
	var asked atomic.Int32
	bounds(t, func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		raw := sent(r)
		if tok, _ := ParseUnverified(raw); strings.Contains(tok.Subject, "forged") {
			return responding(403, "")
		}
		return exchangedFor(t, raw)
	}, func(t *testing.T, source TokenSource) {
		for range 10 {
			for i := range 20 {
				RequestContext(request(mint(t, claim("sub", fmt.Sprint("forged", i)))))
			}
		}
		RequestContext(request(mint(t)))
		token(t, source, t.Context())
		assert.LessOrEqual(t, asked.Load(), int32(2))
	})
}

func TestExchangesUnderWayAreBounded(t *testing.T) {
	var under, most, begun atomic.Int32
	bounds(t, func(r *http.Request) (*http.Response, error) {
		begun.Add(1)
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		<-r.Context().Done()
		return nil, r.Context().Err()
	}, func(t *testing.T, source TokenSource) {
		var wg sync.WaitGroup
		var busy atomic.Int32
		for i := range 200 {
			wg.Go(func() {
				_, err := source.Token(ContextWithToken(t.Context(), mint(t, claim("jti", i))))
				var failure *ExchangeError
				if assert.ErrorAs(t, err, &failure) && strings.Contains(err.Error(), "too many other exchanges") {
					busy.Add(1)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 200-maxExchanges, busy.Load())
		assert.LessOrEqual(t, most.Load(), int32(maxExchanges))

		time.Sleep(time.Minute)
		begun.Store(0)
		RequestContext(request(mint(t)))
		_, err := source.Token(RequestContext(request(mint(t, claim("jti", "other")))))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.EqualValues(t, 3, begun.Load(), "no other token would have had an answer")
	})
}
