package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/e2e/internal/npm"
	"github.com/vercelaws/vercelaws/oidc"
)

// parityCase is one way in which a process can be given tokens, and the results:
// the name of the place whose token is taken, or "none".
type parityCase struct {
	name string

	noRequest bool
	header    []string // values of the public header, by kind
	internal  string   // value of the internal header, by kind
	earlier   string   // what an earlier request's header held
	file, env string   // by kind

	ours, js, bundled string // bundled is what the AWS provider for JS bundles
	why               string // a row of docs/tokens.md, where they differ
}

// The rows of the table in docs/tokens.md.
const (
	whyNext     = "the first value found cannot be used, and a later one can"
	whyRecent   = "the caller has no live token of its own, and an earlier request had"
	whyInternal = "a request with only `x-vercel-internal-oidc-token`"
	whyTwice    = "the same header twice"
	whyClock    = "less than a minute past its expiry"
	whyShape    = "a value that STS could not accept"
	whySpace    = "white space or a byte order mark around the variable's value"
	whyBundled  = "`VERCEL_OIDC_TOKEN_FILE`, with the AWS provider 3.3.9 for JavaScript"
)

// The results of both packages, without options, in a folder that is not linked, as
// in a deployment.
var parityCases = []parityCase{
	{name: "no request, nothing", noRequest: true, ours: "none", js: "none", bundled: "none"},
	{name: "a request, nothing", ours: "none", js: "none", bundled: "none"},
	{name: "header", header: []string{"live"}, ours: "header", js: "header", bundled: "header"},
	{name: "empty header", header: []string{""}, ours: "none", js: "none", bundled: "none"},
	{name: "empty header, variable", header: []string{""}, env: "live", ours: "variable", js: "none", bundled: "none", why: whyNext},
	{name: "empty header, file", header: []string{""}, file: "live", ours: "file", js: "file", bundled: "none", why: whyBundled},
	{name: "header, file and variable", header: []string{"live"}, file: "live", env: "live", ours: "header", js: "header", bundled: "header"},
	{name: "header and variable", header: []string{"live"}, env: "live", ours: "header", js: "header", bundled: "header"},
	{name: "file and variable", file: "live", env: "live", ours: "file", js: "file", bundled: "variable", why: whyBundled},
	{name: "file", file: "live", ours: "file", js: "file", bundled: "none", why: whyBundled},
	{name: "file, no request", noRequest: true, file: "live", ours: "file", js: "file", bundled: "none", why: whyBundled},
	{name: "variable", env: "live", ours: "variable", js: "variable", bundled: "variable"},
	{name: "variable, no request", noRequest: true, env: "live", ours: "variable", js: "variable", bundled: "variable"},
	{name: "expired header", header: []string{"expired"}, ours: "none", js: "none", bundled: "none"},
	{name: "expired header, file", header: []string{"expired"}, file: "live", ours: "file", js: "none", bundled: "none", why: whyNext},
	{name: "expired header, variable", header: []string{"expired"}, env: "live", ours: "variable", js: "none", bundled: "none", why: whyNext},
	{name: "expired file", file: "expired", ours: "none", js: "none", bundled: "none"},
	{name: "expired file, variable", file: "expired", env: "live", ours: "variable", js: "none", bundled: "variable", why: whyNext},
	{name: "expired variable", env: "expired", ours: "none", js: "none", bundled: "none"},
	{name: "all expired", header: []string{"expired"}, file: "expired", env: "expired", ours: "none", js: "none", bundled: "none"},
	{name: "just expired header", header: []string{"just expired"}, ours: "header", js: "none", bundled: "none", why: whyClock},
	{name: "just expired variable", env: "just expired", ours: "variable", js: "none", bundled: "none", why: whyClock},
	{name: "header not yet valid", header: []string{"not yet"}, ours: "header", js: "header", bundled: "header"},
	{name: "header for a list of audiences", header: []string{"list of audiences"}, ours: "header", js: "header", bundled: "header"},
	{name: "header is garbage", header: []string{"garbage"}, ours: "none", js: "none", bundled: "none"},
	{name: "header is garbage, variable", header: []string{"garbage"}, env: "live", ours: "variable", js: "none", bundled: "none", why: whyNext},
	{name: "header is the word undefined", header: []string{"undefined"}, ours: "none", js: "none", bundled: "none"},
	{name: "header without sub", header: []string{"no sub"}, ours: "none", js: "header", bundled: "header", why: whyShape},
	{name: "header without exp", header: []string{"no exp"}, ours: "none", js: "header", bundled: "header", why: whyShape},
	{name: "header with exp as text", header: []string{"exp is text"}, ours: "none", js: "header", bundled: "header", why: whyShape},
	{name: "header too long", header: []string{"long"}, ours: "none", js: "header", bundled: "header", why: whyShape},
	{name: "header unsigned", header: []string{"unsigned"}, ours: "none", js: "header", bundled: "header", why: whyShape},
	{name: "header of two parts", header: []string{"two parts"}, ours: "none", js: "none", bundled: "none"},
	{name: "header in quotes", header: []string{"quoted"}, ours: "none", js: "header", bundled: "header", why: whyShape},
	{name: "variable in quotes", env: "quoted", ours: "none", js: "variable", bundled: "variable", why: whyShape},
	{name: "variable with white space", env: "spaced", ours: "variable", js: "variable, untrimmed", bundled: "variable, untrimmed", why: whySpace},
	{name: "variable with a byte order mark", env: "marked", ours: "variable", js: "variable, untrimmed", bundled: "variable, untrimmed", why: whySpace},
	{name: "variable of white space", env: "space", ours: "none", js: "none", bundled: "none"},
	{name: "variable is garbage", env: "garbage", ours: "none", js: "none", bundled: "none"},
	{name: "file with white space", file: "spaced", ours: "file", js: "file", bundled: "none", why: whyBundled},
	{name: "file with a byte order mark", file: "marked", ours: "file", js: "file", bundled: "none", why: whyBundled},
	{name: "empty file", file: "space", ours: "none", js: "none", bundled: "none"},
	{name: "empty file, variable", file: "space", env: "live", ours: "variable", js: "none", bundled: "variable", why: whyNext},
	{name: "file is missing", file: "missing", ours: "none", js: "none", bundled: "none"},
	{name: "file is missing, variable", file: "missing", env: "live", ours: "variable", js: "none", bundled: "variable", why: whyNext},
	{name: "file is missing, header", header: []string{"live"}, file: "missing", ours: "header", js: "header", bundled: "header"},
	{name: "file is a folder, variable", file: "folder", env: "live", ours: "variable", js: "none", bundled: "variable", why: whyNext},
	{name: "file is garbage, variable", file: "garbage", env: "live", ours: "variable", js: "none", bundled: "variable", why: whyNext},
	{name: "header twice the same", header: []string{"live", "same"}, ours: "header", js: "none", bundled: "none", why: whyTwice},
	{name: "two headers", header: []string{"live", "live"}, ours: "none", js: "none", bundled: "none"},
	{name: "two headers, variable", header: []string{"live", "live"}, env: "live", ours: "variable", js: "none", bundled: "none", why: whyNext},
	{name: "an expired and a live header", header: []string{"expired", "live"}, ours: "none", js: "none", bundled: "none"},
	{name: "internal header", internal: "live", ours: "internal header", js: "none", bundled: "none", why: whyInternal},
	{name: "internal header and header", internal: "live", header: []string{"live"}, ours: "header", js: "header", bundled: "header"},
	{name: "internal header and variable", internal: "live", env: "live", ours: "internal header", js: "variable", bundled: "variable", why: whyInternal},
	{name: "internal header and expired header", internal: "live", header: []string{"expired"}, ours: "none", js: "none", bundled: "none"},
	{name: "no request after one", noRequest: true, earlier: "live", ours: "earlier request", js: "none", bundled: "none", why: whyRecent},
	{name: "no request after one, variable", noRequest: true, earlier: "live", env: "live", ours: "earlier request", js: "variable", bundled: "variable", why: whyRecent},
	{name: "no request after an expired one", noRequest: true, earlier: "expired", ours: "none", js: "none", bundled: "none"},
	{name: "a request without a header after one", earlier: "live", ours: "earlier request", js: "none", bundled: "none", why: whyRecent},
	{name: "expired header after a live one", header: []string{"expired"}, earlier: "live", ours: "earlier request", js: "none", bundled: "none", why: whyRecent},
	{name: "header after another", header: []string{"live"}, earlier: "live", ours: "header", js: "header", bundled: "header"},
}

// parityToken makes a token of a kind. Tokens of different places are different.
func parityToken(kind, place, project string) string {
	claims := map[string]any{
		"iss": "https://oidc.vercel.com/acme", "sub": "owner:acme:project:web:environment:production", "aud": "https://vercel.com/acme",
		"project_id": project, "environment": "production", "jti": place, "exp": time.Now().Add(time.Hour).Unix(),
	}
	part := base64.RawURLEncoding.EncodeToString
	sign := func() string {
		payload, err := json.Marshal(claims)
		if err != nil {
			panic(err)
		}
		return part([]byte(`{"alg":"RS256"}`)) + "." + part(payload) + "." + part([]byte("signature"))
	}
	switch kind {
	case "":
		return ""
	case "live":
	case "expired":
		claims["exp"] = time.Now().Add(-time.Hour).Unix()
	case "just expired":
		claims["exp"] = time.Now().Add(-20 * time.Second).Unix()
	case "not yet":
		claims["nbf"] = time.Now().Add(time.Hour).Unix()
	case "list of audiences":
		claims["aud"] = []string{"a", "b"}
	case "no sub":
		delete(claims, "sub")
	case "no exp":
		delete(claims, "exp")
	case "exp is text":
		claims["exp"] = "later"
	case "long":
		claims["pad"] = strings.Repeat("x", 20_000)
	case "unsigned":
		s := sign()
		return s[:strings.LastIndex(s, ".")+1]
	case "two parts":
		s := sign()
		return s[:strings.LastIndex(s, ".")]
	case "quoted":
		return `"` + sign() + `"`
	case "spaced":
		return " " + sign() + " \r\n"
	case "marked":
		return "\ufeff" + sign()
	case "garbage":
		return "garbage"
	case "undefined":
		return "undefined"
	case "space":
		return " "
	default:
		panic(kind)
	}
	return sign()
}

// sentToken is an STS that accepts everything, and holds the token it was sent.
type sentToken struct{ raw string }

func (s *sentToken) AssumeRoleWithWebIdentity(_ context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	s.raw = aws.ToString(in.WebIdentityToken)
	return &sts.AssumeRoleWithWebIdentityOutput{Credentials: &types.Credentials{
		AccessKeyId: aws.String("ASIAPARITY"), SecretAccessKey: aws.String("secret"), SessionToken: aws.String("session"),
		Expiration: aws.Time(time.Now().Add(time.Hour)),
	}}, nil
}

// parityInput is a case as parity.js reads it.
type parityInput struct {
	Headers map[string]any    `json:"headers"` // nil where there is no request
	Env     map[string]string `json:"env"`
}

// parityPlaces are the places of a case's tokens, by their text.
type parityPlaces map[string]string

func (p parityPlaces) of(raw string, failed bool) string {
	switch place, ok := p[raw]; {
	case failed:
		return "none"
	case ok:
		return place
	default:
		return fmt.Sprintf("unknown %q", raw)
	}
}

// set makes the environment what the case says. It returns the context of its
// request, and what JavaScript is given.
func (c parityCase) set(t *testing.T, project string) (context.Context, parityInput, parityPlaces) {
	t.Helper()
	places := parityPlaces{}
	value := func(kind, place string) string {
		raw := parityToken(kind, place, project)
		if kind != "" {
			places[raw] = place + ", untrimmed"
			places[strings.Trim(raw, "\ufeff \r\n")] = place
		}
		return raw
	}
	request := func(name, raw string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		if raw != "" {
			r.Header.Set(name, raw)
		}
		return r
	}
	in := parityInput{Env: map[string]string{}}
	// A token of another case is of another project, and so not borrowed.
	t.Setenv("VERCEL_PROJECT_ID", project)
	if c.earlier != "" {
		oidc.RequestContext(request(oidc.Header, value(c.earlier, "earlier request")))
	}
	file := ""
	switch c.file {
	case "":
	case "missing":
		file = filepath.Join(t.TempDir(), "missing")
	case "folder":
		file = t.TempDir()
	default:
		file = filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(file, []byte(value(c.file, "file")), 0o600))
	}
	for name, v := range map[string]string{"VERCEL_OIDC_TOKEN_FILE": file, "VERCEL_OIDC_TOKEN": value(c.env, "variable")} {
		t.Setenv(name, v)
		if v != "" {
			in.Env[name] = v
		}
	}
	if c.noRequest {
		return t.Context(), in, places
	}
	in.Headers = map[string]any{}
	r := request("x-vercel-internal-oidc-token", value(c.internal, "internal header"))
	if c.internal != "" {
		in.Headers["x-vercel-internal-oidc-token"] = r.Header.Get("x-vercel-internal-oidc-token")
	}
	var values []string
	for i, kind := range c.header {
		switch {
		case kind == "same":
			values = append(values, values[0])
		case i == 0:
			values = append(values, value(kind, "header"))
		default:
			values = append(values, value(kind, "second header"))
		}
	}
	if len(values) > 0 {
		r.Header["X-Vercel-Oidc-Token"] = values
		in.Headers[oidc.Header] = values[0]
	}
	if len(values) > 1 {
		in.Headers[oidc.Header] = values
	}
	return oidc.RequestContext(r), in, places
}

// TestParityWithVercelsPackages runs Vercel's own packages beside package oidc,
// and holds docs/tokens.md to the differences that there are.
func TestParityWithVercelsPackages(t *testing.T) {
	require.GreaterOrEqual(t, len(parityCases), 40)
	script, err := filepath.Abs("testdata/oidc-parity/parity.js")
	require.NoError(t, err)
	packages := npm.Install(t, vercelOIDC, "@vercel/oidc-aws-credentials-provider@3.3.9")
	page, err := os.ReadFile("../docs/tokens.md")
	require.NoError(t, err)

	t.Setenv("AWS_LAMBDA_FUNCTION_NAME", "")
	t.Setenv("VERCEL", "1")
	t.Setenv("VERCEL_ENV", "production")
	t.Setenv("HOME", t.TempDir()) // no login
	t.Chdir(t.TempDir())          // no linked folder

	var in []parityInput
	var places []parityPlaces
	var ours []string
	for i, c := range parityCases {
		ctx, input, names := c.set(t, fmt.Sprint("prj_", i))
		// A provider is asked, since it alone uses an earlier request's token.
		sent := &sentToken{}
		provider := vercelaws.NewProvider("arn:aws:iam::123456789012:role/parity", func(o *vercelaws.Options) { o.Client = sent })
		_, err := provider.Retrieve(ctx)
		in, places, ours = append(in, input), append(places, names), append(ours, names.of(sent.raw, err != nil))
	}
	var out [][2]struct{ Token, Error string }
	npm.Run(t, in, &out, script, packages)
	require.Len(t, out, len(in))

	seen := map[string]bool{}
	for i, c := range parityCases {
		t.Run(c.name, func(t *testing.T) {
			js, bundled := places[i].of(out[i][0].Token, out[i][0].Error != ""), places[i].of(out[i][1].Token, out[i][1].Error != "")
			differ := ours[i] != js || ours[i] != bundled
			if differ {
				t.Logf("ours: %s; @vercel/oidc: %s; the AWS provider's: %s (%s)", ours[i], js, bundled, c.why)
			}
			assert.Equal(t, c.ours, ours[i], "ours")
			assert.Equal(t, c.js, js, "@vercel/oidc: %s", out[i][0].Error)
			assert.Equal(t, c.bundled, bundled, "bundled: %s", out[i][1].Error)
			assert.Equal(t, differ, c.why != "", "a difference has a reason, and only a difference has one")
			if c.why != "" {
				assert.Contains(t, string(page), "\n| "+c.why+" |", "docs/tokens.md")
				seen[c.why] = true
			}
		})
	}
	_, table, found := strings.Cut(string(page), "| case | `@vercel/oidc` | here |\n|---|---|---|\n")
	require.True(t, found, "the table in docs/tokens.md")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, row := range strings.Split(table, "\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		assert.True(t, seen[name], "no case shows the row %q", name)
	}
}
