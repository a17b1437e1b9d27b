package oidc

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mint makes a token with the shape of Vercel's. Its signature is not a real
// one: nothing in this package checks it.
func mint(t testing.TB, change ...func(claims map[string]any)) string {
	t.Helper()
	now := time.Now()
	c := map[string]any{
		"iss":         "https://oidc.vercel.com/acme",
		"sub":         "owner:acme:project:web:environment:production",
		"aud":         "https://vercel.com/acme",
		"owner":       "acme",
		"owner_id":    "team_1",
		"project":     "web",
		"project_id":  "prj_1",
		"environment": "production",
		"plan":        "pro",
		"iat":         now.Unix(),
		"nbf":         now.Unix(),
		"exp":         now.Add(2 * time.Hour).Unix(),
	}
	for _, f := range change {
		f(c)
	}
	payload, err := json.Marshal(c)
	require.NoError(t, err)
	return join(`{"alg":"RS256","kid":"k1","typ":"JWT"}`, string(payload), "signature-of-a-test")
}

func join(header, payload, signature string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + "." + e([]byte(signature))
}

func claim(name string, value any) func(map[string]any) {
	return func(c map[string]any) {
		if value == nil {
			delete(c, name)
			return
		}
		c[name] = value
	}
}

func expiredBy(d time.Duration) func(map[string]any) {
	return claim("exp", time.Now().Add(-d).Unix())
}

// isolate keeps the machine's environment out of a test, and the tokens
// that other tests' requests left behind.
func isolate(t *testing.T) {
	t.Helper()
	for _, v := range []string{envVariable, fileVariable, "VERCEL_PROJECT_ID", "VERCEL", "VERCEL_ENV", "VERCEL_TARGET_ENV", "AWS_LAMBDA_FUNCTION_NAME"} {
		t.Setenv(v, "")
	}
	t.Chdir(t.TempDir()) // not linked: no Vercel CLI
	forget := func() { recentTokens.Forget(func(string) bool { return true }) }
	forget()
	t.Cleanup(forget)
}
