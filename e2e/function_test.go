package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/vercelfn"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// objectsProgram is the compiled function/api. It is built once, for all tests.
var objectsProgram = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	return vercelfn.Build(ctx, scratch, "github.com/vercelaws/vercelaws/e2e/function/api")
})

// objects is an instance of the function in function/api.
type objects struct{ *vercelfn.Function }

// startObjects starts a new instance: one that has seen no token yet.
func startObjects(t *testing.T) objects {
	t.Helper()
	program, err := objectsProgram()
	require.NoError(t, err)
	fn, err := vercelfn.Start(program,
		"BUCKET="+photos,
		"AWS_ROLE_ARN="+store.RoleARN,
		"AWS_ENDPOINT_URL_STS="+store.URL,
		"AWS_ENDPOINT_URL_S3="+store.URL,
		// Keys that MinIO does not know: a client that used them would fail.
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
		"AWS_SECRET_ACCESS_KEY=not-a-key",
	)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, fn.Stop()) })
	return objects{fn}
}

// answer is what the function answers.
type answer struct {
	Status int      `json:"-"`
	Keys   []string `json:"keys"`
	Error  string   `json:"error"`
}

// get sends a request with these token headers.
func (o objects) get(t *testing.T, tokens ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://demo.vercel.app/api/objects", nil)
	require.NoError(t, err)
	if len(tokens) > 0 {
		req.Header[oidc.Header] = tokens // in lower case, as Vercel sends it
	}
	res, err := (&http.Client{Transport: o}).Do(req)
	require.NoError(t, err)
	a := answer{Status: res.StatusCode}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&a))
	return a
}

// photosListed is the answer when all is well.
var photosListed = answer{Status: http.StatusOK, Keys: photoKeys}

func refusal(reason string) answer { return answer{Status: http.StatusBadGateway, Error: reason} }

func TestFunctionListsObjects(t *testing.T) {
	fn := startObjects(t)
	for range 3 {
		assert.Equal(t, photosListed, fn.get(t, issuer.Mint()), fn.Log())
	}
	t.Run("the same token twice on one request", func(t *testing.T) {
		token := issuer.Mint()
		assert.Equal(t, photosListed, startObjects(t).get(t, token, token))
	})
	t.Run("a request without a token uses the instance's credentials", func(t *testing.T) {
		assert.Equal(t, photosListed, fn.get(t))
	})
	assert.Empty(t, fn.Log(), "nothing to complain about")
}

func TestFunctionSaysWhyATokenIsRefused(t *testing.T) {
	const refusedByMinIO = "refused: InvalidParameterValue"
	valid := func() string { return issuer.Mint() }
	expired := func(ago time.Duration) string {
		return issuer.Mint(func(c *oidctest.Claims) { c.IssuedAt = time.Now().Add(-ago - 2*time.Hour) })
	}
	otherAudience := func() string {
		return issuer.Mint(func(c *oidctest.Claims) { c.Audience = "https://vercel.com/mallory" })
	}
	const stsSays = "the message of STS says what is wrong"

	tests := []struct {
		name   string
		tokens []string // the values of the request's token header
		reason string   // what the handler finds with errors.Is and errors.As
		log    []string // what the error says
	}{
		{"no header", nil, "no token", []string{"no x-vercel-oidc-token header", "enable OIDC"}},
		{"empty", []string{""}, "no token", []string{"no x-vercel-oidc-token header"}},
		{"expired", []string{expired(time.Hour)}, "token expired", []string{"request: token expired at", " ago"}},
		{"expired by STS's clock only", []string{expired(20 * time.Second)}, refusedByMinIO, []string{"expired", stsSays}},
		{"wrong audience", []string{otherAudience()}, refusedByMinIO, []string{`audience ["https://vercel.com/mallory"]`, stsSays}},
		{"bad signature", []string{withBadSignature(valid())}, refusedByMinIO, []string{stsSays}},
		{"changed claims", []string{oidctest.Tamper(valid())}, refusedByMinIO, []string{stsSays}},
		{"alg none without a signature", []string{issuer.MintUnsigned("")}, "token malformed", []string{"it has no signature"}},
		{"alg none with a signature", []string{issuer.MintUnsigned("signed, honestly")}, refusedByMinIO, []string{stsSays}},
		{"another key", []string{issuer.MintForged()}, refusedByMinIO, []string{stsSays}},
		{"a key that nobody publishes", []string{issuer.MintUnknownKey()}, refusedByMinIO, []string{stsSays}},
		{"truncated claims", []string{valid()[:200]}, "token malformed", []string{"dot-separated parts"}},
		{"truncated signature", []string{withoutEnd(valid())}, refusedByMinIO, []string{stsSays}},
		{"two different", []string{valid(), otherAudience()}, "token malformed", []string{"2 x-vercel-oidc-token headers that differ"}},
		{"not a token", []string{"null"}, "token malformed", []string{"1 dot-separated parts"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fn := startObjects(t)
			assert.Equal(t, refusal(test.reason), fn.get(t, test.tokens...))
			for _, want := range test.log {
				assert.Contains(t, fn.Log(), want)
			}
			for _, token := range test.tokens {
				assertHides(t, fn.Log(), token)
			}
			// Nothing of it stands in the way of the next request.
			assert.Equal(t, photosListed, fn.get(t, valid()), fn.Log())
		})
	}
}

// withBadSignature changes the first character of the token's signature.
func withBadSignature(token string) string {
	i := strings.LastIndex(token, ".") + 1
	other := "A"
	if token[i:i+1] == other {
		other = "B"
	}
	return token[:i] + other + token[i+1:]
}

// withoutEnd cuts the last 10 of the 342 characters of a signature of 2048 bits:
// 332 is a multiple of 4, and so they are base64url still, and STS has to refuse it.
func withoutEnd(token string) string { return token[:len(token)-10] }

// assertHides checks that text shows neither the token nor a part of it.
func assertHides(t *testing.T, text, token string) {
	t.Helper()
	for part := range strings.SplitSeq(token, ".") {
		if len(part) >= 8 {
			assert.NotContains(t, text, part)
		}
	}
}
