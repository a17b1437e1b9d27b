package oidcverify_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

func TestMiddleware(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	w := newWire(issuer)
	v := over(issuer, w, func(o *oidcverify.Options) { o.Environments = []string{"production"} })
	good, preview := issuer.Mint(), issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" })
	cold := over(issuer, &wire{count: map[string]int{}, fault: func(*http.Request) (*http.Response, error) { return nil, errors.New("down") }})
	const auth, own = "Authorization", "X-Caller-Token"

	cases := []struct {
		name     string
		verifier *oidcverify.Verifier
		named    string // MiddlewareOptions.Header
		header   http.Header
		status   int
		says     string // to OnError
	}{
		{"good", v, "", http.Header{auth: {"Bearer " + good}}, 200, ""},
		{"lower-case scheme", v, "", http.Header{auth: {"bearer " + good}}, 200, ""},
		{"upper-case scheme, more spaces", v, "", http.Header{auth: {"BEARER   " + good + " "}}, 200, ""},
		{"header named as the default", v, "authorization", http.Header{auth: {"Bearer " + good}}, 200, ""},
		{"none", v, "", http.Header{}, 401, "0 headers Authorization"},
		{"two", v, "", http.Header{auth: {"Bearer " + good, "Bearer " + good}}, 401, "2 headers Authorization"},
		{"good before bad", v, "", http.Header{auth: {"Bearer " + good, "Bearer x"}}, 401, "2 headers"},
		{"comma-joined", v, "", http.Header{auth: {"Bearer " + good + ", Bearer " + good}}, 401, "malformed"},
		{"comma-joined without spaces", v, "", http.Header{auth: {"Bearer " + good + ",Bearer"}}, 401, "malformed"},
		{"empty", v, "", http.Header{auth: {""}}, 401, "not Bearer"},
		{"scheme alone", v, "", http.Header{auth: {"Bearer"}}, 401, "malformed"},
		{"scheme and space", v, "", http.Header{auth: {"Bearer "}}, 401, "malformed"},
		{"other scheme", v, "", http.Header{auth: {"Basic " + good}}, 401, "not Bearer"},
		{"no scheme", v, "", http.Header{auth: {good}}, 401, "not Bearer"},
		{"scheme that begins so", v, "", http.Header{auth: {"BearerX " + good}}, 401, "not Bearer"},
		{"tab", v, "", http.Header{auth: {"Bearer\t" + good}}, 401, "not Bearer"},
		{"quoted", v, "", http.Header{auth: {`Bearer "` + good + `"`}}, 401, "malformed"},
		{"forged", v, "", http.Header{auth: {"Bearer " + issuer.MintForged()}}, 401, "signature does not verify"},
		{"unsigned", v, "", http.Header{auth: {"Bearer " + issuer.MintUnsigned("x")}}, 401, "signature does not verify"},
		{"not allowed", v, "", http.Header{auth: {"Bearer " + preview}}, 403, `environment is "preview"`},
		{"named", v, own, http.Header{own: {good}}, 200, ""},
		{"named in lower case", v, "x-caller-token", http.Header{own: {good}}, 200, ""},
		{"named, and in the default", v, own, http.Header{auth: {"Bearer " + good}}, 401, "0 headers X-Caller-Token"},
		{"named, with a scheme", v, own, http.Header{own: {"Bearer " + good}}, 401, "malformed"},
		{"named twice", v, own, http.Header{own: {good, good}}, 401, "2 headers"},
		{"named, not allowed", v, own, http.Header{own: {preview}}, 403, "preview"},
		{"issuer is down", cold, "", http.Header{auth: {"Bearer " + good}}, 503, "cannot tell now"},
		{"issuer is down, and garbage", cold, "", http.Header{auth: {"Bearer x"}}, 401, "malformed"},
		{"the deployment's own header", v, oidc.Header, http.Header{"X-Vercel-Oidc-Token": {good}}, 500, "whoever sends it"},
		{"no verifier", nil, "", http.Header{auth: {"Bearer " + good}}, 500, "was not made by New"},
		{"not configured", must(oidcverify.New(issuer.Issuer(), issuer.Audience())), "", http.Header{auth: {"Bearer " + good}}, 500, "VERCEL_PROJECT_ID"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var told error
			handler := oidcverify.Middleware(c.verifier, func(o *oidcverify.MiddlewareOptions) {
				o.Header = c.named
				o.OnError = func(_ *http.Request, err error) { told = err }
			})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				token, ok := oidcverify.FromContext(r.Context())
				assert.True(t, ok)
				_, err := oidc.FromRequest().Token(r.Context())
				assert.Error(t, err, "the caller's token is not the server's own")
				fmt.Fprint(w, token.Project)
			}))
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header = c.header
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, r)
			require.Equal(t, c.status, recorder.Code)
			if c.status == 200 {
				assert.Equal(t, "web", recorder.Body.String())
				assert.NoError(t, told)
				return
			}
			assert.Equal(t, http.StatusText(c.status)+"\n", recorder.Body.String(), "no detail")
			want := map[int]string{403: `Bearer realm="Vercel OIDC", error="insufficient_scope"`, 401: `Bearer realm="Vercel OIDC", error="invalid_token"`}[c.status]
			if strings.Contains(told.Error(), "the request has no token") {
				want = `Bearer realm="Vercel OIDC"`
			}
			assert.Equal(t, want, recorder.Header().Get("WWW-Authenticate"))
			require.Error(t, told)
			assert.ErrorContains(t, told, c.says)
			assert.NotContains(t, told.Error(), good)
		})
	}
	_, ok := oidcverify.FromContext(t.Context())
	assert.False(t, ok)
}

func ExampleMiddleware() {
	issuer := oidctest.NewServer() // https://oidc.vercel.com/acme, outside of tests
	defer issuer.Close()
	verifier, err := oidcverify.New(issuer.Issuer(), "https://vercel.com/acme", func(o *oidcverify.Options) {
		o.Projects = []string{"web"}
		o.Environments = []string{"production"}
	})
	if err != nil {
		panic(err)
	}
	handler := oidcverify.Middleware(verifier)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := oidcverify.FromContext(r.Context())
		fmt.Fprintf(w, "hello, %s of %s", token.Environment, token.Project)
	}))

	for _, raw := range []string{issuer.Mint(), issuer.MintForged()} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		fmt.Println(recorder.Code, recorder.Body)
	}
	// Output:
	// 200 hello, production of web
	// 401 Unauthorized
}
