//go:build go1.25

package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/pace"
	"github.com/vercelaws/vercelaws/oidc"
)

// deployed makes the process part of the deployment of a project and environment.
func deployed(t *testing.T, project, environment string) {
	t.Helper()
	isolate(t)
	t.Setenv("VERCEL_ENV", environment)
	t.Setenv("VERCEL_PROJECT_ID", project)
}

// names are the jti claims of the tokens that STS was shown.
func (f *fakeSTS) names(t *testing.T) []string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, raw := range f.tokens {
		names = append(names, jti(t, raw))
	}
	return names
}

func jti(t *testing.T, raw string) string {
	t.Helper()
	tok, err := oidc.ParseUnverified(raw)
	require.NoError(t, err)
	var claims struct{ JTI string }
	require.NoError(t, tok.Claims(&claims))
	return claims.JTI
}

func never(string) bool { return false }

// only has STS accept the tokens whose jti claim is good, and refuse the others.
func only(t *testing.T, good func(jti string) bool) func(context.Context, string) error {
	return func(_ context.Context, raw string) error {
		if good(jti(t, raw)) {
			return nil
		}
		return codeError("AccessDenied")
	}
}

// The whole order, as docs/tokens.md has it.
func TestTheOrderOfCandidates(t *testing.T) {
	isolate(t)
	file := filepath.Join(t.TempDir(), "token")
	synctest.Test(t, func(t *testing.T) {
		end := func(d time.Duration) func(map[string]any) { return claim("exp", time.Now().Add(d).Unix()) }
		long := end(100 * time.Hour)
		s := newFakeSTS()
		p := NewProvider(testRole, withClient(s), func(o *Options) {
			o.TokenSource = oidc.FirstOf(oidc.FromRequest(), oidc.FromFile(), oidc.FromEnv())
		})
		s.set(only(t, func(jti string) bool { return jti == "accepted" }))
		_, err := p.Retrieve(fromRequest(mint(t, "accepted", long)))
		require.NoError(t, err)
		// A given token is the only candidate, so that STS refuses just this one.
		refuse := func(raw string) {
			p.Invalidate()
			_, err := p.Retrieve(oidc.ContextWithToken(t.Context(), raw))
			require.Error(t, err)
		}
		long1, long2 := mint(t, "refused long ago", long), mint(t, "refused before that", long)
		lately1, lately2 := mint(t, "refused lately", long), mint(t, "refused just now", long)
		refuse(long2)
		time.Sleep(time.Second)
		refuse(long1)
		time.Sleep(time.Minute)
		refuse(lately1)
		time.Sleep(10 * time.Second)
		refuse(lately2)
		time.Sleep(2 * time.Second)
		s.set(only(t, never))
		forgetRequests()
		often, once, newest := mint(t, "often", long), mint(t, "once", long), mint(t, "newest", long)
		for range 2 {
			fromRequest(often)
			time.Sleep(time.Second)
		}
		fromRequest(once)
		for _, raw := range []string{lately2, lately1, long1, long2} {
			fromRequest(raw)
		}
		fromRequest(mint(t, "just expired", end(-2*time.Minute)))
		fromRequest(mint(t, "long expired", end(-6*time.Minute)))
		fromRequest(mint(t, "of another project", long, claim("project_id", "prj_2")))
		fromRequest(newest)
		require.NoError(t, os.WriteFile(file, []byte(mint(t, "file", long)), 0o600))
		t.Setenv("VERCEL_OIDC_TOKEN_FILE", file)
		t.Setenv("VERCEL_OIDC_TOKEN", mint(t, "variable", long))
		own := fromRequest(mint(t, "own", long))
		s.mu.Lock()
		s.tokens = nil
		s.mu.Unlock()
		_, err = p.Retrieve(own)
		require.Error(t, err)
		assert.Equal(t, []string{"own", "accepted",
			"often", "newest", "refused before that", "once", // by count, by newness, and the third turn
			"file", "variable",
			"refused long ago", "refused lately", "refused just now",
			"just expired"}, s.names(t))
	})
}

// For half a minute a refused token comes after all others, also the request's own.
func TestARefusedTokenComesLastForHalfAMinute(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.set(only(t, func(jti string) bool { return jti == "variable" }))
		p := NewProvider(testRole, withClient(s))
		t.Setenv("VERCEL_OIDC_TOKEN", mint(t, "variable"))
		refused := mint(t, "refused")
		ask := func(after time.Duration) []string {
			time.Sleep(after)
			s.mu.Lock()
			s.tokens = nil
			s.mu.Unlock()
			p.Invalidate()
			_, err := p.Retrieve(fromRequest(refused))
			require.NoError(t, err)
			return s.names(t)
		}
		assert.Equal(t, []string{"refused", "variable"}, ask(0))
		assert.Equal(t, []string{"variable"}, ask(30*time.Second-time.Nanosecond))
		assert.Equal(t, []string{"refused", "variable"}, ask(time.Nanosecond))
	})
}

// A variable's token that was refused lately is tried again, if it is the only one.
func TestTheOnlyTokenIsTriedAgain(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.set(only(t, never))
		p := NewProvider(testRole, withClient(s))
		t.Setenv("VERCEL_OIDC_TOKEN", mint(t, "variable"))
		_, err := p.Retrieve(t.Context())
		require.Error(t, err)
		s.set(nil) // the role was mended
		time.Sleep(2 * time.Second)
		_, err = p.Retrieve(t.Context())
		require.NoError(t, err)
	})
}

// A fetch that has run out of tokens waits 10 ms for a request that brings one.
func TestHowLongAnotherTokenIsWaitedFor(t *testing.T) {
	isolate(t)
	for _, test := range []struct {
		after time.Duration
		good  bool
	}{{10*time.Millisecond - time.Nanosecond, true}, {10*time.Millisecond + time.Nanosecond, false}} {
		synctest.Test(t, func(t *testing.T) {
			forgetRequests()
			s := newFakeSTS()
			s.set(only(t, func(jti string) bool { return jti == "good" }))
			p := NewProvider(testRole, withClient(s))
			first := fromRequest(mint(t, "bad"))
			go func() {
				time.Sleep(test.after)
				fromRequest(mint(t, "good"))
			}()
			_, err := p.Retrieve(first)
			assert.Equal(t, test.good, err == nil, "%s: %v", test.after, err)
			time.Sleep(time.Second)
		})
	}
}

// One token after the other may come meanwhile.
func TestTokensThatComeMeanwhile(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.set(only(t, func(jti string) bool { return jti == "good" }))
		p := NewProvider(testRole, withClient(s))
		first := fromRequest(mint(t, "first"))
		go func() {
			time.Sleep(5 * time.Millisecond) // half the wait
			fromRequest(mint(t, "second"))
			time.Sleep(10 * time.Millisecond)
			fromRequest(mint(t, "third"))
			time.Sleep(10 * time.Millisecond)
			fromRequest(mint(t, "good"))
		}()
		_, err := p.Retrieve(first)
		require.NoError(t, err)
		assert.Equal(t, []string{"first", "second", "third", "good"}, s.names(t))
	})
}

// Where one token alone was refused long ago, the third turn is for that one.
func TestTheThirdTurnIsForARefusedToken(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.set(only(t, never))
		p := NewProvider(testRole, withClient(s))
		_, err := p.Retrieve(fromRequest(mint(t, "refused")))
		require.Error(t, err)
		time.Sleep(time.Minute)
		for i := range 4 {
			fromRequest(mint(t, fmt.Sprint("new ", i)))
		}
		_, err = p.Retrieve(t.Context())
		require.Error(t, err)
		assert.Equal(t, "refused", s.names(t)[3])
	})
}

// A token that has just expired is borrowed by the same rule as others.
func TestAJustExpiredTokenOfAnotherIdentityIsNotBorrowed(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		p := NewProvider(testRole, withClient(s))
		_, err := p.Retrieve(fromRequest(mint(t, "own", claim("exp", time.Now().Add(time.Minute).Unix()))))
		require.NoError(t, err)
		for project, jti := range map[string]string{"prj_1": "same", "prj_2": "other"} {
			fromRequest(mint(t, jti, claim("project_id", project), claim("exp", time.Now().Add(time.Minute).Unix())))
		}
		time.Sleep(2 * time.Minute)
		p.Invalidate()
		s.set(only(t, never))
		_, err = p.Retrieve(t.Context())
		require.Error(t, err)
		assert.ElementsMatch(t, []string{"own", "own", "same"}, s.names(t))
	})
}

// A source of which the request stands behind the variable asks the variable
// first, and one without the request never borrows.
func TestTheSourceDecidesWhereRequestsStand(t *testing.T) {
	isolate(t)
	for _, c := range []struct {
		source oidc.TokenSource
		want   []string
	}{
		{oidc.FirstOf(oidc.FromEnv(), oidc.FromRequest()), []string{"variable", "own", "other"}},
		{oidc.FromEnv(), []string{"variable"}},
		{oidc.FromRequest(), []string{"own", "other"}},
		{oidc.Map(oidc.FirstOf(oidc.FromRequest(), oidc.FromEnv()), func(_ context.Context, tok oidc.Token) (oidc.Token, error) { return tok, nil }), []string{"own", "other", "variable"}},
		{oidc.TokenSourceFunc(oidc.FirstOf(oidc.FromRequest(), oidc.FromEnv()).Token), []string{"own"}},
		{unsealed{oidc.FromEnv()}, []string{"variable"}},
	} {
		forgetRequests()
		synctest.Test(t, func(t *testing.T) {
			t.Setenv("VERCEL_OIDC_TOKEN", mint(t, "variable"))
			s := newFakeSTS()
			s.set(only(t, never))
			p := NewProvider(testRole, withClient(s), func(o *Options) { o.TokenSource = c.source })
			fromRequest(mint(t, "other"))
			_, err := p.Retrieve(fromRequest(mint(t, "own")))
			require.Error(t, err)
			assert.Equal(t, c.want, s.names(t))
		})
	}
}

// Once STS has accepted a token, no further source is asked.
func TestNoSourceIsAskedAfterSuccess(t *testing.T) {
	isolate(t)
	asked := 0
	p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
		o.TokenSource = oidc.FirstOf(oidc.FromRequest(), oidc.TokenSourceFunc(func(context.Context) (oidc.Token, error) {
			asked++
			return oidc.Token{}, oidc.ErrNoToken
		}))
	})
	_, err := p.Retrieve(fromRequest(mint(t, "own")))
	require.NoError(t, err)
	assert.Zero(t, asked)
}

// unsealed is a source of a user's own that happens to have a method of the
// same name as ours.
type unsealed struct{ oidc.TokenSource }

func (unsealed) Leaves(struct{}) []leaf.Leaf[oidc.Token] { panic("it is not taken apart") }

// In a deployment a request's token of another project or environment is no
// candidate, whoever brings it, and the error names both.
func TestAForeignTokenIsNoCandidate(t *testing.T) {
	for name, foreign := range map[string]func(map[string]any){
		"prj_other": claim("project_id", "prj_other"),
		"preview":   claim("environment", "preview"),
	} {
		t.Run(name, func(t *testing.T) {
			deployed(t, "prj_1", "production")
			synctest.Test(t, func(t *testing.T) {
				s := newFakeSTS() // the role admits both
				p := NewProvider(testRole, withClient(s))
				_, err := p.Retrieve(fromRequest(mint(t, "foreign", foreign)))
				require.ErrorIs(t, err, oidc.ErrNoToken)
				assert.ErrorContains(t, err, name)
				assert.ErrorContains(t, err, map[string]string{"prj_other": `"prj_1"`, "preview": `"production"`}[name])
				assert.Zero(t, s.count())

				_, err = p.Retrieve(t.Context())
				require.Error(t, err, "nor is it borrowed")
				_, err = p.Retrieve(fromRequest(mint(t, "own")))
				require.NoError(t, err)
				p.Invalidate()
				_, err = p.Retrieve(fromRequest(mint(t, "foreign again", foreign)))
				require.NoError(t, err, "the accepted one serves it")
				assert.Equal(t, []string{"own", "own"}, s.names(t))
				_, err = p.Retrieve(oidc.ContextWithToken(t.Context(), mint(t, "given", foreign)))
				require.NoError(t, err)
			})
		})
	}
}

func TestACustomEnvironmentIsTheTargets(t *testing.T) {
	deployed(t, "prj_1", "preview")
	t.Setenv("VERCEL_TARGET_ENV", "staging")
	s := newFakeSTS()
	p := NewProvider(testRole, withClient(s))
	_, err := p.Retrieve(fromRequest(mint(t, "preview", claim("environment", "preview"))))
	require.ErrorContains(t, err, `this deployment is of "staging"`)
	_, err = p.Retrieve(fromRequest(mint(t, "staging", claim("environment", "staging"))))
	require.NoError(t, err)
}

// The tokens of file and variable are the operator's choice.
func TestTheOperatorsTokensAreNotJudged(t *testing.T) {
	deployed(t, "prj_1", "production")
	t.Setenv("VERCEL_OIDC_TOKEN", mint(t, "variable", claim("project_id", "prj_2")))
	_, err := NewProvider(testRole, withClient(newFakeSTS())).Retrieve(t.Context())
	assert.NoError(t, err)
}

// Forged tokens of another project at which an endpoint only fails cost good
// requests nothing.
func TestForeignTokensAreNotEvenExchanged(t *testing.T) {
	deployed(t, "prj_1", "production")
	synctest.Test(t, func(t *testing.T) {
		p, s := exchanging(t, newFakeSTS(), func(raw string) (int, string) {
			if !strings.HasPrefix(jti(t, raw), "good") {
				return 500, ""
			}
			return 200, ""
		})
		end := flood(p, 100*time.Millisecond, func(i int) string { return mint(t, fmt.Sprint(i), claim("project_id", "prj_2")) })
		for i := range 40 {
			start := time.Now()
			_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint("good", i))))
			require.NoError(t, err)
			require.Zero(t, time.Since(start))
			p.Invalidate()
			time.Sleep(100 * time.Millisecond)
		}
		end()
		assert.Positive(t, s.count())
	})
}

// A token of ContextWithToken is the only candidate, and is not lent.
func TestAGivenTokenIsTheOnlyOne(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		t.Setenv("VERCEL_OIDC_TOKEN", mint(t, "variable"))
		s := newFakeSTS()
		s.set(only(t, func(jti string) bool { return jti != "bad" }))
		p := NewProvider(testRole, withClient(s))
		fromRequest(mint(t, "other"))
		for _, bad := range []string{mint(t, "bad"), "garbage", mint(t, "dead", claim("exp", time.Now().Add(-time.Hour).Unix()))} {
			start := time.Now()
			_, err := p.Retrieve(oidc.ContextWithToken(t.Context(), bad))
			require.Error(t, err)
			assert.Zero(t, time.Since(start), "nothing is waited for")
		}
		assert.Equal(t, []string{"bad"}, s.names(t))
	})
}

// What was given is nobody else's: neither accepted last nor remembered.
func TestAGivenTokenIsNotLent(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		p := NewProvider(testRole, withClient(s))
		_, err := p.Retrieve(fromRequest(mint(t, "own", claim("exp", time.Now().Add(time.Hour).Unix()))))
		require.NoError(t, err)
		p.Invalidate()
		_, err = p.Retrieve(oidc.ContextWithToken(t.Context(), mint(t, "given", claim("project_id", "prj_given"))))
		require.NoError(t, err)
		fromRequest(mint(t, "of a third project", claim("project_id", "prj_3")))
		p.Invalidate()
		_, err = p.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"own", "given", "own"}, s.names(t))

		time.Sleep(2 * time.Hour) // the accepted one has ended
		p.Invalidate()
		_, err = p.Retrieve(t.Context())
		require.Error(t, err, "of the accepted identity or none")
		fromRequest(mint(t, "of the same"))
		_, err = p.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "of the same", s.names(t)[3])
	})
}

// A provider that has had only given tokens is that party's. Without one it borrows no
// token of another identity, though the role may admit it.
func TestAPartysProviderBorrowsNoOthersToken(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		p := NewProvider(testRole, withClient(s))
		fromRequest(mint(t, "the program's"))
		_, err := p.Retrieve(oidc.ContextWithToken(t.Context(), mint(t, "given", claim("project_id", "prj_given"))))
		require.NoError(t, err)
		p.Invalidate()
		_, err = p.Retrieve(t.Context())
		require.ErrorIs(t, err, oidc.ErrNoToken)
		fromRequest(mint(t, "the party's", claim("project_id", "prj_given")))
		_, err = p.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"given", "the party's"}, s.names(t))
	})
}

// Two parties with a provider each: nobody's token reaches the other's role.
func TestOneProviderAParty(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		parties := map[string]*fakeSTS{"a": newFakeSTS(), "b": newFakeSTS()}
		providers := map[string]*aws.CredentialsCache{}
		for name, s := range parties {
			s.latency = 20 * time.Millisecond
			s.set(only(t, func(jti string) bool { return jti == name }))
			providers[name] = NewProvider(testRole, withClient(s))
		}
		var wg sync.WaitGroup
		for i := range 200 {
			name := []string{"a", "b"}[i%2]
			wg.Go(func() {
				_, err := providers[name].Retrieve(oidc.ContextWithToken(t.Context(), mint(t, name)))
				assert.NoError(t, err)
			})
			time.Sleep(time.Second)
		}
		wg.Wait()
		for name, s := range parties {
			for _, seen := range s.names(t) {
				require.Equal(t, name, seen)
			}
		}
	})
}

// Garbage that has a token's form holds up no fetch.
func TestGarbageDoesNotProlongAFetch(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		p := NewProvider(testRole, withClient(newFakeSTS()))
		done := make(chan struct{})
		go func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
					fromRequest(fmt.Sprintf("a.b%d.c", i))
				}
			}
		}()
		start := time.Now()
		_, err := p.Retrieve(t.Context())
		require.ErrorIs(t, err, oidc.ErrNoToken)
		assert.LessOrEqual(t, time.Since(start), 100*time.Millisecond)
		close(done)
		synctest.Wait()
	})
}

// A hundred forged tokens, each repeated, a good one each second, cold: the good
// one is reached after as long as it takes to refuse half of them.
func TestAGoodTokenAmongAHundredForgedOnesThatRepeat(t *testing.T) {
	attack(t, func(t *testing.T, s *fakeSTS, good string) {
		const forgedTokens = 100
		var raws []string
		for i := range forgedTokens {
			raws = append(raws, mint(t, fmt.Sprint("forged", i)))
		}
		p := NewProvider(testRole, withClient(s))
		end := flood(p, 4*time.Millisecond, func(i int) string { return raws[i%forgedTokens] })
		start := time.Now()
		for {
			if _, err := p.Retrieve(fromRequest(good)); err == nil {
				break
			}
			time.Sleep(time.Second)
			require.Less(t, time.Since(start), forgedTokens/2*time.Second+15*time.Second)
		}
		end()
		s.paced(t, 5) // with the good one
	})
}

// A middlebox that answers forged tokens without a code of STS's: the next
// candidate is tried, cold and warm.
func TestAnswersWithoutACodeAboutForgedTokens(t *testing.T) {
	for _, status := range []int{403, 408, 413, 429, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			attack(t, func(t *testing.T, s *fakeSTS, good string) {
				s.set(func(_ context.Context, raw string) error {
					if raw == good {
						return nil
					}
					return apiAnswer(status, "UnknownError")
				})
				p := NewProvider(testRole, withClient(s))
				end := flood(p, 100*time.Millisecond, forged(t))
				fromRequest(good)
				time.Sleep(5 * time.Second)
				for range 40 {
					_, err := p.Retrieve(fromRequest(good))
					require.NoError(t, err)
					p.Invalidate()
					time.Sleep(500 * time.Millisecond)
				}
				end()
			})
		})
	}
}

// An answer without a code is tried again for the one token that there is, but
// only after others; four tokens meet one, and then no more.
func TestAnAnswerWithoutACodeIsTriedAgain(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		calls := 0
		s.set(func(context.Context, string) error {
			if calls++; calls < 3 {
				return apiAnswer(502, "UnknownError")
			}
			return nil
		})
		_, err := p.Retrieve(fromRequest(mint(t, "own")))
		require.NoError(t, err)
		assert.Equal(t, []string{"own", "own", "own"}, s.names(t))
	})
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.set(always(apiAnswer(502, "UnknownError")))
		for i := range 10 {
			fromRequest(mint(t, fmt.Sprint(i)))
		}
		_, err := p.Retrieve(fromRequest(mint(t, "own")))
		require.Error(t, err)
		names := s.names(t)
		require.Len(t, names, 6)
		assert.Equal(t, []string{"own", "own"}, names[4:])
		assert.Len(t, slices.Compact(slices.Sorted(slices.Values(names[:4]))), 4)
	})
}

// What a middlebox really sends is such an answer to the SDK's client too.
func TestAMiddleboxsAnswerIsWithoutACode(t *testing.T) {
	isolate(t)
	for status, bodies := range map[int][]string{ // an empty 200 is a success without credentials, to the SDK
		200: {"<html><body>Forbidden</body></html>"},
		403: {"<html><body>Forbidden</body></html>", "", "<ErrorResponse>", `{"message":"no"}`},
		408: {""}, 429: {"slow down"}, 502: {"<html>"},
	} {
		for _, body := range bodies {
			var shown []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				shown = append(shown, jti(t, r.FormValue("WebIdentityToken")))
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			}))
			forgetRequests()
			client := sts.New(stsAt(server).Options(), func(o *sts.Options) { o.Retryer = retry.NewStandard() })
			f := newFetcher(testRole, Options{Client: client, TokenSource: oidc.FromRequest()})
			fromRequest(mint(t, "other"))
			_, err := f.Retrieve(fromRequest(mint(t, "own")))
			require.Error(t, err)
			require.GreaterOrEqual(t, len(shown), 2, "%d %q", status, body)
			assert.Equal(t, []string{"own", "other"}, shown[:2], "%d %q", status, body)
			server.Close()
		}
	}
}

// Throttling, a fault with a code and no answer end a fetch: walking on would
// make an outage slower and heavier.
func TestAFaultOfSTSEndsTheFetch(t *testing.T) {
	for name, err := range map[string]error{
		"throttling":          apiAnswer(400, "Throttling"),
		"a fault with a code": apiAnswer(500, "InternalFailure"),
		"no answer":           errors.New("connection refused"),
	} {
		t.Run(name, func(t *testing.T) {
			withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
				s.set(always(err))
				fromRequest(mint(t, "other"))
				_, err := p.Retrieve(fromRequest(mint(t, "own")))
				require.Error(t, err)
				assert.Equal(t, []string{"own"}, s.names(t))
			})
		})
	}
}

// exchanging is a provider whose tokens are exchanged first, at an endpoint that
// is a function: 200 for a token of the same claims.
func exchanging(t *testing.T, s *fakeSTS, endpoint func(raw string) (status int, body string)) (*aws.CredentialsCache, *fakeSTS) {
	return NewProvider(testRole, withClient(s), func(o *Options) {
		o.TokenSource = oidc.Exchange(oidc.DefaultSource(), exchangeAudience, func(o *oidc.ExchangeOptions) {
			o.HTTPClient = &http.Client{Transport: exchangeEndpoint(t, endpoint)}
		})
	}), s
}

// healthy crowds: 500 providers, and a fetch each, take as long as one.
func TestManyProvidersDoNotWaitForEachOther(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.latency = 20 * time.Millisecond
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 500 {
			p := NewProvider(testRole, withClient(s))
			ctx := fromRequest(mint(t, fmt.Sprint(i)))
			wg.Go(func() {
				_, err := p.Retrieve(ctx)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, s.latency, time.Since(start))
	})
}

// After a success the endpoint is asked as before, by many at once.
func TestASuccessEndsThePacing(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.latency = 20 * time.Millisecond
		ask := func(jti string) error {
			_, err := NewProvider(testRole, withClient(s)).Retrieve(oidc.ContextWithToken(t.Context(), mint(t, jti)))
			return err
		}
		s.set(always(codeError("Throttling")))
		require.Error(t, ask("first"))
		s.set(nil)
		require.NoError(t, ask("second"))
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { assert.NoError(t, ask(fmt.Sprint(i))) })
		}
		wg.Wait()
		assert.Equal(t, s.latency, time.Since(began))
	})
}

// Providers that ask the same endpoint are paced together, whichever their roles.
func TestWhoIsPacedTogether(t *testing.T) {
	isolate(t)
	paced := func(region string, options Options) *pace.Pacer {
		t.Setenv("AWS_REGION", region)
		return newFetcher(testRole, options).faults()
	}
	first := paced("eu-west-1", Options{})
	assert.Same(t, first, paced("eu-west-1", Options{FallbackRegion: "eu-west-3"}))
	assert.NotSame(t, first, paced("eu-west-2", Options{}))
	client := newFakeSTS()
	assert.Same(t, paced("eu-west-1", Options{Client: client}), paced("eu-west-2", Options{Client: client}))
	assert.NotSame(t, first, paced("eu-west-1", Options{Client: client}))
}

// While nothing but faults comes from STS, the process asks it as seldom as one
// provider would, and at once again after a success.
func TestManyProvidersInAnOutageAskAsOne(t *testing.T) {
	for name, fault := range map[string]error{"throttling": apiAnswer(400, "Throttling"), "no answer": errors.New("no route")} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			synctest.Test(t, func(t *testing.T) {
				s := newFakeSTS()
				s.set(always(fault))
				var providers []*aws.CredentialsCache
				for range 200 {
					providers = append(providers, NewProvider(testRole, withClient(s)))
				}
				ctx := fromRequest(mint(t, "own"))
				_, err := providers[0].Retrieve(ctx)
				require.Error(t, err)
				var wg sync.WaitGroup
				for _, p := range providers {
					wg.Go(func() { _, _ = p.Retrieve(ctx) })
				}
				wg.Wait()
				s.paced(t, 4)
				assert.Greater(t, s.count(), 15)

				s.set(nil)
				for _, p := range providers {
					wg.Go(func() {
						_, err := p.Retrieve(ctx)
						assert.NoError(t, err)
					})
				}
				start := time.Now()
				wg.Wait()
				assert.LessOrEqual(t, time.Since(start), time.Second)
			})
		})
	}
}

// A refusal is given again for a second, to the moment, and then STS is asked.
func TestHowLongARefusalIsGivenAgain(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.set(always(codeError("AccessDenied")))
		ctx := oidc.ContextWithToken(t.Context(), mint(t, "a"))
		refused := func(calls int) {
			t.Helper()
			_, err := p.Retrieve(ctx)
			var e *AssumeRoleError
			require.ErrorAs(t, err, &e)
			require.Equal(t, calls, s.count())
		}
		refused(1)
		time.Sleep(time.Second - time.Nanosecond)
		refused(1)
		time.Sleep(time.Nanosecond)
		refused(2)
	})
}

// A token that STS refuses, and accepts after the trust policy was mended, is
// again its request's first choice.
func TestATokenThatIsAcceptedAfterAll(t *testing.T) {
	withProvider(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(mint(t, "a"))
		s.set(always(codeError("AccessDenied")))
		_, err := p.Retrieve(ctx)
		require.Error(t, err)
		s.set(nil)
		time.Sleep(time.Second)
		_, err = p.Retrieve(ctx)
		require.NoError(t, err)

		fromRequest(mint(t, "another"))
		p.Invalidate()
		_, err = p.Retrieve(ctx)
		require.NoError(t, err)
		assert.Equal(t, s.tokens[0], s.tokens[len(s.tokens)-1])
	})
}
