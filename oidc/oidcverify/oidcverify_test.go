package oidcverify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

func TestVerify(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	v := must(oidcverify.New(issuer.Issuer(), issuer.Audience(), func(o *oidcverify.Options) {
		o.Owners, o.Projects, o.ProjectIDs, o.Environments = []string{"acme"}, []string{"web", "shop"}, []string{"prj_web"}, []string{"production"}
		o.OwnerIDs = []string{"team_acme"}
		o.HTTPClient = issuer.Client()
	}))
	token, err := v.Verify(t.Context(), issuer.Mint())
	require.NoError(t, err)
	assert.Equal(t, "web", token.Project)

	cases := []struct{ name, raw, says string }{
		{"garbage", "garbage", "malformed"},
		{"empty", "", "malformed"},
		{"a megabyte", strings.Repeat("a", 1<<20), "malformed"},
		{"megabytes of dots", strings.Repeat(".", 1<<20), "malformed"},
		{"two tokens", issuer.Mint() + "," + issuer.Mint(), "malformed"},
		{"deep header", withHeader(issuer.Mint(), strings.Repeat("[", 14_000)), "malformed"},
		{"many audiences", issuer.Mint(func(c *oidctest.Claims) {
			c.Extra = map[string]any{"aud": slices.Repeat([]string{"https://vercel.com/other"}, 400)}
		}), "and 396 more"},
		{"no exp", issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"exp": nil} }), "no exp claim"},
		{"no aud", issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"aud": nil} }), "audience is []"},
		{"exp as text", issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"exp": "9999999999"} }), "not a number"},
		{"no kid", withHeader(issuer.Mint(), `{"alg":"RS256"}`), "signature does not verify"},
		{"empty kid", withHeader(issuer.Mint(), `{"alg":"RS256","kid":""}`), "signature does not verify"},
		{"kid that is a number", withHeader(issuer.Mint(), `{"alg":"RS256","kid":1}`), "signature does not verify"},
		{"own key inside", withHeader(issuer.MintForged(), `{"alg":"RS256","kid":"mrk-1","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}`), "signature does not verify"},
		{"critical extension", withHeader(issuer.Mint(), `{"alg":"RS256","kid":"mrk-1","crit":["b64"],"b64":false}`), "signature does not verify"},
		{"alg none", withHeader(issuer.Mint(), `{"alg":"none","kid":"mrk-1"}`), "signature does not verify"},
		{"alg HS256", withHMAC(issuer), "signature does not verify"},
		{"alg ES256", withHeader(issuer.Mint(), `{"alg":"ES256","kid":"mrk-1"}`), "signature does not verify"},
		{"alg RS512", withHeader(issuer.Mint(), `{"alg":"RS512","kid":"mrk-1"}`), "signature does not verify"},
		{"alg PS256", withHeader(issuer.Mint(), `{"alg":"PS256","kid":"mrk-1"}`), "signature does not verify"},
		{"two algs", withHeader(issuer.Mint(), `{"alg":"RS256","alg":"none","kid":"mrk-1"}`), `the name "alg" twice`},
		{"alg that is an outage's text", withHeader(issuer.Mint(), `{"alg":"fetching keys","kid":"mrk-1"}`), "signature does not verify"},
		{"kid that is an outage's text", withHeader(issuer.Mint(), `{"alg":"oidcverify: cannot tell now","kid":"fetching keys"}`), "signature does not verify"},
		{"empty signature", issuer.Mint()[:strings.LastIndex(issuer.Mint(), ".")+1], "malformed"},
		{"short signature", issuer.Mint()[:strings.LastIndex(issuer.Mint(), ".")+5], "signature does not verify"},
		{"forged", issuer.MintForged(), "signature does not verify"},
		{"unknown key", issuer.MintUnknownKey(), "signature does not verify"},
		{"unsigned", issuer.MintUnsigned("x"), "signature does not verify"},
		{"tampered", oidctest.Tamper(issuer.Mint()), "signature does not verify"},
		{"expired", issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(-time.Minute) }), "it expired at"},
		{"not yet", issuer.Mint(func(c *oidctest.Claims) { c.NotBefore = time.Now().Add(time.Hour) }), "not valid before"},
		{"issuer", issuer.Mint(func(c *oidctest.Claims) { c.Issuer = "https://evil.example" }), `issuer is "https://evil.example"`},
		{"audience", issuer.Mint(func(c *oidctest.Claims) { c.Audience = "x" }), `audience is ["x"]`},
		{"owner", issuer.Mint(func(c *oidctest.Claims) { c.Owner = "evil" }), `owner is "evil"`},
		{"owner ID", issuer.Mint(func(c *oidctest.Claims) { c.OwnerID = "team_x" }), `owner_id is "team_x"`},
		{"project", issuer.Mint(func(c *oidctest.Claims) { c.Project = "api"; c.ProjectID = "prj_web" }), `project is "api"`},
		{"project ID", issuer.Mint(func(c *oidctest.Claims) { c.ProjectID = "prj_x" }), `project_id is "prj_x"`},
		{"environment", issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" }), `environment is "preview"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), c.raw)
			require.ErrorIs(t, err, oidcverify.ErrRefused)
			assert.NotErrorIs(t, err, oidcverify.ErrUnavailable)
			assert.ErrorContains(t, err, c.says)
			assert.Less(t, len(err.Error()), 2000)
			switch c.name {
			case "owner", "owner ID", "project", "project ID", "environment":
				assert.ErrorIs(t, err, oidcverify.ErrNotAllowed)
			default:
				assert.NotErrorIs(t, err, oidcverify.ErrNotAllowed)
			}
			if parts := strings.Split(c.raw, "."); len(parts) == 3 && parts[2] != "" {
				assert.NotContains(t, err.Error(), parts[1])
				assert.NotContains(t, err.Error(), parts[2])
			}
		})
	}
}

func TestRotationAndConcurrency(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	v := must(oidcverify.New(issuer.Issuer(), issuer.Audience(), open))
	var wg sync.WaitGroup
	for range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := v.Verify(context.Background(), issuer.Mint())
			assert.NoError(t, err)
		}()
	}
	wg.Wait()
	issuer.RotateKey()
	_, err := v.Verify(t.Context(), issuer.Mint())
	assert.NoError(t, err)
}

// The context of the first call ends; the keys are fetched by later ones.
func TestFirstContextEnds(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	v := must(oidcverify.New(issuer.Issuer(), issuer.Audience(), open))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := v.Verify(ctx, issuer.Mint())
	require.NoError(t, err)
	cancel()
	issuer.RotateKey()
	_, err = v.Verify(t.Context(), issuer.Mint())
	assert.NoError(t, err)
}

func TestIssuerOutOfReach(t *testing.T) {
	issuer := oidctest.NewServer()
	raw := issuer.Mint()
	v := must(oidcverify.New(issuer.Issuer(), issuer.Audience(), open))
	issuer.Close()
	_, err := v.Verify(t.Context(), raw)
	require.ErrorContains(t, err, "cannot reach the issuer")
	assert.NotErrorIs(t, err, oidcverify.ErrRefused)
}

// withHMAC signs a token with the public key as the secret of an HMAC.
func withHMAC(issuer *oidctest.Server) string {
	var set struct {
		Keys []struct{ N string }
	}
	if err := json.Unmarshal(document(issuer, jwks), &set); err != nil {
		panic(err)
	}
	secret, _ := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	raw := withHeader(issuer.Mint(), `{"alg":"HS256","kid":"mrk-1"}`)
	signed := raw[:strings.LastIndexByte(raw, '.')]
	sum := hmac.New(sha256.New, secret)
	sum.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(sum.Sum(nil))
}

// Who gets in is what Options say, or the deployment itself, or nobody.
func TestClosedUnlessOpened(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	own := func(c *oidctest.Claims) { c.Project, c.Environment = "own", "preview" }
	otherProject := func(c *oidctest.Claims) { c.Project, c.Environment = "other", "preview" }
	otherEnvironment := func(c *oidctest.Claims) { c.Project, c.Environment = "own", "production" }
	type env map[string]string
	deployed := env{"VERCEL_PROJECT_ID": "prj_own", "VERCEL_ENV": "preview"}
	const (
		in     = "in"
		out    = "out"
		broken = "broken"
	)
	cases := []struct {
		name                        string
		env                         env
		options                     func(*oidcverify.Options)
		own, otherProject, otherEnv string
		refused                     string // what New says
	}{
		{"nothing", env{}, nil, broken, broken, broken, ""},
		{"deployed", deployed, nil, in, out, out, ""},
		{"no project", env{"VERCEL_ENV": "preview"}, nil, broken, broken, broken, ""},
		{"no environment", env{"VERCEL_PROJECT_ID": "prj_own"}, nil, broken, broken, broken, ""},
		{"target environment first", env{"VERCEL_PROJECT_ID": "prj_own", "VERCEL_ENV": "preview", "VERCEL_TARGET_ENV": "production"}, nil, out, out, in, ""},
		{"owners open neither", env{}, func(o *oidcverify.Options) { o.Owners, o.OwnerIDs = []string{"acme"}, []string{"team_acme"} }, broken, broken, broken, ""},
		{"owners beside the deployment", deployed, func(o *oidcverify.Options) { o.Owners = []string{"acme"} }, in, out, out, ""},
		{"other owners", deployed, func(o *oidcverify.Options) { o.Owners = []string{"x"} }, out, out, out, ""},
		{"any project", deployed, func(o *oidcverify.Options) { o.AnyProject = true }, in, in, out, ""},
		{"any project does not open the environment", env{}, func(o *oidcverify.Options) { o.AnyProject = true }, broken, broken, broken, ""},
		{"any environment", deployed, func(o *oidcverify.Options) { o.AnyEnvironment = true }, in, out, in, ""},
		{"any environment does not open the project", env{}, func(o *oidcverify.Options) { o.AnyEnvironment = true }, broken, broken, broken, ""},
		{"both", env{}, open, in, in, in, ""},
		{"a project, and the deployment's environment", deployed, func(o *oidcverify.Options) { o.Projects = []string{"other"} }, out, in, out, ""},
		{"a project ID in place of the deployment's", deployed, func(o *oidcverify.Options) { o.ProjectIDs = []string{"prj_other"} }, out, in, out, ""},
		{"a project without an environment", env{}, func(o *oidcverify.Options) { o.Projects = []string{"own"} }, broken, broken, broken, ""},
		{"an environment, and the deployment's project", deployed, func(o *oidcverify.Options) { o.Environments = []string{"production"} }, out, out, in, ""},
		{"lists hold beside any", deployed, func(o *oidcverify.Options) {
			open(o)
			o.Projects, o.Environments = []string{"own"}, []string{"preview"}
		}, in, out, out, ""},
		{"an empty project", deployed, func(o *oidcverify.Options) { o.Projects = []string{"own", ""} }, "", "", "", "allow for project is empty"},
		{"an empty owner", deployed, func(o *oidcverify.Options) { o.Owners = []string{""} }, "", "", "", "allow for owner is empty"},
		{"a star is a name", deployed, func(o *oidcverify.Options) { o.Projects = []string{"*"} }, out, out, out, ""},
		{"a negative tolerance", deployed, func(o *oidcverify.Options) { o.ClockTolerance = -1 }, "", "", "", "is negative"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"VERCEL_PROJECT_ID", "VERCEL_ENV", "VERCEL_TARGET_ENV"} {
				t.Setenv(name, c.env[name])
			}
			var optFns []func(*oidcverify.Options)
			if c.options != nil {
				optFns = append(optFns, c.options)
			}
			v, err := oidcverify.New(issuer.Issuer(), issuer.Audience(), optFns...)
			if c.refused != "" {
				require.ErrorIs(t, err, oidcverify.ErrNotConfigured)
				assert.ErrorContains(t, err, c.refused)
				assert.Nil(t, v)
				return
			}
			require.NoError(t, err)
			for name, token := range map[string]struct {
				raw, want string
			}{
				"own":               {issuer.Mint(own), c.own},
				"other project":     {issuer.Mint(otherProject), c.otherProject},
				"other environment": {issuer.Mint(otherEnvironment), c.otherEnv},
				"forged":            {issuer.MintForged(own), map[bool]string{true: broken, false: "forged"}[c.own == broken]},
			} {
				_, err := v.Verify(t.Context(), token.raw)
				switch token.want {
				case in:
					assert.NoError(t, err, name)
				case out:
					assert.ErrorIs(t, err, oidcverify.ErrNotAllowed, name)
					assert.ErrorIs(t, err, oidcverify.ErrRefused, name)
				case broken:
					assert.ErrorIs(t, err, oidcverify.ErrNotConfigured, name)
					assert.NotErrorIs(t, err, oidcverify.ErrRefused, name)
				default:
					assert.ErrorIs(t, err, oidcverify.ErrRefused, name)
					assert.NotErrorIs(t, err, oidcverify.ErrNotAllowed, name)
				}
			}
		})
	}
	for _, name := range []string{"VERCEL_PROJECT_ID", "VERCEL_ENV", "VERCEL_TARGET_ENV"} {
		t.Setenv(name, "")
	}
	_, err := must(oidcverify.New(issuer.Issuer(), issuer.Audience())).Verify(t.Context(), issuer.Mint())
	assert.ErrorContains(t, err, "VERCEL_PROJECT_ID")
	assert.ErrorContains(t, err, "Options.AnyProject")
	_, err = must(oidcverify.New(issuer.Issuer(), issuer.Audience(), func(o *oidcverify.Options) { o.AnyProject = true })).Verify(t.Context(), issuer.Mint())
	assert.ErrorContains(t, err, "VERCEL_TARGET_ENV")
	assert.ErrorContains(t, err, "Options.AnyEnvironment")
}

// What lets anyone in, or nobody, is told by New.
func TestNewRefuses(t *testing.T) {
	const team, audience = "https://oidc.vercel.com/acme", "https://vercel.com/acme"
	for name, c := range map[string]struct {
		issuer, audience, says string
		options                func(*oidcverify.Options)
	}{
		"no issuer":             {"", audience, "no issuer", nil},
		"no scheme":             {"oidc.vercel.com/acme", audience, "is not the URL of an issuer", nil},
		"no scheme, slashes":    {"//oidc.vercel.com/acme", audience, "is not the URL of an issuer", nil},
		"another scheme":        {"ftp://oidc.vercel.com/acme", audience, "is not the URL of an issuer", nil},
		"no host":               {"https:///acme", audience, "is not the URL of an issuer", nil},
		"scheme alone":          {"https://", audience, "is not the URL of an issuer", nil},
		"a slash behind":        {team + "/", audience, "ends in a slash", nil},
		"the global one, slash": {"https://oidc.vercel.com/", audience, "ends in a slash", nil},
		"capital letters":       {"https://OIDC.vercel.com/acme", audience, "is not the URL of an issuer", nil},
		"capital scheme":        {"HTTPS://oidc.vercel.com/acme", audience, "is not the URL of an issuer", nil},
		"white space":           {" " + team, audience, "is not the URL of an issuer", nil},
		"white space behind":    {team + " ", audience, "is not the URL of an issuer", nil},
		"a line end":            {team + "\n", audience, "is not the URL of an issuer", nil},
		"a query":               {team + "?x=1", audience, "is not the URL of an issuer", nil},
		"a fragment":            {team + "#x", audience, "is not the URL of an issuer", nil},
		"a user":                {"https://x@oidc.vercel.com/acme", audience, "is not the URL of an issuer", nil},
		"no audience":           {team, "", "no audience", nil},
		"a blank audience":      {team, " ", "white space", nil},
		"white space around":    {team, audience + "\n", "white space", nil},
		"global without owners": {"https://oidc.vercel.com", audience, "Options.Owners", nil},
		"global, empty owner":   {"https://oidc.vercel.com", audience, "allow for owner is empty", func(o *oidcverify.Options) { o.Owners = []string{""} }},
		"an empty environment":  {team, audience, "allow for environment is empty", func(o *oidcverify.Options) { o.Environments = []string{"production", ""} }},
	} {
		t.Run(name, func(t *testing.T) {
			optFns := []func(*oidcverify.Options){open}
			if c.options != nil {
				optFns = append(optFns, c.options)
			}
			v, err := oidcverify.New(c.issuer, c.audience, optFns...)
			require.ErrorIs(t, err, oidcverify.ErrNotConfigured)
			assert.ErrorContains(t, err, c.says)
			assert.Nil(t, v)
			_, err = v.Verify(t.Context(), "x")
			assert.ErrorIs(t, err, oidcverify.ErrNotConfigured, "whoever ignores the error lets nobody in")
		})
	}
	for _, v := range []*oidcverify.Verifier{nil, new(oidcverify.Verifier)} {
		_, err := v.Verify(t.Context(), "x")
		assert.ErrorIs(t, err, oidcverify.ErrNotConfigured)
		assert.ErrorContains(t, err, "was not made by New")
	}
	for issuer, options := range map[string]func(*oidcverify.Options){
		team:                      open,
		"https://oidc.vercel.com": func(o *oidcverify.Options) { o.OwnerIDs = []string{"team_1"} },
		"http://127.0.0.1:8080/a": open,
		"https://a.example:8443":  open,
	} {
		_, err := oidcverify.New(issuer, audience, options)
		assert.NoError(t, err, issuer)
	}
}

// What a caller does with its lists after New opens nothing.
func TestListsAreCopied(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	raw := issuer.Mint()
	for name, option := range map[string]func(*oidcverify.Options) *[]string{
		"Owners":       func(o *oidcverify.Options) *[]string { return &o.Owners },
		"OwnerIDs":     func(o *oidcverify.Options) *[]string { return &o.OwnerIDs },
		"Projects":     func(o *oidcverify.Options) *[]string { return &o.Projects },
		"ProjectIDs":   func(o *oidcverify.Options) *[]string { return &o.ProjectIDs },
		"Environments": func(o *oidcverify.Options) *[]string { return &o.Environments },
	} {
		list := []string{"x"}
		var kept *oidcverify.Options
		v := must(oidcverify.New(issuer.Issuer(), issuer.Audience(), open, func(o *oidcverify.Options) {
			*option(o), kept = list, o
		}))
		copy(list, []string{map[string]string{"Owners": "acme", "OwnerIDs": "team_acme", "Projects": "web", "ProjectIDs": "prj_web", "Environments": "production"}[name]})
		*option(kept) = nil
		_, err := v.Verify(t.Context(), raw)
		assert.ErrorIs(t, err, oidcverify.ErrNotAllowed, name)
	}
}

// A long claim of a good token does not make a long error, nor break a log line.
func TestClaimsAreQuotedAndShortened(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	v := must(oidcverify.New(issuer.Issuer(), issuer.Audience(), open, func(o *oidcverify.Options) { o.Owners = []string{"acme"} }))
	_, err := v.Verify(t.Context(), issuer.Mint(func(c *oidctest.Claims) { c.Owner = "a\n\x1b[31m" + strings.Repeat("x", 1000) }))
	require.ErrorIs(t, err, oidcverify.ErrNotAllowed)
	assert.Less(t, len(err.Error()), 400)
	assert.NotContains(t, err.Error(), "\n")
	assert.NotContains(t, err.Error(), "\x1b")
}

func ExampleVerifier() {
	issuer := oidctest.NewServer() // https://oidc.vercel.com/acme, outside of tests
	defer issuer.Close()
	verifier, err := oidcverify.New(issuer.Issuer(), "https://vercel.com/acme", func(o *oidcverify.Options) {
		o.Projects = []string{"web"}
		o.Environments = []string{"production"}
	})
	if err != nil {
		panic(err)
	}
	token, err := verifier.Verify(context.Background(), issuer.Mint())
	fmt.Println(token.Subject, err)
	_, err = verifier.Verify(context.Background(), issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" }))
	fmt.Println(err)
	// Output:
	// owner:acme:project:web:environment:production <nil>
	// oidcverify: token refused: its environment is "preview", not one of ["production"]
}
