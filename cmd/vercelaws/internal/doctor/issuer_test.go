package doctor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// The check is of the signature: neither the end of a token's life nor who it is of
// matters. What no token of Vercel's has is said.
func TestIssuerOfOddTokens(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	for name, test := range map[string]struct {
		raw    string
		status Status
		says   string
	}{
		"expired":            {issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(-1000 * time.Hour) }), OK, "verifies"},
		"no owner":           {issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"owner": nil} }), OK, "verifies"},
		"another audience":   {issuer.Mint(func(c *oidctest.Claims) { c.Audience = "x" }), OK, "verifies"},
		"no audience":        {issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"aud": nil} }), Failed, "no audience"},
		"issuer ends in / ":  {issuer.Mint(func(c *oidctest.Claims) { c.Issuer = issuer.Issuer() + "/" }), Failed, "ends in a slash"},
		"forged":             {issuer.MintForged(), Failed, "does not verify"},
		"of an unknown key":  {issuer.MintUnknownKey(), Failed, "does not verify"},
		"with an odd header": {issuer.MintUnsigned("x"), Failed, "does not verify"},
	} {
		token, err := oidc.ParseUnverified(test.raw)
		require.NoError(t, err, name)
		e := &examination{token: token}
		c := e.checkIssuer(t.Context())
		assert.Equal(t, test.status, c.Status, name)
		assert.Contains(t, c.Summary, test.says, name)
		if test.status == Failed {
			assert.NotEmpty(t, c.ToDo, name)
		}
	}
}
