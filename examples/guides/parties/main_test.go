package main

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

func TestEachPartyActsInItsOwnRole(t *testing.T) {
	a := loopback.Start(t, loopback.NewBucket())
	roles := map[string]string{"shop": "arn:aws:iam::123456789012:role/shop", "blog": "arn:aws:iam::210987654321:role/blog"}
	for project, role := range roles {
		policy, err := trustpolicy.Build(trustpolicy.Spec{
			AccountID: role[13:25], BaseIssuer: a.Issuer.URL,
			Teams: []string{"acme"}, Projects: []string{project}, Environments: []string{"production"},
		})
		require.NoError(t, err)
		a.STS.AddRole(ststest.Role{ARN: role, TrustPolicy: policy.String()})
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	require.NoError(t, err)
	s, err := newService(cfg, a.Issuer.Issuer(), a.Issuer.Audience(), roles)
	require.NoError(t, err)
	url := loopback.Serve(t, s)
	from := func(project string) (token string) {
		return a.Issuer.Mint(func(c *oidctest.Claims) { c.Project, c.ProjectID = project, "" })
	}

	for _, project := range []string{"shop", "blog", "shop"} {
		// The service's own token is on the request too, as Vercel puts it there.
		status, body := loopback.Send(t, "GET", url, oidc.Header, from("web"), "Authorization", "Bearer "+from(project))
		require.Equal(t, http.StatusOK, status, body)
		callers := a.Callers()
		assert.Equal(t, roles[project], callers[len(callers)-1].RoleARN)
	}
	assert.Equal(t, 2, a.Exchanged(), "one provider a party")

	forged := a.Issuer.MintForged(func(c *oidctest.Claims) { c.Project, c.ProjectID = "shop", "" })
	for _, token := range []string{"", forged, from("web")} {
		status, _ := loopback.Send(t, "GET", url, "Authorization", "Bearer "+token)
		assert.Equal(t, http.StatusUnauthorized, status)
	}
}
