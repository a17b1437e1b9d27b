//go:build go1.25

package vercelaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/refresh"
	"github.com/vercelaws/vercelaws/ststest"
)

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
		w := newWorld(t, true, func(o *ststest.Options) { o.Now = clock })
		defer w.close()
		p := NewProvider(testRole, withClient(w.sts.STS()))
		ctx := fromRequest(w.issuer.Mint(func(c *oidctest.Claims) { c.IssuedAt, c.Expiry = clock(), time.Now().Add(2*time.Hour) }))
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
		w := newWorld(t, true, func(o *ststest.Options) { o.Now = func() time.Time { return time.Now().Add(behind) } })
		defer w.close()
		p := NewProvider(testRole, withClient(w.sts.STS()))
		ctx := fromRequest(w.issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(100 * time.Hour) }))
		for range 3 * 60 {
			creds, err := p.Retrieve(ctx)
			require.NoError(t, err)
			session, ok := w.sts.Session(creds.AccessKeyID)
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
		w := newWorld(t, true, func(o *ststest.Options) { o.Now = func() time.Time { return time.Now().Add(14 * time.Minute) } })
		defer w.close()
		w.sts.SetFault(ststest.Always(ststest.Fault{Lifetime: -time.Minute}))
		p := NewProvider(testRole, withClient(w.sts.STS()))
		ctx := fromRequest(w.issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(time.Hour) }))
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
			inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
				var mu sync.Mutex
				var calls []time.Time
				w.sts.SetFault(func(c ststest.Call) ststest.Fault {
					mu.Lock()
					defer mu.Unlock()
					calls = append(calls, time.Now())
					return fault
				})
				raw := w.issuer.Mint()
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
}

// What a request carries beside its token goes no further than the request: no
// trace hook of it fires in a fetch, which others wait for and which may go on
// after the request.
func TestATraceHookNeverFires(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
		traced := func() context.Context {
			hook := func(string) { t.Error("a hook fired"); select {} }
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: hook}))
			r.Header.Set(oidc.Header, w.issuer.Mint())
			return oidc.RequestContext(r)
		}
		for range 2 {
			_, err := p.Retrieve(traced())
			require.NoError(t, err)
			time.Sleep(58 * time.Minute)
		}
		synctest.Wait()
		assert.Equal(t, 2, w.calls())
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
	inWorld(t, func(t *testing.T, w *world, _ *aws.CredentialsCache) {
		w.sts.SetFault(ststest.Always(ststest.Fault{Status: 503}))
		p := NewProvider(testRole, withClient(wrappedClient{w.sts.STS()}))
		raw := w.issuer.Mint()
		const seconds = 20
		for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			_, err := p.Retrieve(fromRequest(raw))
			require.Error(t, err)
		}
		assert.LessOrEqual(t, w.calls(), 3+2*(seconds+10), "the last fetch may take its ten seconds")
		assert.Greater(t, w.calls(), 20)
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
