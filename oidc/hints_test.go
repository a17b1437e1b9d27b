package oidc

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/candidate"
	"github.com/vercelaws/vercelaws/internal/recent"
)

// A header that is changed after the request context was made does not change
// what the context carries.
func TestRequestContextKeepsNothingOfTheHeader(t *testing.T) {
	for name, raw := range map[string]string{"good": mint(t), "garbage": "garbage"} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			r := request(raw)
			ctx := RequestContext(r)
			r.Header[canonicalHeader][0] = mint(t, claim("jti", "other"))
			r.Header[canonicalHeader] = append(r.Header[canonicalHeader], "x")
			assert.Equal(t, raw, *carrierOf(ctx).raw.Load())
		})
	}
}

func TestInternalHeader(t *testing.T) {
	isolate(t)
	public, internal := mint(t, claim("jti", "public")), mint(t, claim("jti", "internal"))
	r := request()
	r.Header.Set(internalHeader, internal)
	t.Setenv("VERCEL", "")
	_, err := FromRequest().Token(RequestContext(r))
	require.ErrorIs(t, err, ErrNoToken, "not where there is no Vercel to set it")

	t.Setenv("VERCEL", "1")
	assert.Equal(t, internal, token(t, FromRequest(), RequestContext(r)).Raw())
	r.Header.Set(Header, "")
	assert.Equal(t, internal, token(t, FromRequest(), RequestContext(r)).Raw())
	r.Header.Set(Header, public)
	assert.Equal(t, public, token(t, FromRequest(), RequestContext(r)).Raw())

	isolate(t)
	t.Setenv("VERCEL", "1")
	r.Header.Del(Header)
	r.Header.Add(internalHeader, public)
	_, err = FromRequest().Token(RequestContext(r))
	require.ErrorIs(t, err, ErrMalformed)
	assert.ErrorContains(t, err, "2 x-vercel-internal-oidc-token headers that differ")
	_, err = FromRequest().Token(Detach(RequestContext(r)))
	assert.ErrorContains(t, err, "2 x-vercel-internal-oidc-token headers that differ")
}

func TestDetach(t *testing.T) {
	isolate(t)
	type key struct{}
	parent, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "v"), time.Hour)
	cancel()
	parent = httptrace.WithClientTrace(parent, &httptrace.ClientTrace{})
	raw := mint(t)
	for name, ctx := range map[string]context.Context{
		"request":  RequestContext(request(raw).WithContext(parent)),
		"below":    context.WithValue(RequestContext(request(raw).WithContext(parent)), key{}, "v"),
		"explicit": ContextWithToken(parent, raw),
		"hinted":   candidate.With(ContextWithToken(parent, raw), candidate.Hints{Tried: func(string) bool { return true }}),
	} {
		t.Run(name, func(t *testing.T) {
			d := Detach(ctx)
			assert.NoError(t, d.Err())
			assert.Nil(t, d.Done())
			assert.Nil(t, d.Value(key{}))
			assert.Nil(t, httptrace.ContextClientTrace(d))
			_, has := d.Deadline()
			assert.False(t, has)
			tok := token(t, FromRequest(), d)
			assert.Equal(t, raw, tok.Raw())
			assert.Equal(t, carrierOf(ctx).explicit, tok.explicit)
			assert.NotContains(t, fmt.Sprintf("%#v", d), raw)
		})
	}
	isolate(t)
	_, err := FromRequest().Token(Detach(t.Context()))
	require.ErrorContains(t, err, "the context carries no request")
	_, err = FromRequest().Token(Detach(RequestContext(request().WithContext(parent))))
	require.ErrorContains(t, err, "the request has no "+Header)
}

// fetch asks as a fetch of credentials does, and refuses every token but those
// that accept names. It returns what it tried, in order.
func fetch(t *testing.T, ctx context.Context, source TokenSource, refused func(string) bool, accept ...string) (tried []string) {
	t.Helper()
	has := func(list []string, raw string) bool {
		for _, r := range list {
			if r == raw {
				return true
			}
		}
		return false
	}
	h := candidate.Hints{Refused: refused, Tried: func(raw string) bool { return has(tried, raw) }}
	for _, pass := range []func(){func() {}, func() { h.AllowRefused = true }, func() { h.AllowExpired = true }} {
		pass()
		for {
			h.Turn = len(tried)
			tok, err := source.Token(candidate.With(ctx, h))
			if err != nil {
				break
			}
			require.False(t, has(tried, tok.Raw()), "the same again")
			tried = append(tried, tok.Raw())
			if has(accept, tok.Raw()) {
				return tried
			}
		}
	}
	return tried
}

func TestOrderOfCandidates(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
	own, proven := mint(t, claim("jti", "own")), mint(t, claim("jti", "proven"))
	often, newest := mint(t, claim("jti", "often")), mint(t, claim("jti", "newest"))
	bad, late := mint(t, claim("jti", "bad")), mint(t, claim("jti", "late"), expiredBy(2*time.Minute))
	env, custom := mint(t, claim("jti", "env")), mint(t, claim("jti", "custom"))
	dead := mint(t, claim("jti", "dead"), expiredBy(candidate.Grace))
	foreign := mint(t, claim("environment", "preview"))
	t.Setenv(envVariable, env)
	for _, raw := range []string{often, late, dead, often, foreign, bad, newest} {
		RequestContext(request(raw))
	}
	p, err := ParseUnverified(proven)
	require.NoError(t, err)
	refused := func(raw string) bool { return raw == bad }

	ctx := WithProvenToken(t.Context(), p)
	h := candidate.Of(ctx)
	hinted := func(source TokenSource) TokenSource { // fetch, with a proven token
		return TokenSourceFunc(func(ctx context.Context) (Token, error) {
			hints := candidate.Of(ctx)
			hints.Proven = h.Proven
			return source.Token(candidate.With(ctx, hints))
		})
	}
	tried := fetch(t, RequestContext(request(own)), hinted(DefaultSource()), refused)
	assert.Equal(t, []string{own, proven, often, newest, env, bad, late}, tried)

	mine := TokenSourceFunc(func(context.Context) (Token, error) { return ParseUnverified(custom) })
	tried = fetch(t, RequestContext(request(bad)), hinted(FirstOf(FromRequest(), mine)), refused)
	assert.Equal(t, []string{proven, own, often, newest, custom, bad, late}, tried, "a refused one comes last, whoever brings it")

	tried = fetch(t, RequestContext(request(late)), hinted(FirstOf(FromRequest(), mine)), refused)
	assert.Equal(t, late, tried[len(tried)-1])
	assert.Len(t, tried, 7)

	all := func(string) bool { return true }
	assert.Equal(t, []string{bad}, fetch(t, ContextWithToken(t.Context(), bad), hinted(DefaultSource()), all), "the caller's choice is asked about again, and nothing else is")
	assert.Equal(t, []string{late}, fetch(t, ContextWithToken(t.Context(), late), hinted(DefaultSource()), all))
	assert.Empty(t, fetch(t, ContextWithToken(t.Context(), dead), hinted(DefaultSource()), all))
}

// Two forged request tokens do not stand before a good one in the environment,
// in any later fetch.
func TestRefusedRequestTokensStandBehindOtherSources(t *testing.T) {
	isolate(t)
	env := mint(t, claim("jti", "env"))
	t.Setenv(envVariable, env)
	refused := map[string]bool{}
	for i := range 2 {
		raw := mint(t, claim("jti", fmt.Sprint("forged", i)))
		RequestContext(request(raw))
		refused[raw] = true
	}
	isRefused := func(raw string) bool { return refused[raw] }
	assert.Equal(t, []string{env}, fetch(t, t.Context(), DefaultSource(), isRefused, env))
	for raw := range refused {
		assert.Equal(t, []string{env}, fetch(t, RequestContext(request(raw)), DefaultSource(), isRefused, env))
	}
}

// Three requests, forged, good, forged, and one with forged and much garbage:
// the good token is tried after a few others at most.
func TestAGoodTokenAmongAFewForgedOnes(t *testing.T) {
	none := func(string) bool { return false }
	good := mint(t, claim("jti", "good"))
	forged := func(i int) string { return mint(t, claim("jti", fmt.Sprint("forged", i))) }
	t.Run("forged, good, forged", func(t *testing.T) {
		isolate(t)
		lead := RequestContext(request(forged(1)))
		RequestContext(request(good))
		RequestContext(request(forged(2)))
		assert.LessOrEqual(t, len(fetch(t, lead, DefaultSource(), none, good)), 3)
	})
	t.Run("garbage", func(t *testing.T) {
		isolate(t)
		lead := RequestContext(request(forged(1)))
		RequestContext(request(good))
		for i := range 1000 {
			RequestContext(request(fmt.Sprint("garbage", i)))
			RequestContext(request(mint(t, claim("jti", i), claim("exp", nil))))
		}
		tried := fetch(t, lead, DefaultSource(), none, good)
		require.Len(t, tried, 2)
		assert.Equal(t, good, tried[1])
	})
	t.Run("tokens of other projects take no place", func(t *testing.T) {
		isolate(t)
		t.Setenv(projectVariable, "prj_1")
		RequestContext(request(good))
		before := recent.Arrivals()
		for i := range 2000 {
			RequestContext(request(mint(t, claim("jti", i), claim("project_id", "prj_2"))))
		}
		assert.Equal(t, before, recent.Arrivals())
		assert.Equal(t, []string{good}, fetch(t, t.Context(), DefaultSource(), none))
	})
}

func TestAnExplicitTokenIsAskedAboutThoughItWasRefused(t *testing.T) {
	isolate(t)
	raw := mint(t)
	h := candidate.Hints{Refused: func(string) bool { return true }}
	assert.Equal(t, raw, token(t, DefaultSource(), candidate.With(ContextWithToken(t.Context(), raw), h)).Raw())
}

// Who asks through the public functions has candidates drawn in turn, too.
func TestWithoutTokenTakesTurns(t *testing.T) {
	isolate(t)
	often := []string{mint(t, claim("jti", "1")), mint(t, claim("jti", "2"))}
	for range 10 {
		RequestContext(request(often[0]))
		RequestContext(request(often[1]))
	}
	newest := mint(t, claim("jti", "newest"))
	RequestContext(request(newest))
	first := token(t, FromRequest(), t.Context())
	assert.Contains(t, often, first.Raw())
	assert.Equal(t, newest, token(t, FromRequest(), WithoutToken(t.Context(), first)).Raw())
}
