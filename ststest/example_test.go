package ststest_test

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

func Example() {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	server := ststest.NewServer()
	defer server.Close()

	// What one sets up in AWS: an OIDC provider, and a role that trusts it.
	const role = "arn:aws:iam::123456789012:role/web"
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID: ststest.Account, BaseIssuer: issuer.URL,
		Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server.AddProvider(issuer.Issuer(), issuer.Audience())
	server.AddRole(ststest.Role{ARN: role, TrustPolicy: policy.String()})

	// The code under test.
	provider := vercelaws.NewProvider(role, func(o *vercelaws.Options) { o.Client = server.STS() })
	ctx := oidc.ContextWithToken(context.Background(), issuer.Mint(func(c *oidctest.Claims) { c.Environment = "production" }))
	who, err := server.STS(func(o *sts.Options) { o.Credentials = provider }).GetCallerIdentity(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*who.Arn)
	// Output: arn:aws:sts::123456789012:assumed-role/web/vercel-web-production
}
