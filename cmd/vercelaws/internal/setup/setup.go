// Package setup writes the AWS side of the federation in the languages that
// people apply it with.
package setup

import (
	"fmt"
	"regexp"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// Setup is what a Vercel project needs in an AWS account.
type Setup struct {
	RoleName  string
	Policy    *trustpolicy.Document // the role's trust policy
	Providers []Provider            // the OIDC providers that Policy speaks of
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
var roleNames = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,64}$`)

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
	if !roleNames.MatchString(roleName) {
		return Setup{}, fmt.Errorf("the role name %q is not 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -", roleName)
	}
	s := Setup{RoleName: roleName, Policy: policy}
	issuers, audiences := spec.Issuers(), spec.Audiences()
	for i, issuer := range issuers {
		p := Provider{
			ARN:       trustpolicy.ProviderARN(spec.Partition, spec.AccountID, issuer),
			URL:       issuer,
			Audiences: audiences,
		}
		if len(issuers) > 1 && len(audiences) == len(issuers) {
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
