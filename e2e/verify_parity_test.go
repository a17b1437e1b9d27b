package e2e

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/npm"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// vercelOIDC is the version that docs/tokens.md and docs/verify.md compare with.
const vercelOIDC = "@vercel/oidc@4.0.9"

// The results of a verification, by both packages.
const (
	good         = "good"
	refused      = "refused"
	notAllowed   = "not allowed"
	unconfigured = "not configured"
)

// TestParityWithVerifyVercelOidcToken has npm's verifyVercelOidcToken and ours
// judge the same tokens under the same settings. It needs npm.
func TestParityWithVerifyVercelOidcToken(t *testing.T) {
	packages := npm.Install(t, vercelOIDC)
	vercel := oidctest.NewServer() // plays https://oidc.vercel.com
	defer vercel.Close()
	const global, team, audience = "https://oidc.vercel.com", "https://oidc.vercel.com/acme", "https://vercel.com/acme"
	mint := func(optFns ...func(*oidctest.Claims)) string {
		return vercel.Mint(append([]func(*oidctest.Claims){func(c *oidctest.Claims) { c.Issuer = team }}, optFns...)...)
	}
	type (
		claims  = oidctest.Claims
		object  = map[string]any
		options = oidcverify.Options
	)
	deployed := map[string]string{"VERCEL_PROJECT_ID": "prj_web", "VERCEL_ENV": "production"}
	header := func(raw, header string) string {
		_, rest, _ := strings.Cut(raw, ".")
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
	}
	now := time.Now()
	cases := []struct {
		name  string
		token string
		env   map[string]string
		js    object // its options
		ours  func(*options)
		want  string // of both
		here  string // where ours differs: what it says
		why   string // and why
	}{
		// The deployment's own project and environment.
		{name: "own", token: mint(), env: deployed, want: good},
		{name: "another project", token: mint(func(c *claims) { c.Project = "api" }), env: deployed, want: notAllowed},
		{name: "another environment", token: mint(func(c *claims) { c.Environment = "preview" }), env: deployed, want: notAllowed},
		{name: "another environment's name in the case of letters", token: mint(func(c *claims) { c.Environment = "Production" }), env: deployed, want: notAllowed},
		{name: "the project's name is not its ID", token: mint(func(c *claims) { c.Project, c.ProjectID = "prj_web", "prj_x" }), env: deployed, want: notAllowed},
		{name: "target environment before environment", token: mint(func(c *claims) { c.Environment = "staging" }), env: map[string]string{"VERCEL_PROJECT_ID": "prj_web", "VERCEL_ENV": "preview", "VERCEL_TARGET_ENV": "staging"}, want: good},
		{name: "the environment behind the target's name", token: mint(func(c *claims) { c.Environment = "preview" }), env: map[string]string{"VERCEL_PROJECT_ID": "prj_web", "VERCEL_ENV": "preview", "VERCEL_TARGET_ENV": "staging"}, want: notAllowed},
		{name: "empty target environment", token: mint(), env: map[string]string{"VERCEL_PROJECT_ID": "prj_web", "VERCEL_ENV": "production", "VERCEL_TARGET_ENV": ""}, want: good},
		{name: "nothing set", token: mint(), want: unconfigured},
		{name: "no project set", token: mint(), env: map[string]string{"VERCEL_ENV": "production"}, want: unconfigured},
		{name: "no environment set", token: mint(), env: map[string]string{"VERCEL_PROJECT_ID": "prj_web"}, want: unconfigured},
		{name: "no project claim", token: mint(func(c *claims) { c.Extra = object{"project_id": nil} }), env: deployed, want: notAllowed},
		{name: "no environment claim", token: mint(func(c *claims) { c.Extra = object{"environment": nil} }), env: deployed, want: notAllowed},

		// Options.
		{name: "projectId", token: mint(func(c *claims) { c.Project = "api" }), env: deployed, js: object{"projectId": "prj_api"}, ours: func(o *options) { o.ProjectIDs = []string{"prj_api"} }, want: good},
		{name: "projectId replaces the own", token: mint(), env: deployed, js: object{"projectId": "prj_api"}, ours: func(o *options) { o.ProjectIDs = []string{"prj_api"} }, want: notAllowed},
		{name: "projectId list", token: mint(), env: deployed, js: object{"projectId": []string{"prj_api", "prj_web"}}, ours: func(o *options) { o.ProjectIDs = []string{"prj_api", "prj_web"} }, want: good},
		{name: "projectId list without it", token: mint(), env: deployed, js: object{"projectId": []string{"prj_api", "prj_x"}}, ours: func(o *options) { o.ProjectIDs = []string{"prj_api", "prj_x"} }, want: notAllowed},
		{name: "projectId without environment", token: mint(), js: object{"projectId": "prj_web"}, ours: func(o *options) { o.ProjectIDs = []string{"prj_web"} }, want: unconfigured},
		{name: "any project", token: mint(func(c *claims) { c.Project = "api" }), env: deployed, js: object{"projectId": "*", "audience": audience}, ours: func(o *options) { o.AnyProject = true }, want: good},
		{name: "any project, another environment", token: mint(func(c *claims) { c.Environment = "preview" }), env: deployed, js: object{"projectId": "*", "audience": audience}, ours: func(o *options) { o.AnyProject = true }, want: notAllowed},
		{name: "any project without an environment", token: mint(), js: object{"projectId": "*", "audience": audience}, ours: func(o *options) { o.AnyProject = true }, want: unconfigured},
		{name: "environment", token: mint(func(c *claims) { c.Environment = "preview" }), env: deployed, js: object{"environment": "preview"}, ours: func(o *options) { o.Environments = []string{"preview"} }, want: good},
		{name: "environment list", token: mint(), env: deployed, js: object{"environment": []string{"preview", "production"}}, ours: func(o *options) { o.Environments = []string{"preview", "production"} }, want: good},
		{name: "environment list without it", token: mint(), env: deployed, js: object{"environment": []string{"preview", "staging"}}, ours: func(o *options) { o.Environments = []string{"preview", "staging"} }, want: notAllowed},
		{name: "any environment", token: mint(func(c *claims) { c.Environment = "preview" }), env: deployed, js: object{"environment": "*"}, ours: func(o *options) { o.AnyEnvironment = true }, want: good},
		{name: "any environment, another project", token: mint(func(c *claims) { c.Project = "api" }), env: deployed, js: object{"environment": "*"}, ours: func(o *options) { o.AnyEnvironment = true }, want: notAllowed},
		{name: "any of both", token: mint(func(c *claims) { c.Project, c.Environment = "api", "preview" }), js: object{"projectId": "*", "environment": "*", "audience": audience}, ours: func(o *options) { o.AnyProject, o.AnyEnvironment = true, true }, want: good},
		{name: "ownerId", token: mint(), env: deployed, js: object{"ownerId": "team_acme"}, ours: func(o *options) { o.OwnerIDs = []string{"team_acme"} }, want: good},
		{name: "another ownerId", token: mint(), env: deployed, js: object{"ownerId": "team_x"}, ours: func(o *options) { o.OwnerIDs = []string{"team_x"} }, want: notAllowed},
		{name: "ownerId does not open", token: mint(func(c *claims) { c.Project = "api" }), env: deployed, js: object{"ownerId": "team_acme"}, ours: func(o *options) { o.OwnerIDs = []string{"team_acme"} }, want: notAllowed},
		{name: "audience", token: mint(), env: deployed, js: object{"audience": audience}, want: good},
		{name: "another audience", token: mint(func(c *claims) { c.Audience = "https://vercel.com/other" }), env: deployed, js: object{"audience": audience}, want: refused},
		{name: "one of two audiences", token: mint(func(c *claims) { c.Extra = object{"aud": []string{"x", audience}} }), env: deployed, js: object{"audience": audience}, want: good},
		{name: "issuer", token: mint(), env: deployed, js: object{"issuer": team}, want: good},
		{name: "another issuer", token: mint(func(c *claims) { c.Issuer = global + "/other" }), env: deployed, js: object{"issuer": team}, want: refused},
		{name: "issuer of another host", token: mint(func(c *claims) { c.Issuer = "https://oidc.vercel.com.evil.example/acme" }), env: deployed, want: refused},
		{name: "an old token within the tolerance", token: mint(func(c *claims) { c.Expiry = now.Add(-30 * time.Second) }), env: deployed, js: object{"clockTolerance": 120}, ours: func(o *options) { o.ClockTolerance = 2 * time.Minute }, want: good},
		{name: "a new token within the tolerance", token: mint(func(c *claims) { c.NotBefore = now.Add(90 * time.Second) }), env: deployed, js: object{"clockTolerance": 120}, ours: func(o *options) { o.ClockTolerance = 2 * time.Minute }, want: good},

		// Tokens.
		{name: "forged", token: vercel.MintForged(func(c *claims) { c.Issuer = team }), env: deployed, want: refused},
		{name: "unknown key", token: vercel.MintUnknownKey(func(c *claims) { c.Issuer = team }), env: deployed, want: refused},
		{name: "unsigned", token: vercel.MintUnsigned("", func(c *claims) { c.Issuer = team }), env: deployed, want: refused},
		{name: "unsigned, with a signature", token: vercel.MintUnsigned("x", func(c *claims) { c.Issuer = team }), env: deployed, want: refused},
		{name: "tampered", token: oidctest.Tamper(mint()), env: deployed, want: refused},
		{name: "HS256", token: header(mint(), `{"alg":"HS256","kid":"mrk-1"}`), env: deployed, want: refused},
		{name: "RS512", token: header(mint(), `{"alg":"RS512","kid":"mrk-1"}`), env: deployed, want: refused},
		{name: "critical extension", token: header(mint(), `{"alg":"RS256","kid":"mrk-1","crit":["x"],"x":1}`), env: deployed, want: refused},
		{name: "expired", token: mint(func(c *claims) { c.Expiry = now.Add(-time.Minute) }), env: deployed, want: refused},
		{name: "not yet valid", token: mint(func(c *claims) { c.NotBefore = now.Add(time.Minute) }), env: deployed, want: refused},
		{name: "exp as text", token: mint(func(c *claims) { c.Extra = object{"exp": "9999999999"} }), env: deployed, want: refused},
		{name: "garbage", token: "garbage", env: deployed, want: refused},
		{name: "empty", token: "", env: deployed, want: refused},
		{name: "white space around", token: " " + mint() + " ", env: deployed, want: refused},

		// Where they differ.
		{name: "no exp", token: mint(func(c *claims) { c.Extra = object{"exp": nil} }), env: deployed, want: good, here: refused, why: "exp is required here"},
		{name: "no sub", token: mint(func(c *claims) { c.Extra = object{"sub": nil} }), env: deployed, want: good, here: refused, why: "sub is required here, as STS requires it"},
		{name: "no audience given", token: mint(func(c *claims) { c.Audience = "https://vercel.com/other" }), env: deployed, want: good, here: refused, why: "an audience is always given here"},
		{name: "issuer of the other mode", token: mint(func(c *claims) { c.Issuer = global }), env: deployed, want: good, here: refused, why: "a verifier is of one issuer here"},
		{name: "any project without audience or owner", token: mint(), env: deployed, js: object{"projectId": "*"}, ours: func(o *options) { o.AnyProject = true }, want: unconfigured, here: good, why: "the audience is always given here"},
		{name: "an empty project list", token: mint(), env: deployed, js: object{"projectId": []string{}}, ours: func(o *options) { o.ProjectIDs = []string{} }, want: unconfigured, here: good, why: "an empty list is no list in Go: the deployment's own project passes, and no other"},
		{name: "an empty project list, another project", token: mint(func(c *claims) { c.Project = "api" }), env: deployed, js: object{"projectId": []string{}}, ours: func(o *options) { o.ProjectIDs = []string{} }, want: unconfigured, here: notAllowed, why: "as before"},
		{name: "long", token: mint(func(c *claims) { c.Extra = object{"x": strings.Repeat("x", 20_000)} }), env: deployed, want: good, here: refused, why: "longer than STS takes"},
	}
	require.GreaterOrEqual(t, len(cases), 25)

	input := make([]object, len(cases))
	for i, c := range cases {
		input[i] = object{"token": c.token, "options": c.js, "env": c.env}
	}
	var theirs []string
	keySet := vercel.Issuer() + "/.well-known/jwks"
	npm.Run(t, input, &theirs, filepath.Join("testdata", "verify", "verify.cjs"), packages, keySet)
	require.Len(t, theirs, len(cases))

	response, err := vercel.Client().Get(keySet)
	require.NoError(t, err)
	defer response.Body.Close()
	set, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	client := &http.Client{Transport: published(set)}
	same, differ := 0, 0
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"VERCEL_PROJECT_ID", "VERCEL_ENV", "VERCEL_TARGET_ENV"} {
				t.Setenv(name, c.env[name])
			}
			optFns := []func(*oidcverify.Options){func(o *oidcverify.Options) { o.HTTPClient = client }}
			if c.ours != nil {
				optFns = append(optFns, c.ours)
			}
			verifier, err := oidcverify.New(team, audience, optFns...)
			require.NoError(t, err)
			_, err = verifier.Verify(t.Context(), c.token)
			assert.Equal(t, c.want, theirResult(theirs[i]), "npm's says %s", theirs[i])
			if c.here != "" {
				assert.Equal(t, c.here, ourResult(err), "ours says %v", err)
				assert.NotEmpty(t, c.why)
				differ++
				return
			}
			assert.Equal(t, c.want, ourResult(err), "ours says %v", err)
			same++
		})
	}
	t.Logf("%d tokens: %d judged alike, %d differently for a stated reason", len(cases), same, differ)
}

func ourResult(err error) string {
	switch {
	case err == nil:
		return good
	case errors.Is(err, oidcverify.ErrNotConfigured):
		return unconfigured
	case errors.Is(err, oidcverify.ErrNotAllowed):
		return notAllowed
	case errors.Is(err, oidcverify.ErrRefused):
		return refused
	default:
		return err.Error()
	}
}

// theirResult is the result of an error of verifyVercelOidcToken, by its code.
// Verify.cjs adds "iss" if it was about the issuer. If verifyVercelOidcToken is not
// configured, it throws a bare TypeError.
func theirResult(v string) string {
	switch v {
	case "TypeError":
		return unconfigured
	case "ERR_VERCEL_OIDC_TOKEN_VALIDATION":
		return notAllowed
	case "ERR_VERCEL_OIDC_TOKEN_VALIDATION iss",
		"ERR_JWS_INVALID", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED", "ERR_JWKS_NO_MATCHING_KEY",
		"ERR_JWT_INVALID", "ERR_JWT_EXPIRED", "ERR_JWT_CLAIM_VALIDATION_FAILED", "ERR_JWT_CLAIM_VALIDATION_FAILED iss",
		"ERR_JOSE_ALG_NOT_ALLOWED", "ERR_JOSE_NOT_SUPPORTED":
		return refused
	default:
		return v
	}
}
