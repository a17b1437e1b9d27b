package oidctest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// verify checks raw with a JOSE library that knows nothing of this server but its
// issuer.
func verify(t *testing.T, s *oidctest.Server, issuer, raw string) (oidc.Token, error) {
	t.Helper()
	read := func(address string, v any) {
		response, err := s.Client().Get(address)
		require.NoError(t, err)
		defer response.Body.Close()
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.NoError(t, json.NewDecoder(response.Body).Decode(v))
	}
	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	read(issuer+"/.well-known/openid-configuration", &discovery)
	require.Equal(t, issuer, discovery.Issuer)
	var keys jose.JSONWebKeySet
	read(discovery.JWKSURI, &keys)
	signed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return oidc.Token{}, err
	}
	var claims jwt.Claims
	if err := signed.Claims(keys, &claims); err != nil {
		return oidc.Token{}, err
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: issuer, Time: time.Now()}, 0); err != nil {
		return oidc.Token{}, err
	}
	return oidc.ParseUnverified(raw)
}

func TestTokensVerify(t *testing.T) {
	for _, global := range []bool{false, true} {
		s := oidctest.NewServer(func(o *oidctest.Options) { o.Global, o.Team = global, "blue" })
		defer s.Close()
		want := s.URL
		if !global {
			want += "/blue"
		}
		assert.Equal(t, want, s.Issuer())
		raw := s.Mint(func(c *oidctest.Claims) { c.Environment = "preview" })
		token, err := verify(t, s, s.Issuer(), raw)
		require.NoError(t, err)
		assert.Equal(t, "owner:blue:project:web:environment:preview", token.Subject)
		assert.Equal(t, []string{"https://vercel.com/blue"}, token.Audience)
	}
}

func TestClaimsAreVercels(t *testing.T) {
	t.Setenv("VERCEL_TARGET_ENV", "production")
	t.Setenv("VERCEL_PROJECT_ID", "")
	s := oidctest.NewServer()
	defer s.Close()
	token, err := oidc.ParseUnverified(s.Mint())
	require.NoError(t, err)
	assert.Equal(t, 2*time.Hour, token.Expiry.Sub(token.IssuedAt))
	assert.Equal(t, [5]string{"acme", "team_acme", "web", "prj_web", "production"},
		[5]string{token.Owner, token.OwnerID, token.Project, token.ProjectID, token.Environment})
	var all map[string]any
	require.NoError(t, token.Claims(&all))
	assert.Equal(t, token.Subject, all["scope"])
	assert.NotContains(t, all, "user_id")

	token, err = oidc.ParseUnverified(s.Mint(func(c *oidctest.Claims) {
		c.Environment, c.UserID = "development", "user_1"
		c.Extra = map[string]any{"plan": nil, "x": 1}
	}))
	require.NoError(t, err)
	assert.Equal(t, 12*time.Hour, token.Expiry.Sub(token.IssuedAt))
	assert.Equal(t, "user_1", token.UserID)
	assert.Empty(t, token.Plan)
}

func TestRefusedTokens(t *testing.T) {
	s := oidctest.NewServer()
	defer s.Close()
	good := s.Mint()
	for name, raw := range map[string]string{
		"forged":      s.MintForged(),
		"unknown key": s.MintUnknownKey(),
		"unsigned":    s.MintUnsigned(""),
		"fake none":   s.MintUnsigned("x"),
		"tampered":    oidctest.Tamper(good),
		"expired":     s.Mint(func(c *oidctest.Claims) { c.IssuedAt = time.Now().Add(-3 * time.Hour) }),
		"issuer":      s.Mint(func(c *oidctest.Claims) { c.Issuer = "https://evil.example" }),
	} {
		_, err := verify(t, s, s.Issuer(), raw)
		assert.Error(t, err, name)
	}
	_, err := verify(t, s, s.Issuer(), good)
	assert.NoError(t, err)
}

func TestRotation(t *testing.T) {
	s := oidctest.NewServer()
	defer s.Close()
	before := s.Mint()
	s.RotateKey()
	after := s.Mint()
	for _, raw := range []string{before, after} {
		_, err := verify(t, s, s.Issuer(), raw)
		assert.NoError(t, err)
	}
	s.DropOldKeys()
	_, err := verify(t, s, s.Issuer(), before)
	assert.Error(t, err)
	_, err = verify(t, s, s.Issuer(), after)
	assert.NoError(t, err)
}

func TestExchange(t *testing.T) {
	s := oidctest.NewServer(func(o *oidctest.Options) { o.Global = true })
	defer s.Close()
	exchange := func(token, aud, jti string) (int, map[string]any) {
		body, err := json.Marshal(map[string]string{"token": token, "aud": aud, "jti": jti})
		require.NoError(t, err)
		response, err := s.Client().Post(s.ExchangeURL(), "application/json", bytes.NewReader(body))
		require.NoError(t, err)
		defer response.Body.Close()
		var out map[string]any
		require.NoError(t, json.NewDecoder(response.Body).Decode(&out))
		return response.StatusCode, out
	}
	status, out := exchange(s.Mint(), "https://sts.amazonaws.com", "one")
	require.Equal(t, http.StatusOK, status, out)
	token, err := verify(t, s, s.URL+"/acme", out["token"].(string))
	require.NoError(t, err, "the issuer of an exchanged token is the team's")
	assert.Equal(t, []string{"https://sts.amazonaws.com"}, token.Audience)
	assert.EqualValues(t, token.Expiry.Unix(), out["expiry"])
	var claims map[string]any
	require.NoError(t, token.Claims(&claims))
	assert.Equal(t, "one", claims["jti"])
	assert.Contains(t, claims, "act")

	for name, raw := range map[string]string{"forged": s.MintForged(), "garbage": "x", "expired": s.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(-time.Hour) })} {
		status, out = exchange(raw, "a", "")
		assert.Equal(t, http.StatusUnauthorized, status, name)
		assert.NotEmpty(t, out["error"], name)
	}
	status, _ = exchange(s.Mint(), "", "")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Equal(t, 5, s.Exchanges())

	s.SetExchange(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("{}"))
	}))
	status, _ = exchange(s.Mint(), "a", "")
	assert.Equal(t, http.StatusTeapot, status)
}

func TestCloseForgetsItsTokens(t *testing.T) {
	t.Setenv("VERCEL_PROJECT_ID", "")
	one, two := oidctest.NewServer(), oidctest.NewServer()
	defer two.Close()
	for _, s := range []*oidctest.Server{two, one} {
		r, err := http.NewRequest(http.MethodGet, "/", nil)
		require.NoError(t, err)
		r.Header.Set(oidc.Header, s.Mint())
		oidc.RequestContext(r)
	}
	one.Close()
	remembered := oidc.FromRequest().(interface {
		Leaves(leaf.Seal) []leaf.Leaf[oidc.Token]
	}).Leaves(leaf.Seal{})[0].Request.Recent().All(func(oidc.Token) bool { return false })
	require.Len(t, remembered, 1)
	assert.Equal(t, two.Issuer(), remembered[0].Token.Issuer)
}

// Servers share neither keys nor, what is more, the exchange's trust.
func TestEachServerHasItsOwnKeys(t *testing.T) {
	one, two := oidctest.NewServer(), oidctest.NewServer()
	defer one.Close()
	defer two.Close()
	as := func(c *oidctest.Claims) { c.Issuer, c.Audience = one.Issuer(), one.Audience() }
	for i := range 3 {
		_, err := verify(t, one, one.Issuer(), one.Mint(as))
		require.NoError(t, err)
		raw := two.Mint(as)
		_, err = verify(t, one, one.Issuer(), raw)
		require.Error(t, err, i)
		assert.Equal(t, http.StatusUnauthorized, exchangeAt(t, one, raw))
		two.RotateKey()
	}
	assert.Equal(t, http.StatusOK, exchangeAt(t, one, one.Mint()))
	assert.Equal(t, http.StatusUnauthorized, exchangeAt(t, one, one.Mint(func(c *oidctest.Claims) { c.Issuer = two.Issuer() })), "the exchange gives no token of its own for one that names another issuer")
}

func exchangeAt(t *testing.T, s *oidctest.Server, raw string) int {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": raw, "aud": "https://sts.amazonaws.com"})
	require.NoError(t, err)
	response, err := s.Client().Post(s.ExchangeURL(), "application/json", bytes.NewReader(body))
	require.NoError(t, err)
	defer response.Body.Close()
	return response.StatusCode
}

// In a build on Vercel the library knows its project and environment.
func TestClaimsOfTheBuild(t *testing.T) {
	s := oidctest.NewServer()
	defer s.Close()
	for _, c := range []struct {
		id, target, env string
		change          func(*oidctest.Claims)
		want            [3]string // project, project_id, environment
	}{
		{"", "", "", nil, [3]string{"web", "prj_web", "production"}},
		{"prj_1", "", "preview", nil, [3]string{"web", "prj_1", "preview"}},
		{"prj_1", "staging", "preview", nil, [3]string{"web", "prj_1", "staging"}},
		{"prj_1", "staging", "preview", func(c *oidctest.Claims) { c.Environment = "production" }, [3]string{"web", "prj_1", "production"}},
		{"prj_1", "", "", func(c *oidctest.Claims) { c.Project = "other" }, [3]string{"other", "prj_other", "production"}},
		{"prj_1", "", "", func(c *oidctest.Claims) { c.ProjectID = "prj_2" }, [3]string{"web", "prj_2", "production"}},
	} {
		t.Setenv("VERCEL_PROJECT_ID", c.id)
		t.Setenv("VERCEL_TARGET_ENV", c.target)
		t.Setenv("VERCEL_ENV", c.env)
		if c.change == nil {
			c.change = func(*oidctest.Claims) {}
		}
		token, err := oidc.ParseUnverified(s.Mint(c.change))
		require.NoError(t, err)
		assert.Equal(t, c.want, [3]string{token.Project, token.ProjectID, token.Environment})
		assert.Equal(t, "owner:acme:project:"+token.Project+":environment:"+token.Environment, token.Subject)
	}
}
