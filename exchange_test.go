//go:build go1.25

package vercelaws

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// A project in global issuer mode narrows its tokens to AWS. The role trusts
// the team's issuer, which exchanged tokens have.
func TestExchangedTokens(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		const audience = "https://sts.amazonaws.com"
		issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory, o.Global = true, true })
		defer issuer.Close()
		server := ststest.NewServer(func(o *ststest.Options) { o.InMemory, o.HTTPClient = true, issuer.Client() })
		defer server.Close()
		policy, err := trustpolicy.Build(trustpolicy.Spec{
			AccountID: ststest.Account, BaseIssuer: issuer.URL, Global: true, Audience: audience,
			Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"},
		})
		require.NoError(t, err)
		server.AddProvider(issuer.URL+"/acme", audience)
		server.AddRole(ststest.Role{ARN: testRole, TrustPolicy: policy.String()})

		p := NewProvider(testRole, withClient(server.STS()), func(o *Options) {
			o.TokenSource = oidc.Exchange(oidc.DefaultSource(), audience, func(o *oidc.ExchangeOptions) {
				o.Endpoint, o.HTTPClient = issuer.ExchangeURL(), issuer.Client()
			})
		})
		for range 3 {
			_, err := p.Retrieve(fromRequest(issuer.Mint()))
			require.NoError(t, err)
			time.Sleep(70 * time.Minute)
		}
		// The leader's token is forged: the exchange refuses it, and another
		// request's is taken.
		fromRequest(issuer.Mint())
		_, err = p.Retrieve(fromRequest(issuer.MintForged()))
		require.NoError(t, err)
		assert.Equal(t, 4, server.Calls("AssumeRoleWithWebIdentity"))
	})
}

func TestABadAudienceIsSaid(t *testing.T) {
	_, err := NewProvider(testRole, func(o *Options) { o.Audience = "bad audience" }).Retrieve(t.Context())
	var bad *ConfigError
	require.ErrorAs(t, err, &bad, "before any token is sought")
	assert.Equal(t, "Options.Audience", bad.Setting)
}
