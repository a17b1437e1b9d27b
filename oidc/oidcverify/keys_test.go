//go:build go1.25

package oidcverify_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// timed runs f under fake time with an issuer in memory.
func timed(t *testing.T, f func(t *testing.T, issuer *oidctest.Server, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = true })
		defer issuer.Close()
		f(t, issuer, newWire(issuer))
		time.Sleep(time.Minute) // fetches under way end
		issuer.Client().CloseIdleConnections()
	})
}

// long mints a token that outlives the test.
func long(c *oidctest.Claims) { c.Expiry = time.Now().Add(1000 * time.Hour) }

// An issuer that accepts and stays silent: everyone's Verify ends with their
// context, or in ten seconds.
func TestASilentIssuerHoldsNobody(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		w.set(silent)
		v, raw := over(issuer, w), issuer.Mint()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				began := time.Now()
				_, err := v.Verify(ctx, raw)
				assert.ErrorIs(t, err, oidcverify.ErrUnavailable)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, oidcverify.ErrRefused)
				assert.Equal(t, time.Second, time.Since(began))
			})
			wg.Go(func() {
				began := time.Now()
				_, err := v.Verify(context.Background(), raw)
				assert.ErrorIs(t, err, oidcverify.ErrUnavailable)
				assert.Less(t, time.Since(began), 10*time.Second)
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, w.fetches(discovery), 2, "all wait for one fetch, which tries twice")
	})
}

// One key fetch that hangs is not the end of rotation.
func TestOneHungFetch(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		v := over(issuer, w)
		_, err := v.Verify(t.Context(), issuer.Mint())
		require.NoError(t, err)
		issuer.RotateKey()
		var once atomic.Bool
		w.set(func(r *http.Request) (*http.Response, error) {
			if once.CompareAndSwap(false, true) {
				return silent(r)
			}
			return w.next.RoundTrip(r)
		})
		_, err = v.Verify(t.Context(), issuer.Mint())
		assert.NoError(t, err, "the fetch has another try on another connection")
	})
}

// Whatever happens to the fetch for a new key, the next is 30 s away at most.
func TestRotationIsSeenWithinTheCoolDown(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		v := over(issuer, w)
		_, err := v.Verify(t.Context(), issuer.Mint())
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), issuer.MintUnknownKey())
		require.ErrorIs(t, err, oidcverify.ErrRefused, "the keys were fetched for this very token")
		began := time.Now()
		issuer.RotateKey()
		raw := issuer.Mint()
		for {
			if _, err = v.Verify(t.Context(), raw); err == nil {
				break
			}
			require.ErrorIs(t, err, oidcverify.ErrUnavailable)
			require.NotErrorIs(t, err, oidcverify.ErrRefused)
			require.Less(t, time.Since(began), time.Minute)
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, time.Since(began), 30*time.Second)
		assert.Equal(t, 3, w.fetches(jwks))
		assert.Equal(t, 3, w.fetches(discovery), "the keys may have moved with the new one")
	})
}

var flood = flag.Int("flood", 1000, "forged tokens a second in TestFlood")

// TestFlood has forged tokens beside good ones for ten seconds, of every kind
// that made a fetch once. The figure of the documentation is from
// `go test -v -run TestFlood$ . -args -flood 10000`.
func TestFlood(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		v := over(issuer, w)
		good := issuer.Mint()
		_, err := v.Verify(t.Context(), good)
		require.NoError(t, err)
		template := issuer.Mint()
		forged := []func(n int) string{
			func(int) string { return issuer.MintForged() },
			func(n int) string { return withHeader(template, fmt.Sprintf(`{"alg":"RS256","kid":"x%d"}`, n)) },
			func(n int) string { return withHeader(template, `{"alg":"fetching keys","kid":"x"}`) },
		}
		forged[0](0) // mints the stranger's key
		cheap := forged[0](0)
		forged[0] = func(int) string { return cheap }

		const tick = 10 * time.Millisecond
		perTick := max(*flood/100, 1)
		var refused, unavailable, goods int
		for n := 0; n < int(10*time.Second/tick); n++ {
			for i := range perTick {
				kind := (n*perTick + i) % len(forged)
				_, err := v.Verify(t.Context(), forged[kind](n*perTick+i))
				switch {
				case errors.Is(err, oidcverify.ErrUnavailable):
					unavailable++
					require.Equal(t, 1, kind, "only an unknown key is ever unsure")
				default:
					refused++
					require.ErrorIs(t, err, oidcverify.ErrRefused)
				}
			}
			began := time.Now()
			_, err := v.Verify(t.Context(), good)
			require.NoError(t, err)
			require.Zero(t, time.Since(began))
			goods++
			time.Sleep(tick)
		}
		assert.LessOrEqual(t, w.fetches(jwks), 2)
		assert.LessOrEqual(t, w.fetches(discovery), 2)
		t.Logf("%d forged refused, %d unavailable, %d good taken, %d fetches of keys", refused, unavailable, goods, w.fetches(jwks))
	})
}

// All at once, of a verifier that has no keys yet.
func TestFloodAtAColdStart(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		v := over(issuer, w)
		w.set(func(r *http.Request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			return w.next.RoundTrip(r)
		})
		template, forged := issuer.Mint(), issuer.MintForged()
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				_, err := v.Verify(t.Context(), withHeader(template, fmt.Sprintf(`{"alg":"RS256","kid":"x%d"}`, i)))
				assert.Error(t, err)
			})
			wg.Go(func() {
				_, err := v.Verify(t.Context(), template)
				assert.NoError(t, err)
			})
			wg.Go(func() {
				_, err := v.Verify(t.Context(), forged)
				assert.ErrorIs(t, err, oidcverify.ErrRefused)
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, w.fetches(jwks), 2)
	})
}

// A flood while the issuer is down and no keys are there.
func TestAFloodDoesNotHammerAnIssuerThatFails(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		v, raw := over(issuer, w), issuer.Mint()
		w.set(w.answering(500, nil, map[string]io.Reader{discovery: strings.NewReader("secret of the server")}))
		for range 3000 {
			_, err := v.Verify(t.Context(), raw)
			require.ErrorIs(t, err, oidcverify.ErrUnavailable)
			require.ErrorContains(t, err, "cannot reach the issuer")
			require.NotContains(t, err.Error(), "secret of the server")
			time.Sleep(10 * time.Millisecond)
		}
		assert.Equal(t, 5, w.fetches(discovery), "at 0, 1, 3, 7 and 15 s")
		w.set(nil)
		time.Sleep(30 * time.Second)
		_, err := v.Verify(t.Context(), raw)
		assert.NoError(t, err)
	})
}

// The fetch is nobody's: one caller's leaving cancels it for nobody, and it
// carries nothing of the caller's.
func TestACallerLeaves(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		type key struct{}
		w.set(func(r *http.Request) (*http.Response, error) {
			assert.Nil(t, r.Context().Value(key{}))
			time.Sleep(time.Second)
			return w.next.RoundTrip(r)
		})
		v, raw := over(issuer, w), issuer.Mint()
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "x"))
		left := errors.New("the caller hung up")
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := v.Verify(ctx, raw)
			assert.ErrorIs(t, err, oidcverify.ErrUnavailable)
			assert.ErrorIs(t, err, left)
		})
		synctest.Wait()
		wg.Go(func() {
			_, err := v.Verify(context.Background(), raw)
			assert.NoError(t, err)
		})
		synctest.Wait()
		cancel(left)
		wg.Wait()
		assert.Equal(t, 1, w.fetches(jwks))
		_, err := v.Verify(ctx, raw)
		assert.NoError(t, err, "with keys in hand, nothing is waited for")
	})
}

// answer returns what an issuer answers with to every request, and to those for
// its keys if only is set.
func answer(w *wire, only string, status int, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, only) {
			return w.next.RoundTrip(r)
		}
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

// Keys serve through an outage, and are looked up in the background. An answer
// that is no set of keys is an outage too.
func TestOutage(t *testing.T) {
	for name, fault := range map[string]func(*wire) func(*http.Request) (*http.Response, error){
		"silent": func(*wire) func(*http.Request) (*http.Response, error) { return silent },
		"refuses": func(*wire) func(*http.Request) (*http.Response, error) {
			return func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }
		},
		"fails":          func(w *wire) func(*http.Request) (*http.Response, error) { return answer(w, "", 500, `{"keys":[]}`) },
		"not JSON":       func(w *wire) func(*http.Request) (*http.Response, error) { return answer(w, jwks, 200, "<html>") },
		"no keys member": func(w *wire) func(*http.Request) (*http.Response, error) { return answer(w, jwks, 200, "{}") },
		"moved to none":  func(w *wire) func(*http.Request) (*http.Response, error) { return answer(w, discovery, 200, "{}") },
	} {
		t.Run(name, func(t *testing.T) {
			timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
				v, raw := over(issuer, w), issuer.Mint(long)
				_, err := v.Verify(t.Context(), raw)
				require.NoError(t, err)
				start, before := time.Now(), w.fetches(jwks)+w.fetches(discovery)
				if name == "moved to none" { // the keys are fetched until the address is read again
					start = start.Add(45 * time.Minute)
				}
				w.set(fault(w))
				for time.Since(start) < 12*time.Hour-time.Minute {
					began := time.Now()
					_, err := v.Verify(t.Context(), raw)
					require.NoError(t, err, time.Since(start))
					if time.Since(start) < time.Hour {
						require.Zero(t, time.Since(began))
					}
					require.LessOrEqual(t, time.Since(began), time.Second)
					time.Sleep(20 * time.Second)
				}
				fetches := w.fetches(jwks) + w.fetches(discovery) - before
				assert.Less(t, fetches, 2*12*60*2+2, "two a minute, tried twice")
				time.Sleep(12 * time.Minute)
				_, err = v.Verify(t.Context(), raw)
				require.ErrorIs(t, err, oidcverify.ErrUnavailable)
				w.set(nil)
				time.Sleep(time.Minute)
				_, err = v.Verify(t.Context(), raw)
				assert.NoError(t, err)
			})
		})
	}
}

// Keys that the issuer withdrew stop verifying: within the time of a background
// refresh where there is traffic, and at once for an instance that slept.
func TestWithdrawnKeys(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		v, raw := over(issuer, w), issuer.Mint(long)
		_, err := v.Verify(t.Context(), raw)
		require.NoError(t, err)
		issuer.RotateKey()
		issuer.DropOldKeys()
		time.Sleep(6 * time.Minute)
		began := time.Now()
		_, err = v.Verify(t.Context(), raw)
		assert.NoError(t, err, "it starts the refresh and does not wait")
		assert.Zero(t, time.Since(began))
		synctest.Wait()
		_, err = v.Verify(t.Context(), raw)
		require.Error(t, err)

		raw = issuer.Mint(long)
		_, err = v.Verify(t.Context(), raw)
		require.NoError(t, err)
		issuer.RotateKey()
		issuer.DropOldKeys()
		time.Sleep(2 * time.Hour)
		_, err = v.Verify(t.Context(), raw)
		assert.ErrorIs(t, err, oidcverify.ErrRefused)
	})
}

// A set of keys that lacks the key, or has it for something else, is the issuer's
// word. The token is not trusted any longer than until the next fetch, also if no
// other key is left; it is not refused for good either, for a set without any
// usable key may be a mistake.
func TestWithdrawnWithoutAnother(t *testing.T) {
	for name, change := range map[string]func(set string) string{
		"empty":        func(string) string { return `{"keys":[]}` },
		"another kind": func(string) string { return `{"keys":[{"kty":"EC","kid":"mrk-1","crv":"P-256","x":"AA","y":"AA"}]}` },
		"for encryption": func(set string) string {
			return strings.Replace(set, `"use":"sig"`, `"use":"enc"`, 1)
		},
		"to encrypt": func(set string) string {
			return strings.Replace(set, `"use":"sig"`, `"key_ops":["encrypt"]`, 1)
		},
		"for RS512": func(set string) string { return strings.Replace(set, `"RS256"`, `"RS512"`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
				v, raw := over(issuer, w), issuer.Mint(long)
				_, err := v.Verify(t.Context(), raw)
				require.NoError(t, err)
				set := string(document(issuer, jwks))
				changed := change(set)
				require.NotEqual(t, set, changed)
				w.set(answer(w, jwks, 200, changed))
				time.Sleep(6 * time.Minute)
				_, err = v.Verify(t.Context(), raw)
				require.NoError(t, err, "it starts the fetch and does not wait")
				synctest.Wait()
				for range 100 {
					_, err = v.Verify(t.Context(), raw)
					require.ErrorIs(t, err, oidcverify.ErrUnavailable)
					require.ErrorContains(t, err, "is an RSA key")
					time.Sleep(100 * time.Millisecond)
				}
				assert.LessOrEqual(t, w.fetches(jwks), 2+4, "after 1, 2, 4 and 8 s")
				w.set(nil)
				time.Sleep(30 * time.Second)
				_, err = v.Verify(t.Context(), raw)
				assert.NoError(t, err, "published again")
			})
		})
	}
}

// However many wait for a key that may be new, their number is bounded, and no
// caller whose key is known waits.
func TestWaitersAreBounded(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		v, good := over(issuer, w), issuer.Mint(long)
		_, err := v.Verify(t.Context(), good)
		require.NoError(t, err)
		unknown := withHeader(good, `{"alg":"RS256","kid":"x"}`)
		w.set(silent)
		var wg sync.WaitGroup
		var waited, turnedAway atomic.Int32
		for range 20_000 {
			wg.Go(func() {
				began := time.Now()
				_, err := v.Verify(t.Context(), unknown)
				assert.ErrorIs(t, err, oidcverify.ErrUnavailable)
				if time.Since(began) == 0 {
					turnedAway.Add(1)
					assert.ErrorContains(t, err, "4096 others wait")
				} else {
					waited.Add(1)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		_, err = v.Verify(t.Context(), good)
		require.NoError(t, err)
		require.Zero(t, time.Since(began))
		wg.Wait()
		assert.EqualValues(t, 4096, waited.Load())
		assert.EqualValues(t, 20_000-4096, turnedAway.Load())

		// Those who leave make room.
		time.Sleep(time.Minute)
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			for range 4096 {
				wg.Go(func() {
					_, err := v.Verify(ctx, unknown)
					assert.ErrorIs(t, err, context.Canceled)
				})
			}
			synctest.Wait()
			cancel()
			wg.Wait()
		}
	})
}

// The ordinary day: an instance that has no keys yet, and thousands of callers.
func TestManyCallersAtAColdStart(t *testing.T) {
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		w.set(func(r *http.Request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			return w.next.RoundTrip(r)
		})
		v, raw := over(issuer, w), issuer.Mint()
		began := time.Now()
		var wg sync.WaitGroup
		for range 4000 {
			wg.Go(func() {
				_, err := v.Verify(t.Context(), raw)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, 200*time.Millisecond, time.Since(began), "two requests, for all")
		assert.Equal(t, 1, w.fetches(jwks))
	})
}

// A client that ignores its context, forever or with a panic, takes nobody down.
func TestAClientThatMisbehaves(t *testing.T) {
	t.Run("never returns", func(t *testing.T) {
		timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
			release := make(chan struct{})
			var under, most atomic.Int32
			w.set(func(r *http.Request) (*http.Response, error) {
				if n := under.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer under.Add(-1)
				<-release
				return w.next.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
			})
			v, raw := over(issuer, w), issuer.Mint()
			before := runtime.NumGoroutine()
			var err error
			for range 200 {
				began := time.Now()
				_, err = v.Verify(context.Background(), raw)
				require.ErrorIs(t, err, oidcverify.ErrUnavailable)
				require.Less(t, time.Since(began), 10*time.Second)
				time.Sleep(time.Second)
			}
			assert.ErrorContains(t, err, "has not returned from 4 calls")
			assert.EqualValues(t, 4, most.Load())
			assert.LessOrEqual(t, runtime.NumGoroutine(), before+4)
			close(release)
			w.set(nil)
			time.Sleep(time.Minute)
			_, err = v.Verify(t.Context(), raw)
			assert.NoError(t, err)
		})
	})
	for name, end := range map[string]func(){"panics": func() { panic("secret") }, "ends its goroutine": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
				w.set(func(*http.Request) (*http.Response, error) { end(); return nil, nil })
				v := over(issuer, w)
				_, err := v.Verify(t.Context(), issuer.Mint())
				require.ErrorIs(t, err, oidcverify.ErrUnavailable)
				assert.NotContains(t, err.Error(), "secret")
				w.set(nil)
				time.Sleep(time.Second)
				_, err = v.Verify(t.Context(), issuer.Mint())
				assert.NoError(t, err)
			})
		})
	}
}

// drip is a body of which a byte comes each second.
type drip struct{ ctx context.Context }

// Read gives a byte.
func (d drip) Read(p []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	}
}

// What an issuer, or whoever stands in its place, may answer. None of it
// verifies a token, none is taken for a fault of the token, none takes long.
func TestHostileDocuments(t *testing.T) {
	redirect := http.Header{"Location": {"https://evil.example/.well-known/jwks"}}
	edit := func(change func(m map[string]any)) func(*oidctest.Server) []byte {
		return func(issuer *oidctest.Server) []byte {
			var m map[string]any
			if err := json.Unmarshal(document(issuer, discovery), &m); err != nil {
				panic(err)
			}
			change(m)
			b, _ := json.Marshal(m)
			return b
		}
	}
	text := func(s string) func(*oidctest.Server) []byte {
		return func(*oidctest.Server) []byte { return []byte(s) }
	}
	cases := map[string]struct {
		status int
		name   string
		body   func(*oidctest.Server) []byte
		says   string
	}{
		"discovery of another issuer": {200, discovery, edit(func(m map[string]any) { m["issuer"] = "https://evil.example\n" + strings.Repeat("x", 1000) }), `is of the issuer "https://evil.example xx`},
		"keys in a file":              {200, discovery, edit(func(m map[string]any) { m["jwks_uri"] = "file:///etc/passwd" }), "not an https address"},
		"keys nowhere":                {200, discovery, edit(func(m map[string]any) { delete(m, "jwks_uri") }), "not an https address"},
		"keys at no host":             {200, discovery, edit(func(m map[string]any) { m["jwks_uri"] = "https:///jwks" }), "not an https address"},
		"keys at nonsense":            {200, discovery, edit(func(m map[string]any) { m["jwks_uri"] = "https://\x7f" }), "not an https address"},
		"discovery that is a list":    {200, discovery, text("[]"), "not the JSON"},
		"discovery that redirects":    {302, discovery, text(""), "status 302"},
		"keys that redirect":          {307, jwks, text(""), "status 307"},
		"keys that are HTML":          {200, jwks, text("<html>secret of the server"), "not the JSON"},
		"keys that are null":          {200, jwks, text("null"), "not a JSON object"},
		"keys that are not listed":    {200, jwks, text(`{"keys":null}`), "no list of keys"},
		"no member keys":              {200, jwks, text(`{"Keys":[]}`), "no list of keys"},
		"keys twice":                  {200, jwks, text(`{"keys":[],"keys":[]}`), `the name "keys" twice`},
		"more keys than count":        {200, jwks, text(`{"keys":[` + strings.Repeat("1,", 1000) + `1]}`), "more than 1000 items"},
		"issuer in another case":      {200, discovery, edit(func(m map[string]any) { m["Issuer"] = m["issuer"]; delete(m, "issuer") }), `is of the issuer ""`},
		"issuer twice":                {200, discovery, text(`{"issuer":"http://oidc.vercel.test/acme","issuer":"https://evil.example","jwks_uri":"http://oidc.vercel.test/acme/.well-known/jwks"}`), `the name "issuer" twice`},
		"no keys":                     {200, jwks, text(`{"keys":[]}`), "none of its 0 keys"},
		"keys that are numbers":       {200, jwks, text(`{"keys":[1,"x",null,{},[]]}`), "none of its 5 keys"},
		"deep nesting":                {200, jwks, text(strings.Repeat("[", 200_000)), "not the JSON"},
		"huge":                        {200, jwks, text(`{"keys":[` + strings.Repeat(" ", 300_000) + `]}`), "longer than 262144 bytes"},
		"a symmetric key":             {200, jwks, text(`{"keys":[{"kty":"oct","kid":"mrk-1","k":"c2VjcmV0"}]}`), "none of its 1 keys"},
		"status 500":                  {500, jwks, text("secret of the server"), "status 500"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
				w.set(w.answering(c.status, redirect, map[string]io.Reader{c.name: bytes.NewReader(c.body(issuer))}))
				began := time.Now()
				_, err := over(issuer, w).Verify(t.Context(), issuer.Mint())
				require.ErrorIs(t, err, oidcverify.ErrUnavailable)
				assert.NotErrorIs(t, err, oidcverify.ErrRefused)
				assert.ErrorContains(t, err, c.says)
				assert.NotContains(t, err.Error(), "secret of the server")
				assert.Less(t, len(err.Error()), 700)
				assert.Zero(t, time.Since(began))
				assert.LessOrEqual(t, w.fetches(discovery)+w.fetches(jwks), 2, "and no redirect is followed")
			})
		})
	}
	t.Run("keys without TLS", func(t *testing.T) {
		timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
			const secure = "https://oidc.vercel.test/acme"
			w.set(w.answering(200, nil, map[string]io.Reader{discovery: strings.NewReader(`{"issuer":"` + secure + `","jwks_uri":"http://oidc.vercel.test/acme/.well-known/jwks"}`)}))
			v := must(oidcverify.New(secure, issuer.Audience(), open, func(o *oidcverify.Options) { o.HTTPClient = &http.Client{Transport: w} }))
			_, err := v.Verify(t.Context(), issuer.Mint(func(c *oidctest.Claims) { c.Issuer = secure }))
			require.ErrorIs(t, err, oidcverify.ErrUnavailable)
			assert.ErrorContains(t, err, "not an https address")
			assert.Zero(t, w.fetches(jwks))
		})
	})
	t.Run("endless", func(t *testing.T) {
		timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
			body := &endless{}
			w.set(w.answering(200, nil, map[string]io.Reader{jwks: body}))
			_, err := over(issuer, w).Verify(t.Context(), issuer.Mint())
			require.ErrorIs(t, err, oidcverify.ErrUnavailable)
			assert.ErrorContains(t, err, "longer than")
			assert.Less(t, body.read, 2<<20)
		})
	})
	t.Run("dripping", func(t *testing.T) {
		timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
			w.set(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: io.NopCloser(drip{r.Context()}), Request: r}, nil
			})
			began := time.Now()
			_, err := over(issuer, w).Verify(t.Context(), issuer.Mint())
			require.ErrorIs(t, err, oidcverify.ErrUnavailable)
			assert.Less(t, time.Since(began), 10*time.Second)
		})
	})
}

// Keys that are of no use, or not safe, are passed over; the good one among
// them serves.
func TestAGoodKeyAmongBad(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	key := func(k any, id, use, alg string) json.RawMessage {
		b, err := jose.JSONWebKey{Key: k, KeyID: id, Use: use, Algorithm: alg}.MarshalJSON()
		require.NoError(t, err)
		return b
	}
	timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		require.NoError(t, json.Unmarshal(document(issuer, jwks), &set))
		good := set.Keys[0]
		// Signed by a stranger's key that is published, but not for this.
		forged := issuer.MintForged()
		set.Keys = []json.RawMessage{
			json.RawMessage(`{"kty":"RSA","kid":"mrk-1","n":"!","e":"AQAB"}`),
			json.RawMessage(`{"kty":"new","kid":"mrk-1"}`),
			json.RawMessage(`{"kty":"RSA","kid":"mrk-1"}`),
			json.RawMessage(`7`),
			key(curve.Public(), "mrk-1", "sig", "ES256"),
			key([]byte("secret"), "mrk-1", "sig", "HS256"),
			key(small.Public(), "mrk-1", "sig", "RS256"),
			key(stranger, "mrk-1", "sig", "RS256"), // private
			key(stranger.Public(), "mrk-1", "enc", ""),
			key(stranger.Public(), "mrk-1", "sig", "RS512"),
			key(stranger.Public(), "", "sig", "RS256"),
			key(stranger.Public(), "mrk-1", "sig", "RS256"), // two of one ID
			good,
		}
		for n := range 300 {
			set.Keys = append(set.Keys, key(stranger.Public(), fmt.Sprintf("other-%d", n), "", ""), key(stranger.Public(), "mrk-1", "", ""))
		}
		body, err := json.Marshal(set)
		require.NoError(t, err)
		w.set(w.answering(200, nil, map[string]io.Reader{jwks: bytes.NewReader(body)}))
		v := over(issuer, w)
		_, err = v.Verify(t.Context(), issuer.Mint())
		assert.NoError(t, err)
		_, err = v.Verify(t.Context(), forged)
		assert.ErrorIs(t, err, oidcverify.ErrRefused)
		assert.Equal(t, 1, w.fetches(jwks))
	})
}

// Two verifiers of two issuers whose keys have one ID do not mix.
func TestTwoIssuers(t *testing.T) {
	one, two := oidctest.NewServer(), oidctest.NewServer(func(o *oidctest.Options) { o.Team = "other" })
	defer one.Close()
	defer two.Close()
	two.RotateKey()
	two.DropOldKeys()
	v := must(oidcverify.New(one.Issuer(), one.Audience(), open))
	_, err := v.Verify(t.Context(), one.Mint())
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), two.Mint())
	require.ErrorIs(t, err, oidcverify.ErrRefused)
	_, err = v.Verify(t.Context(), two.Mint(func(c *oidctest.Claims) { c.Issuer, c.Audience = one.Issuer(), one.Audience() }))
	require.ErrorIs(t, err, oidcverify.ErrRefused)
	w := must(oidcverify.New(two.Issuer(), two.Audience(), open))
	_, err = w.Verify(t.Context(), two.Mint())
	assert.NoError(t, err)
}

// A key of the issuer's that is not for RS256 signatures, or not safe for them,
// verifies none that was made with it.
func TestUnfitKeysVerifyNothing(t *testing.T) {
	private := func(bits int) *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		require.NoError(t, err)
		return k
	}
	normal, small := private(2048), private(1024)
	other := jose.JSONWebKey{Key: private(2048).Public(), KeyID: "k"}
	cases := map[string]struct {
		signer    *rsa.PrivateKey
		published []jose.JSONWebKey
		good      bool
	}{
		"fit":                   {normal, []jose.JSONWebKey{{Key: normal.Public(), KeyID: "k"}}, true},
		"fit, and fully said":   {normal, []jose.JSONWebKey{{Key: normal.Public(), KeyID: "k", Use: "sig", Algorithm: "RS256"}}, true},
		"fit, the fourth":       {normal, []jose.JSONWebKey{other, other, other, {Key: normal.Public(), KeyID: "k"}}, true},
		"the fifth of one ID":   {normal, []jose.JSONWebKey{other, other, other, other, {Key: normal.Public(), KeyID: "k"}}, false},
		"another ID":            {normal, []jose.JSONWebKey{{Key: normal.Public(), KeyID: "K"}}, false},
		"no ID":                 {normal, []jose.JSONWebKey{{Key: normal.Public()}}, false},
		"for encryption":        {normal, []jose.JSONWebKey{{Key: normal.Public(), KeyID: "k", Use: "enc"}}, false},
		"for RS512":             {normal, []jose.JSONWebKey{{Key: normal.Public(), KeyID: "k", Algorithm: "RS512"}}, false},
		"of 1024 bits":          {small, []jose.JSONWebKey{{Key: small.Public(), KeyID: "k"}}, false},
		"private, given away":   {normal, []jose.JSONWebKey{{Key: normal, KeyID: "k"}}, false},
		"a secret in its place": {normal, []jose.JSONWebKey{{Key: []byte("secret"), KeyID: "k"}}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
				var set jose.JSONWebKeySet
				require.NoError(t, json.Unmarshal(document(issuer, jwks), &set))
				set.Keys = append(set.Keys, c.published...)
				body, err := json.Marshal(set)
				require.NoError(t, err)
				w.set(w.answering(200, nil, map[string]io.Reader{jwks: bytes.NewReader(body)}))

				unsigned, err := oidc.ParseUnverified(issuer.Mint())
				require.NoError(t, err)
				var claims json.RawMessage
				require.NoError(t, unsigned.Claims(&claims))
				signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: c.signer, KeyID: "k"}}, nil)
				require.NoError(t, err)
				signed, err := signer.Sign(claims)
				require.NoError(t, err)
				raw, err := signed.CompactSerialize()
				require.NoError(t, err)
				_, err = over(issuer, w).Verify(t.Context(), raw)
				if c.good {
					assert.NoError(t, err)
				} else {
					assert.ErrorIs(t, err, oidcverify.ErrRefused)
				}
			})
		})
	}
}

// The keys move to another address. Whether the old one goes on answering or not,
// the new one is found: within an hour, at once where a token names a new key, and
// after one failure where the old address is gone.
func TestTheKeysMove(t *testing.T) {
	for name, c := range map[string]struct {
		status int                                                                               // of the old address
		cause  func(t *testing.T, v *oidcverify.Verifier, issuer *oidctest.Server, known string) // what makes a fetch
	}{
		"the old one answers": {200, func(t *testing.T, v *oidcverify.Verifier, _ *oidctest.Server, known string) {
			for range 60 {
				_, err := v.Verify(t.Context(), known)
				require.NoError(t, err)
				time.Sleep(time.Minute)
			}
		}},
		"and a token names a new key": {200, func(t *testing.T, v *oidcverify.Verifier, issuer *oidctest.Server, _ string) {
			_, err := v.Verify(t.Context(), issuer.MintUnknownKey())
			require.ErrorIs(t, err, oidcverify.ErrRefused)
		}},
		"the old one is gone": {404, func(t *testing.T, v *oidcverify.Verifier, _ *oidctest.Server, known string) {
			for range 4 {
				time.Sleep(3 * time.Minute)
				_, err := v.Verify(t.Context(), known)
				require.NoError(t, err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			timed(t, func(t *testing.T, issuer *oidctest.Server, w *wire) {
				v, raw := over(issuer, w), issuer.Mint(long)
				_, err := v.Verify(t.Context(), raw)
				require.NoError(t, err)
				keys, moved, asked := document(issuer, jwks), issuer.URL+"/keys", 0
				w.set(func(r *http.Request) (*http.Response, error) {
					body, status := string(keys), c.status
					switch {
					case strings.HasSuffix(r.URL.Path, discovery):
						body, status = `{"issuer":"`+issuer.Issuer()+`","jwks_uri":"`+moved+`"}`, 200
					case r.URL.Path == "/keys":
						asked, status = asked+1, 200
					}
					return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
				})
				c.cause(t, v, issuer, raw)
				synctest.Wait()
				assert.Positive(t, asked)
			})
		})
	}
}
