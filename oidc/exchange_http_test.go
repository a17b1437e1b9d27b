//go:build go1.25

package oidc

import (
	"bufio"
	"context"
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

	"github.com/vercelaws/vercelaws/internal/http1"
	"github.com/vercelaws/vercelaws/internal/pace"
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

// bounds runs f under fake time with a source that exchanges the tokens of requests
// at an endpoint that is a function.
func bounds(t *testing.T, endpoint roundTrip, f func(t *testing.T, source TokenSource)) {
	t.Helper()
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		f(t, Exchange(FromRequest(), exchangeAudience, func(o *ExchangeOptions) { o.HTTPClient = &http.Client{Transport: endpoint} }))
		time.Sleep(time.Minute)
	})
}

// atMost fails if there is a period with more times than burst and one for each
// every.
func atMost(t *testing.T, times []time.Time, burst int, every time.Duration) {
	t.Helper()
	for i := range times {
		for j := i; j < len(times); j++ {
			require.LessOrEqual(t, j-i+1, burst+int(times[j].Sub(times[i])/every), "in %s", times[j].Sub(times[i]))
		}
	}
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

// A user's client that panics or ends its goroutine gives the waiting callers an
// error.
func TestExchangeWithAClientThatMisbehaves(t *testing.T) {
	var release chan struct{}
	cases := map[string]struct {
		client roundTrip
		says   string
	}{
		"panics":             {func(r *http.Request) (*http.Response, error) { panic("oh no: " + sent(r)) }, "ExchangeOptions.HTTPClient panicked: a value of type string in "},
		"ends its goroutine": {func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil }, "ended its goroutine"},
		"never returns":      {func(*http.Request) (*http.Response, error) { <-release; return nil, io.EOF }, "did not return when its context ended"},
		"body panics": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: panicking{}}, nil
		}, "ExchangeOptions.HTTPClient panicked: a value of type string in "},
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

// hanging returns an exchange whose client ignores contexts and does not return
// until mend is called. Begun counts its requests.
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

// At most four requests hang, and after they have returned exchanges succeed again.
func TestExchangeLeavesFewRequestsStanding(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		source, begun, mend := hanging(t)
		ctx := RequestContext(request(mint(t)))
		for range 2 { // each tries twice
			_, err := source.Token(ctx)
			require.ErrorContains(t, err, "HTTPClient did not return")
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		for range 3 {
			start := time.Now()
			_, err := source.Token(ctx)
			require.ErrorContains(t, err, "HTTPClient has not returned from 4 calls")
			assert.Less(t, time.Since(start), 2*time.Second)
		}
		assert.EqualValues(t, 4, begun.Load())
		mend()
		_, err := source.Token(ctx)
		require.NoError(t, err)
	})
}

// Once the first request of a client that hangs has been abandoned, no further
// request begins.
func TestAClientThatHangsIsNotCalledAgain(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		source, begun, mend := hanging(t)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				start := time.Now()
				_, err := source.Token(ContextWithToken(t.Context(), mint(t, claim("jti", fmt.Sprint(i)))))
				var failure *ExchangeError
				assert.ErrorAs(t, err, &failure)
				assert.LessOrEqual(t, time.Since(start), 10*time.Second)
			})
			time.Sleep(300 * time.Millisecond)
		}
		wg.Wait()
		assert.LessOrEqual(t, begun.Load(), int32(firstAttemptLimit/(300*time.Millisecond))+1)
		mend()
		time.Sleep(2 * time.Second)
		start := time.Now()
		_, err := source.Token(RequestContext(request(mint(t))))
		require.NoError(t, err)
		assert.Zero(t, time.Since(start))
	})
}

// All callers share the exchange, so it sees nothing of a caller's context, and the
// end of that context does not end it.
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

// The default client makes its second attempt on another connection than the one
// that does not answer, even if the server speaks HTTP/2.
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
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer close(quiet)

	var n atomic.Int32
	source := Exchange(TokenSourceFunc(func(context.Context) (Token, error) { return ParseUnverified(mint(t, claim("jti", n.Add(1)))) }), exchangeAudience,
		func(o *ExchangeOptions) { o.Endpoint = server.URL })
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	var dials atomic.Int32
	source.(*exchange).exchanger.client.Transport = http1.New(roots, func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	})

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
	assert.EqualValues(t, 3, dials.Load())
}

func TestExchangeClients(t *testing.T) {
	x, y := newExchanger("a", ExchangeOptions{}), newExchanger("a", ExchangeOptions{})
	assert.Same(t, x.client.Transport, y.client.Transport, "all share the process's connections")
	assert.Same(t, pace.Of(x.paced), pace.Of(y.paced), "and the faults of their endpoint")
	given := &http.Client{}
	newExchanger("a", ExchangeOptions{HTTPClient: given})
	assert.Equal(t, http.Client{}, *given, "the caller's client is not changed")
}

// Exchanges of many different tokens take as long as one, even at a cold start.
func TestHealthyExchangesDoNotWaitForEachOther(t *testing.T) {
	for _, n := range []int{1, 8, 40, 500} {
		bounds(t, func(r *http.Request) (*http.Response, error) {
			time.Sleep(20 * time.Millisecond)
			return exchangedFor(t, sent(r))
		}, func(t *testing.T, source TokenSource) {
			start := time.Now()
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					_, err := source.Token(RequestContext(request(mint(t, claim("jti", i)))))
					assert.NoError(t, err)
				})
			}
			wg.Wait()
			assert.Equal(t, 20*time.Millisecond, time.Since(start), n)
		})
	}
}

// Forged tokens that the endpoint refuses do not hold up good ones.
func TestRefusedExchangesDelayNobody(t *testing.T) {
	bounds(t, func(r *http.Request) (*http.Response, error) {
		raw := sent(r)
		if tok, _ := ParseUnverified(raw); strings.Contains(tok.Subject, "forged") {
			return responding(403, `{"error":"bad signature"}`)
		}
		return exchangedFor(t, raw)
	}, func(t *testing.T, source TokenSource) {
		for i := range 600 { // ten seconds, ten forged a second
			time.Sleep(100 * time.Millisecond)
			_, err := source.Token(RequestContext(request(mint(t, claim("sub", fmt.Sprint("forged", i))))))
			require.Error(t, err)
			start := time.Now()
			_, err = source.Token(RequestContext(request(mint(t, claim("jti", i)))))
			require.NoError(t, err)
			require.Zero(t, time.Since(start))
		}
	})
}

// An endpoint that fails for some tokens, ten a second, does not make the exchange
// of another token fail: that waits for its turn, and its success ends all waits.
func TestOneTokensFaultFailsNoOther(t *testing.T) {
	bounds(t, func(r *http.Request) (*http.Response, error) {
		raw := sent(r)
		if tok, _ := ParseUnverified(raw); tok.Subject == "crafted" {
			return responding(500, "")
		}
		return exchangedFor(t, raw)
	}, func(t *testing.T, source TokenSource) {
		for i := range 100 {
			go func() {
				_, _ = source.Token(RequestContext(request(mint(t, claim("sub", "crafted"), claim("jti", i)))))
			}()
			time.Sleep(100 * time.Millisecond)
			start := time.Now()
			_, err := source.Token(RequestContext(request(mint(t, claim("jti", fmt.Sprint("good", i))))))
			require.NoError(t, err)
			require.Less(t, time.Since(start), 5*time.Second)
		}
	})
}

func TestExchangesUnderWayAreBounded(t *testing.T) {
	bounds(t, func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}, func(t *testing.T, source TokenSource) {
		var wg sync.WaitGroup
		var busy atomic.Int32
		for i := range maxExchanges + 100 {
			wg.Go(func() {
				_, err := source.Token(ContextWithToken(t.Context(), mint(t, claim("jti", i))))
				var failure *ExchangeError
				if assert.ErrorAs(t, err, &failure) && strings.Contains(err.Error(), "too many other exchanges") {
					assert.Zero(t, failure.Status)
					busy.Add(1)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 100, busy.Load())
	})
}

// closer is a body that tells when it is closed.
type closer struct {
	io.Reader
	closed func()
}

func (c closer) Close() error {
	c.closed()
	return nil
}

// The request's content and default address, and how long an exchanged token is
// kept.
func TestExchangeRequest(t *testing.T) {
	var asked []*http.Request
	var sentBody string
	closed := false
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		raw := mint(t)
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r)
			b, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			sentBody = string(b)
			response, err := exchangedFor(t, raw)
			b, _ = io.ReadAll(response.Body)
			early := strings.Replace(string(b), `"expiry":`, fmt.Sprintf(`"expiry":%d,"was":`, time.Now().Add(10*time.Minute).Unix()), 1)
			response.Body = closer{strings.NewReader(early), func() { closed = true }}
			return response, err
		})}
		source := Exchange(FromRequest(), exchangeAudience, func(o *ExchangeOptions) { o.HTTPClient, o.JTI = client, "chosen" })
		ctx := RequestContext(request(raw))
		token(t, source, ctx)
		require.Len(t, asked, 1)
		assert.Equal(t, "POST", asked[0].Method)
		assert.Equal(t, ExchangeURL, asked[0].URL.String())
		assert.Equal(t, "application/json", asked[0].Header.Get("Content-Type"))
		assert.Equal(t, "application/json", asked[0].Header.Get("Accept"))
		assert.True(t, closed)
		assert.JSONEq(t, fmt.Sprintf(`{"token":%q,"aud":%q,"jti":"chosen"}`, raw, exchangeAudience), sentBody)

		time.Sleep(10*time.Minute - 30*time.Second - time.Second)
		token(t, source, ctx)
		assert.Len(t, asked, 1, "kept until half a minute before the end that the endpoint gives, not the token's")
		time.Sleep(time.Second)
		token(t, source, ctx)
		assert.Len(t, asked, 2)
	})
}

// A refusal is told at once. A request without an answer is made three times.
func TestHowOftenAnExchangeIsTried(t *testing.T) {
	for name, test := range map[string]struct {
		endpoint roundTrip
		asked    int32
		status   int
		says     string
	}{
		"refused":   {func(*http.Request) (*http.Response, error) { return responding(400, "no") }, 1, 400, "refused with status 400"},
		"no answer": {func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, 3, 0, "unexpected EOF (after 3 attempts)"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			bounds(t, func(r *http.Request) (*http.Response, error) {
				asked.Add(1)
				return test.endpoint(r)
			}, func(t *testing.T, source TokenSource) {
				raw := mint(t)
				from, err := ParseUnverified(raw)
				require.NoError(t, err)
				began := time.Now()
				_, err = source.Token(RequestContext(request(raw)))
				var failure *ExchangeError
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, test.status, failure.Status)
				assert.ErrorContains(t, err, test.says)
				assert.ErrorContains(t, err, fmt.Sprintf("(token of issuer %q, subject %q)", from.Issuer, from.Subject))
				assert.Equal(t, test.asked == 1, time.Since(began) == 0)
			})
			assert.Equal(t, test.asked, asked.Load())
		})
	}
}

// After a success an endpoint that failed is asked as before, by many at once.
func TestASuccessEndsThePacingOfExchanges(t *testing.T) {
	var failing atomic.Bool
	bounds(t, func(r *http.Request) (*http.Response, error) {
		time.Sleep(20 * time.Millisecond)
		if failing.Load() {
			return responding(500, "")
		}
		return exchangedFor(t, sent(r))
	}, func(t *testing.T, source TokenSource) {
		ask := func(i int) error {
			_, err := source.Token(ContextWithToken(t.Context(), mint(t, claim("jti", i))))
			return err
		}
		failing.Store(true)
		require.Error(t, ask(0))
		failing.Store(false)
		require.NoError(t, ask(1))
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { assert.NoError(t, ask(2+i)) })
		}
		wg.Wait()
		assert.Equal(t, 20*time.Millisecond, time.Since(began))
	})
}

// These statuses are not about the token, so the exchange is tried again.
func TestStatusesThatMayPass(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503} {
		var asked atomic.Int32
		bounds(t, func(r *http.Request) (*http.Response, error) {
			if asked.Add(1) < 3 {
				return responding(status, "")
			}
			return exchangedFor(t, sent(r))
		}, func(t *testing.T, source TokenSource) {
			_, err := source.Token(RequestContext(request(mint(t))))
			assert.NoError(t, err, status)
		})
		assert.EqualValues(t, 3, asked.Load(), status)
	}
}

// A slow endpoint: the second attempt has all the time that is left.
func TestASlowExchange(t *testing.T) {
	bounds(t, func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(4500 * time.Millisecond):
			return exchangedFor(t, sent(r))
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}, func(t *testing.T, source TokenSource) {
		_, err := source.Token(RequestContext(request(mint(t))))
		assert.NoError(t, err)
	})
}

// Even an answer of an undocumented form can hold an exchanged token.
func TestNoPartOfATokenOfAnAnswerIsShown(t *testing.T) {
	exchanged := join(`{"alg":"RS256","kid":"k1","typ":"JWT"}`, `{"sub":"owner:acme:project:web"}`, "a signature that is as long as that of a test")
	for _, status := range []int{201, 203, 400, 403, 500, 502} {
		for _, body := range []string{`{"token":"` + exchanged + `"}`, `{"error":"` + exchanged + `"}`, exchanged, "<p>" + exchanged} {
			bounds(t, func(*http.Request) (*http.Response, error) { return responding(status, body) }, func(t *testing.T, source TokenSource) {
				_, err := source.Token(RequestContext(request(mint(t))))
				require.Error(t, err)
				for _, part := range strings.Split(exchanged, ".") {
					for i := 0; i+16 <= len(part); i++ {
						require.NotContains(t, err.Error(), part[i:i+16], body)
					}
				}
			})
		}
	}
}

// exchangeOver is an exchange with a client of the user's own. Answer gets each
// connection once a request has come.
func exchangeOver(t *testing.T, answer func(net.Conn)) TokenSource {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			answer(c)
		}
	}()
	return Exchange(FromRequest(), exchangeAudience, func(o *ExchangeOptions) {
		o.Endpoint, o.HTTPClient = "http://"+l.Addr().String(), &http.Client{Transport: &http.Transport{}}
	})
}

// An answer that is malformed, to a client of the user's own, can hold an exchanged
// token too.
func TestMalformedExchangeAnswersAreNotQuoted(t *testing.T) {
	const secret = "SECRETSECRETSECRET"
	for name, sends := range map[string]string{
		"no status line": secret + "\r\n\r\n",
		"a bad status":   "HTTP/1.1 " + secret + "\r\n\r\n",
		"a bad header":   "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n",
		"a bad trailer":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + secret + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			source := exchangeOver(t, func(c net.Conn) {
				_, _ = io.WriteString(c, sends)
				c.Close()
			})
			_, err := source.Token(ContextWithToken(t.Context(), mint(t)))
			require.ErrorContains(t, err, "what the server sent is not an HTTP answer")
			require.NotContains(t, err.Error(), secret)
		})
	}
}

// A middlebox that answers 101 for a while. The body of that ends with the
// connection alone, whatever the context says.
func TestASwitchOfProtocolsLeavesNothingBehind(t *testing.T) {
	var healthy atomic.Bool
	raw := mint(t)
	good, err := exchangedFor(t, raw)
	require.NoError(t, err)
	body, err := io.ReadAll(good.Body)
	require.NoError(t, err)
	source := exchangeOver(t, func(c net.Conn) {
		if healthy.Load() {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			c.Close()
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
	})
	ctx := ContextWithToken(t.Context(), raw)
	for range 2 {
		_, err := source.Token(ctx)
		require.ErrorContains(t, err, "status 101")
	}
	healthy.Store(true)
	_, err = source.Token(ctx)
	require.NoError(t, err)
}
