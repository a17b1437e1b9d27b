package oidc

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func request(values ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, v := range values {
		r.Header.Add(Header, v)
	}
	return r
}

func token(t testing.TB, source TokenSource, ctx context.Context) Token {
	t.Helper()
	tok, err := source.Token(ctx)
	require.NoError(t, err)
	return tok
}

func TestRequestContext(t *testing.T) {
	isolate(t)
	raw := mint(t)
	tok := token(t, FromRequest(), RequestContext(request(raw)))
	assert.Equal(t, raw, tok.Raw())
	assert.Equal(t, "request", tok.Source())

	same := RequestContext(request(raw, raw))
	assert.Equal(t, raw, token(t, FromRequest(), same).Raw(), "one token twice is one token")
}

func TestMiddleware(t *testing.T) {
	isolate(t)
	raw := mint(t)
	var got Token
	h := Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = token(t, FromRequest(), r.Context())
	}))
	h.ServeHTTP(httptest.NewRecorder(), request(raw))
	assert.Equal(t, raw, got.Raw())
}

func TestRequestContextKeepsAnOuterToken(t *testing.T) {
	isolate(t)
	raw := mint(t)
	outer := request().WithContext(ContextWithToken(t.Context(), raw))
	assert.Equal(t, raw, token(t, FromRequest(), RequestContext(outer)).Raw())

	other := mint(t, claim("jti", "2"))
	both := request(other).WithContext(ContextWithToken(t.Context(), raw))
	assert.Equal(t, other, token(t, FromRequest(), RequestContext(both)).Raw(), "the nearest wins")
}

func TestRequestContextPassesOnItsParent(t *testing.T) {
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
	ctx := RequestContext(request().WithContext(parent))
	assert.Equal(t, "v", ctx.Value(key{}))
	cancel()
	assert.ErrorIs(t, ctx.Err(), context.Canceled)
}

func TestRequestErrorsSayWhatToDo(t *testing.T) {
	isolate(t)
	cases := []struct {
		name string
		ctx  context.Context
		is   error
		says string
	}{
		{"no request", context.Background(), ErrNoToken, "pass oidc.RequestContext(r)"},
		{"no header", RequestContext(request()), ErrNoToken, "enable OIDC in the Vercel project's settings"},
		{"empty header", RequestContext(request("")), ErrNoToken, "enable OIDC"},
		{"two headers", RequestContext(request(mint(t), mint(t, claim("jti", "2")))), ErrMalformed, "Vercel sends exactly one"},
		{"empty and full", RequestContext(request("", mint(t))), ErrMalformed, "Vercel sends exactly one"},
		{"garbage", RequestContext(request("garbage")), ErrMalformed, "dot-separated"},
		{"expired", RequestContext(request(mint(t, expiredBy(time.Hour)))), ErrExpired, ", 1h0m"},
		{"explicit empty", ContextWithToken(context.Background(), ""), ErrMalformed, "ContextWithToken"},
		{"explicit expired", ContextWithToken(context.Background(), mint(t, expiredBy(time.Hour))), ErrExpired, "ContextWithToken"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := FromRequest().Token(c.ctx)
			require.ErrorIs(t, err, c.is)
			assert.ErrorContains(t, err, c.says)
			assert.Equal(t, 1, strings.Count(err.Error(), "oidc: "), err.Error())
		})
	}
}

func TestBorrowing(t *testing.T) {
	seen := func(t *testing.T, raws ...string) {
		for _, raw := range raws {
			RequestContext(request(raw))
		}
	}
	live := mint(t, claim("jti", "live"))
	newer := mint(t, claim("jti", "newer"))
	otherProject := mint(t, claim("project_id", "prj_2"))
	otherEnvironment := mint(t, claim("environment", "preview"))

	t.Run("a goroutine without a request", func(t *testing.T) {
		isolate(t)
		seen(t, live, newer)
		tok := token(t, FromRequest(), t.Context())
		assert.Equal(t, newer, tok.Raw(), "the newest")
		assert.Equal(t, "recent request", tok.Source())
	})
	t.Run("a request with a bad token", func(t *testing.T) {
		isolate(t)
		seen(t, live)
		for _, bad := range []string{"garbage", "", mint(t, expiredBy(time.Hour))} {
			assert.Equal(t, live, token(t, FromRequest(), RequestContext(request(bad))).Raw())
		}
	})
	t.Run("the proven token comes before other requests'", func(t *testing.T) {
		isolate(t)
		proven, err := ParseUnverified(live)
		require.NoError(t, err)
		seen(t, newer)
		assert.Equal(t, live, token(t, FromRequest(), WithProvenToken(t.Context(), proven)).Raw())
		own := mint(t, claim("jti", "own"))
		assert.Equal(t, own, token(t, FromRequest(), WithProvenToken(RequestContext(request(own)), proven)).Raw(), "but after the request's own")
		refused := WithoutToken(WithProvenToken(t.Context(), proven), proven)
		seen(t, newer)
		assert.NotEqual(t, live, token(t, FromRequest(), refused).Raw())
	})
	t.Run("never of another identity than the proven one", func(t *testing.T) {
		isolate(t)
		dead, err := ParseUnverified(mint(t, expiredBy(time.Hour)))
		require.NoError(t, err)
		seen(t, otherProject, otherEnvironment)
		_, err = FromRequest().Token(WithProvenToken(t.Context(), dead))
		require.ErrorIs(t, err, ErrNoToken)
		seen(t, live)
		assert.Equal(t, live, token(t, FromRequest(), WithProvenToken(t.Context(), dead)).Raw())
	})
	t.Run("never of another project than this deployment's", func(t *testing.T) {
		isolate(t)
		t.Setenv("VERCEL_PROJECT_ID", "prj_2")
		seen(t, live)
		_, err := FromRequest().Token(t.Context())
		require.ErrorIs(t, err, ErrNoToken)
		seen(t, otherProject)
		assert.Equal(t, otherProject, token(t, FromRequest(), t.Context()).Raw())
	})
	t.Run("nor where the project is known only later", func(t *testing.T) {
		isolate(t)
		seen(t, otherProject)
		t.Setenv("VERCEL_PROJECT_ID", "prj_1")
		_, err := FromRequest().Token(t.Context())
		require.ErrorIs(t, err, ErrNoToken)
	})
	t.Run("not what STS refused", func(t *testing.T) {
		isolate(t)
		seen(t, live, newer)
		ctx := t.Context()
		for _, want := range []string{newer, live} {
			tok := token(t, FromRequest(), ctx)
			require.Equal(t, want, tok.Raw())
			ctx = WithoutToken(ctx, tok)
		}
		_, err := FromRequest().Token(ctx)
		assert.ErrorIs(t, err, ErrNoToken)
	})
	t.Run("nothing stands in for an explicit token", func(t *testing.T) {
		isolate(t)
		seen(t, live)
		t.Setenv(envVariable, live)
		explicit := mint(t, claim("jti", "explicit"))
		tok := token(t, DefaultSource(), ContextWithToken(t.Context(), explicit))
		assert.Equal(t, explicit, tok.Raw())
		for _, ctx := range []context.Context{
			ContextWithToken(t.Context(), "garbage"),
			WithoutToken(ContextWithToken(t.Context(), explicit), tok),
		} {
			_, err := DefaultSource().Token(ctx)
			require.ErrorContains(t, err, "ContextWithToken")
		}
		assert.Equal(t, live, token(t, DefaultSource(), t.Context()).Raw(), "and it is not remembered for others")
		assert.Equal(t, live, token(t, DefaultSource(), WithProvenToken(t.Context(), tok)).Raw())
	})
	t.Run("not from a request that carries two", func(t *testing.T) {
		isolate(t)
		RequestContext(request(live, newer))
		_, err := FromRequest().Token(t.Context())
		assert.ErrorIs(t, err, ErrNoToken)
	})
}

func TestFromFile(t *testing.T) {
	isolate(t)
	path := filepath.Join(t.TempDir(), "token")
	fails := func(is error, says string) {
		t.Helper()
		_, err := FromFile().Token(t.Context())
		require.ErrorIs(t, err, is)
		require.ErrorContains(t, err, says)
	}
	write := func(s string) { require.NoError(t, os.WriteFile(path, []byte(s), 0o600)) }

	fails(ErrNoToken, "not set")
	t.Setenv(fileVariable, path)
	fails(ErrNoToken, syscall.ENOENT.Error()) // in the system's words
	write(" \n")
	fails(ErrNoToken, "is empty")
	write("garbage")
	fails(ErrMalformed, "dot-separated")
	write(strings.Repeat("x", MaxTokenLength*3))
	fails(ErrMalformed, "longest")
	write(mint(t, expiredBy(time.Hour)))
	fails(ErrExpired, "ago")

	for _, raw := range []string{mint(t), mint(t, claim("jti", "2"))} {
		write(raw + "\r\n") // read anew at each call
		assert.Equal(t, raw, token(t, FromFile(), t.Context()).Raw())
	}
	t.Setenv(fileVariable, t.TempDir())
	fails(ErrNoToken, "not a regular file")
}

func TestFromEnv(t *testing.T) {
	isolate(t)
	_, err := FromEnv().Token(t.Context())
	require.ErrorIs(t, err, ErrNoToken)
	assert.ErrorContains(t, err, "vercel env pull")

	t.Setenv(envVariable, mint(t, expiredBy(13*time.Hour)))
	_, err = FromEnv().Token(t.Context())
	require.ErrorIs(t, err, ErrExpired)
	assert.ErrorContains(t, err, "run `vercel env pull` for a new one")

	for _, raw := range []string{mint(t), mint(t, claim("jti", "2"))} {
		t.Setenv(envVariable, raw)
		assert.Equal(t, raw, token(t, FromEnv(), t.Context()).Raw())
	}
}

func TestFirstOf(t *testing.T) {
	isolate(t)
	none := TokenSourceFunc(func(context.Context) (Token, error) { return Token{}, ErrNoToken })
	broken := TokenSourceFunc(func(context.Context) (Token, error) { return Token{}, errors.New("database is down") })
	gives := func(raw string) TokenSource {
		return TokenSourceFunc(func(context.Context) (Token, error) { return ParseUnverified(raw) })
	}
	live, second, dead := mint(t), mint(t, claim("jti", "2")), mint(t, expiredBy(time.Hour))

	assert.Equal(t, live, token(t, FirstOf(none, broken, gives(dead), gives("x"), gives(live), gives(second)), t.Context()).Raw())

	first := token(t, gives(live), t.Context())
	assert.Equal(t, second, token(t, FirstOf(gives(live), gives(second)), WithoutToken(t.Context(), first)).Raw(), "also for sources that know nothing of WithoutToken")

	_, err := FirstOf(none, broken, gives(dead), gives("x")).Token(t.Context())
	require.Error(t, err)
	for _, is := range []error{ErrNoToken, ErrExpired, ErrMalformed} {
		assert.ErrorIs(t, err, is)
	}
	assert.ErrorContains(t, err, "database is down")
	assert.ErrorContains(t, err, "custom source: token expired")
	assert.Equal(t, 1, strings.Count(err.Error(), "oidc: "), err.Error())

	_, err = FirstOf().Token(t.Context())
	assert.ErrorIs(t, err, ErrNoToken)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = FirstOf(none, gives(live)).Token(cancelled)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestDefaultSourceNamesEverySource(t *testing.T) {
	isolate(t)
	_, err := DefaultSource().Token(RequestContext(request()))
	require.ErrorIs(t, err, ErrNoToken)
	for _, name := range []string{"request: ", Header, fileVariable + ": ", envVariable + ": "} {
		assert.ErrorContains(t, err, name)
	}
}

func TestRequestContextAndMiddlewareAllocate(t *testing.T) {
	isolate(t)
	r, other := request(mint(t)), request(mint(t, claim("jti", "other")))
	RequestContext(r) // the first sight of a token is remembered
	RequestContext(other)
	assert.Equal(t, 1.0, testing.AllocsPerRun(100, func() { RequestContext(other) }))
	assert.Equal(t, 2.0, testing.AllocsPerRun(100, func() { RequestContext(r); RequestContext(other) }), "two in turn")
	h := Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := httptest.NewRecorder()
	assert.Equal(t, 2.0, testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }))
}
