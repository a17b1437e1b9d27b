// Package testtoken makes tokens for tests that check no signature. Only tests
// import it. Package oidctest makes tokens with a signature.
package testtoken

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
)

// Mint returns a token with the shape of Vercel's, which lives two hours and has
// the ID jti, or none if jti is empty. Its signature is not a real one.
func Mint(t testing.TB, jti string, change ...func(claims map[string]any)) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{
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
	if jti != "" {
		claims["jti"] = jti
	}
	for _, f := range change {
		f(claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return Join(`{"alg":"RS256","kid":"k1","typ":"JWT"}`, string(payload), "signature of "+jti)
}

// Join encodes the parts of a token.
func Join(header, payload, signature string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + "." + e([]byte(signature))
}

// Claim sets a claim, or removes it if the value is nil.
func Claim(name string, value any) func(claims map[string]any) {
	return func(claims map[string]any) {
		if value == nil {
			delete(claims, name)
			return
		}
		claims[name] = value
	}
}
