package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

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

// A source that is asked directly returns the context's own token, and never another
// request's.
func TestNothingIsBorrowedByTheSourceItself(t *testing.T) {
	isolate(t)
	other := mint(t, claim("jti", "other"))
	for _, source := range []TokenSource{FromRequest(), FirstOf(FromRequest()), Map(FromRequest(), same), Exchange(FromRequest(), "a")} {
		for _, ctx := range []context.Context{t.Context(), RequestContext(request()), RequestContext(request("garbage")), RequestContext(request(mint(t, expiredBy(time.Hour))))} {
			RequestContext(request(other))
			tok, err := source.Token(ctx)
			require.Error(t, err)
			assert.Equal(t, "", tok.Raw())
		}
	}
}

func same(_ context.Context, t Token) (Token, error) { return t, nil }

// The token of ContextWithToken is used before the environment's. If it cannot be
// used, FirstOf goes on to the environment's; a provider does not.
func TestContextWithToken(t *testing.T) {
	isolate(t)
	raw := []byte(mint(t))
	buffer := unsafe.String(&raw[0], len(raw)) // as fasthttp gives a header
	want := strings.Clone(buffer)
	ctx := ContextWithToken(t.Context(), buffer)
	for i := range raw {
		raw[i] = 'x' // and uses its memory again
	}
	tok := token(t, FromRequest(), ctx)
	assert.Equal(t, want, tok.Raw())
	assert.Equal(t, "ContextWithToken", tok.Source())
	assert.Empty(t, recentTokens.All(func(Token) bool { return false }), "it is not remembered for others")
}

func TestHeaderContext(t *testing.T) {
	isolate(t)
	header := func(name, value string) func(string) string {
		return func(asked string) string {
			if strings.EqualFold(asked, name) {
				return value
			}
			return ""
		}
	}
	raw := []byte(mint(t))
	buffer := unsafe.String(&raw[0], len(raw))
	want := strings.Clone(buffer)
	ctx := HeaderContext(t.Context(), header("X-Vercel-Oidc-Token", buffer))
	for i := range raw {
		raw[i] = 'x'
	}
	tok := token(t, FromRequest(), ctx)
	assert.Equal(t, want, tok.Raw())
	assert.Equal(t, "request", tok.Source())
	all := recentTokens.All(func(Token) bool { return false })
	require.Len(t, all, 1, "it is remembered like a request's")
	assert.Equal(t, want, all[0].Token.Raw())

	internal := header("X-Vercel-Internal-Oidc-Token", want)
	_, err := FromRequest().Token(HeaderContext(t.Context(), internal))
	require.ErrorIs(t, err, ErrNoToken)
	t.Setenv("VERCEL", "1")
	assert.Equal(t, want, token(t, FromRequest(), HeaderContext(t.Context(), internal)).Raw())

	garbage := []byte(`"garbage`)
	ctx = HeaderContext(t.Context(), header(Header, unsafe.String(&garbage[0], len(garbage))))
	copy(garbage, "replaced")
	_, err = FromRequest().Token(ctx)
	require.ErrorIs(t, err, ErrMalformed)
	require.ErrorContains(t, err, "quotation mark", "the text is that of the request, and not what was written over it")
	none := func(string) string { return "" }
	_, err = FromRequest().Token(HeaderContext(t.Context(), none))
	require.ErrorContains(t, err, "enable OIDC")
	assert.Equal(t, want, token(t, FromRequest(), HeaderContext(ContextWithToken(t.Context(), want), none)).Raw())
}

func TestMap(t *testing.T) {
	isolate(t)
	raw, other := mint(t), mint(t, claim("jti", "other"))
	var seen []string
	source := Map(FromRequest(), func(_ context.Context, tok Token) (Token, error) {
		seen = append(seen, tok.Raw())
		return ParseUnverified(other)
	})
	assert.Equal(t, other, token(t, source, RequestContext(request(raw))).Raw())
	assert.Equal(t, []string{raw}, seen)
	_, err := source.Token(t.Context())
	require.ErrorIs(t, err, ErrNoToken)
	refused := errors.New("not this one")
	_, err = Map(FromRequest(), func(context.Context, Token) (Token, error) { return Token{}, refused }).Token(RequestContext(request(raw)))
	assert.ErrorIs(t, err, refused)
}

// Neither of two different tokens of one request is remembered, nor is text that
// does not have the form of a token.
func TestTextThatIsNotRemembered(t *testing.T) {
	isolate(t)
	RequestContext(request(mint(t), mint(t, claim("jti", "2"))))
	for _, raw := range []string{"garbage", "a.b", "a..b", ".a.b", "a.b.", "a.b.c.d", "a.b.c ", strings.Repeat("x", MaxTokenLength) + ".b.c"} {
		assert.False(t, looksLikeJWT(raw), raw)
		RequestContext(request(raw))
	}
	assert.Empty(t, recentTokens.All(func(Token) bool { return false }))
	assert.True(t, looksLikeJWT("aA0-_.b.c"))
}

// A long header is read once and not parsed, whatever it holds.
func TestALongHeaderIsNotParsed(t *testing.T) {
	isolate(t)
	claims := `{` + strings.Repeat(`"AUD":[],`, 1600) + `"a":1}`
	raw := join("{}", claims, "signature")
	require.Greater(t, len(raw), 19_000)
	r := request(raw)
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { RequestContext(r) }), 1.0)
	assert.Empty(t, recentTokens.All(func(Token) bool { return false }), "whoever looks for a token drops it")
}

func BenchmarkRequestContextOfALongHeader(b *testing.B) {
	raws := make([]string, 2)
	for i := range raws {
		raws[i] = join("{}", fmt.Sprint(i)+strings.Repeat(`"AUD":[],`, 1600), "signature")
	}
	r := request(raws[0])
	b.ReportAllocs()
	for i := range b.N {
		r.Header[canonicalHeader][0] = raws[i%2]
		RequestContext(r)
	}
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

	_, err := FirstOf(none, broken, gives(dead), gives("x")).Token(t.Context())
	require.Error(t, err)
	for _, is := range []error{ErrNoToken, ErrExpired, ErrMalformed} {
		assert.ErrorIs(t, err, is)
	}
	assert.ErrorContains(t, err, "database is down")
	assert.ErrorContains(t, err, "a source of your own: token expired")
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

// What Detach keeps of a context decides which tokens a refresh in the background tries.
func TestDetachKeepsWhatTheRequestHad(t *testing.T) {
	differ := RequestContext(request("a.b.c", "d.e.f"))
	_, want := FromRequest().Token(differ)
	_, err := FromRequest().Token(Detach(differ))
	require.ErrorIs(t, err, ErrMalformed)
	assert.Equal(t, want.Error(), err.Error())

	chosen := ContextWithToken(t.Context(), mint(t))
	token, err := FromRequest().Token(Detach(chosen))
	require.NoError(t, err)
	assert.Equal(t, "ContextWithToken", token.Source())
}
