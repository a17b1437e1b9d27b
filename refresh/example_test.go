package refresh_test

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/refresh"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// A role in another account is assumed with the credentials of the first one.
// Both are replaced in time, and no caller waits for it.
func ExampleNewCredentialsCache_secondRole() {
	issuer, server := accounts()
	defer issuer.Close()
	defer server.Close()

	// The role that trusts Vercel. In a deployment there is no Options.Client.
	first := vercelaws.NewProvider("arn:aws:iam::123456789012:role/web", func(o *vercelaws.Options) {
		o.Client = server.STS()
	})

	// The role of the partner, which trusts the first one. In a deployment the
	// client is sts.New(sts.Options{Region: …, Credentials: first, APIOptions: …}).
	client := server.STS(func(o *sts.Options) {
		o.Credentials = first
		o.APIOptions = append(o.APIOptions, vercelaws.InvalidateDeadCredentials(first))
	})
	provider := stscreds.NewAssumeRoleProvider(client, "arn:aws:iam::210987654321:role/data", func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "acme-web"
		o.ExternalID = aws.String("acme-7") // the partner chose it
		o.Tags = []types.Tag{{Key: aws.String("Team"), Value: aws.String("web")}}
		o.TransitiveTagKeys = []string{"Team"}
		o.Duration = stscreds.DefaultDuration // 15 minutes; one hour at most
	})
	second := refresh.NewCredentialsCache(provider, func(o *refresh.Options) {
		o.Carry = oidc.Detach // a request's token reaches the first role, also in the background
	})

	// A client of the partner's account, in the handler of a request.
	ctx := oidc.ContextWithToken(context.Background(), issuer.Mint())
	who, err := server.STS(func(o *sts.Options) { o.Credentials = second }).GetCallerIdentity(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*who.Arn)

	// The calls that the partner's account has seen.
	creds, err := second.Retrieve(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	session, _ := server.Session(creds.AccessKeyID)
	fmt.Println(session.SourceARN)
	fmt.Println(session.ExternalID, session.Tags)
	// Output:
	// arn:aws:sts::210987654321:assumed-role/data/acme-web
	// arn:aws:sts::123456789012:assumed-role/web/vercel-web-production
	// acme-7 map[Team:web]
}

// accounts are fakes of Vercel and AWS: an OIDC provider and the role web, which trusts
// it, and in another account the role data, which trusts web.
func accounts() (*oidctest.Server, *ststest.Server) {
	issuer := oidctest.NewServer()
	server := ststest.NewServer()
	server.AddProvider(issuer.Issuer(), issuer.Audience())
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID: ststest.Account, BaseIssuer: issuer.URL,
		Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"},
	})
	if err != nil {
		panic(err)
	}
	server.AddRole(ststest.Role{ARN: "arn:aws:iam::123456789012:role/web", TrustPolicy: policy.String()})
	server.AddRole(ststest.Role{ARN: "arn:aws:iam::210987654321:role/data", TrustPolicy: `{
		"Version": "2012-10-17",
		"Statement": {
			"Effect": "Allow",
			"Principal": {"AWS": "arn:aws:iam::123456789012:role/web"},
			"Action": ["sts:AssumeRole", "sts:TagSession"],
			"Condition": {"StringEquals": {"sts:ExternalId": "acme-7"}}
		}
	}`})
	return issuer, server
}
