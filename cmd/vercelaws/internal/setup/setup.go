// Package setup writes the OIDC provider, role and trust policy for Terraform,
// CloudFormation and the AWS CLI.
package setup

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// Setup describes the role and OIDC providers of a Vercel project in an AWS account.
type Setup struct {
	AccountID string // 12 digits
	RoleName  string
	Policy    *trustpolicy.Document // the role's trust policy
	Providers []Provider            // the OIDC providers that Policy speaks of

	// ProviderExists says that the account has the providers. Terraform and
	// CloudFormation would fail to make them again.
	ProviderExists bool
}

// Provider is an OIDC provider of an AWS account.
type Provider struct {
	ARN       string
	URL       string   // the tokens' issuer
	Audiences []string // IAM calls them client IDs
}

// Format is a language, by the name that the command knows it by.
type Format struct {
	Name  string
	Write func(Setup) string
}

// Formats are all languages.
var Formats = []Format{
	{"json", func(s Setup) string { return s.Policy.String() + "\n" }},
	{"terraform", Setup.terraform},
	{"cloudformation", Setup.cloudFormation},
	{"aws-cli", Setup.awsCLI},
}

// roleNames are what IAM takes. See
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html.
var roleNames = whenUsed(`^[A-Za-z0-9_+=,.@-]{1,64}$`)

// issuers are what a provider's URL can be. See
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html.
var issuers = whenUsed(`^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._-]+)*$`)

// whenUsed compiles a regular expression at its first use: every command links
// this package, and few use it.
func whenUsed(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// New returns the setup that spec describes. If roleName is empty, it is
// "vercel-" and the first project.
func New(spec trustpolicy.Spec, roleName string) (Setup, error) {
	policy, err := trustpolicy.Build(spec)
	if err != nil {
		return Setup{}, err
	}
	if roleName == "" {
		roleName = defaultRoleName(spec)
	}
	if !roleNames().MatchString(roleName) {
		return Setup{}, fmt.Errorf("the role name %q is not 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -", roleName)
	}
	s := Setup{AccountID: spec.AccountID, RoleName: roleName, Policy: policy}
	urls, audiences := spec.Issuers(), spec.Audiences()
	if strings.Contains(spec.Audience, "{{") {
		// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html
		return Setup{}, fmt.Errorf("the audience %q has {{, where CloudFormation would put a secret in its place", spec.Audience)
	}
	for i, issuer := range urls {
		if !issuers().MatchString(issuer) {
			return Setup{}, fmt.Errorf("the issuer %q is not one that IAM takes", issuer)
		}
		p := Provider{
			ARN:       trustpolicy.ProviderARN(spec.Partition, spec.AccountID, issuer),
			URL:       issuer,
			Audiences: audiences,
		}
		if len(urls) > 1 && len(audiences) == len(urls) {
			p.Audiences = audiences[i : i+1]
		}
		s.Providers = append(s.Providers, p)
	}
	return s, nil
}

func defaultRoleName(spec trustpolicy.Spec) string {
	name := spec.Projects[0]
	if name == "*" {
		name = spec.Teams[0]
	}
	name = "vercel-" + name
	return name[:min(len(name), 64)]
}
