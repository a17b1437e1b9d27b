// Package doctor finds out why a Vercel deployment's token does not become AWS
// credentials, and says what to change.
package doctor

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

const (
	// callLimit bounds each check that uses the network.
	callLimit = 10 * time.Second
	// sourceLimit bounds the search for a token, which can start a program.
	sourceLimit = 40 * time.Second
)

// Options say what to examine.
type Options struct {
	RoleARN     string // if empty, no role is assumed
	TrustPolicy []byte // the role's trust policy, or the output of aws iam get-role; nil if not known
	Audience    string // what the token is exchanged for; "" if it is not
	Environment string // what the role is for; "" if the trust policy, or else the token, says it

	FallbackRegion string // a second region to look at; "" for none

	Source oidc.TokenSource // where the token comes from
}

// examination is a run of all checks. Its fields are set by one check and used by
// later ones.
type examination struct {
	Options
	report Report

	token    oidc.Token            // without a subject: there is none
	config   aws.Config            // where this command asks STS
	hasSTS   bool                  // config is there
	override func(*sts.Options)    // for tests, which have all regions on loopback
	provider *aws.CredentialsCache // nil unless it gave credentials
	refusal  *vercelaws.AssumeRoleError
}

// Run makes all checks. Each is bounded in time. A check is skipped if an earlier
// one did not find what it needs.
func Run(ctx context.Context, o Options) Report {
	e := &examination{Options: o}
	for _, check := range []struct {
		limit time.Duration
		run   func(context.Context) Check // returns the zero value if there is nothing to check
	}{
		{sourceLimit, e.checkToken},
		{callLimit, e.checkClaims},
		{callLimit, e.checkIssuer},
		{callLimit, e.checkSTS},
		{callLimit, e.checkRole},
		{callLimit, e.checkTrustPolicy},
		{callLimit, e.checkIdentity},
	} {
		bounded, cancel := context.WithTimeout(ctx, check.limit)
		if c := check.run(bounded); c.Name != "" {
			e.report.add(c)
		}
		cancel()
	}
	return e.report
}

// hasToken reports whether a token was found.
func (e *examination) hasToken() bool { return e.token.Subject != "" }
