package trustpolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Spec says whom a role trusts. Lists hold alternatives: two names of a project
// that is being renamed, for example.
type Spec struct {
	// Partition is the AWS partition: "aws", "aws-cn" or "aws-us-gov". If
	// empty, "aws".
	Partition string

	// AccountID is the AWS account of the role and of the OIDC provider: 12
	// digits.
	AccountID string

	// Global says that the projects are in Vercel's global issuer mode. If
	// false, they are in team mode, Vercel's default.
	Global bool

	// Teams are slugs, in lower case. Several make sense while a team is being
	// renamed.
	Teams []string

	// Projects are project names, in lower case. "*" lets in every project of
	// the team; a name with a wildcard in it is refused.
	Projects []string

	// Environments are "production", "preview", "development" or names of
	// custom environments. "*" stands for all.
	Environments []string

	// Audience is what the tokens are exchanged for, such as
	// "https://sts.amazonaws.com". If empty, they are not exchanged, and have
	// the team's audience. The issuer of an exchanged token is always the
	// team's, so Global does not count then.
	Audience string

	// BaseIssuer is in place of https://oidc.vercel.com in tests with an
	// issuer of their own. If empty, GlobalIssuer.
	BaseIssuer string
}

var (
	accountID = whenUsed(`^[0-9]{12}$`)
	// slug keeps out what has a meaning in a subject or a condition: colons,
	// wildcards, variables and white space.
	slug = whenUsed(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// Issuers returns the issuers of the tokens that s speaks of: one for each
// team, or one in global mode. The role's account needs an OIDC provider for
// each.
func (s Spec) Issuers() []string {
	base := s.BaseIssuer
	if base == "" {
		base = GlobalIssuer
	}
	if s.Global && s.Audience == "" {
		return []string{base}
	}
	var out []string
	for _, team := range s.Teams {
		out = append(out, base+"/"+team)
	}
	return out
}

// Audiences returns the audiences of the tokens that s speaks of: the client
// IDs of the OIDC provider.
func (s Spec) Audiences() []string {
	if s.Audience != "" {
		return []string{s.Audience}
	}
	var out []string
	for _, team := range s.Teams {
		out = append(out, Audience(team))
	}
	return out
}

// Build returns the trust policy that admits exactly what s says: one
// statement for each issuer. It refuses a Spec that would admit more than it
// seems to, or nobody.
func Build(s Spec) (*Document, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("trustpolicy: %w", err)
	}
	d := &Document{Version: "2012-10-17"}
	issuers := s.Issuers()
	for i, issuer := range issuers {
		teams, audiences := s.Teams, s.Audiences()
		if len(issuers) > 1 {
			teams = s.Teams[i : i+1]
			if s.Audience == "" {
				audiences = audiences[i : i+1]
			}
		}
		subjects, operator := s.subjects(teams)
		host := issuerHost(issuer)
		d.Statements = append(d.Statements, Statement{
			Effect:     "Allow",
			Principals: Principals{Federated: []string{ProviderARN(s.Partition, s.AccountID, issuer)}},
			Actions:    []string{Action},
			Conditions: []Condition{
				{Operator: "StringEquals", Key: host + ":aud", Values: audiences},
				{Operator: operator, Key: host + ":sub", Values: subjects},
			},
		})
	}
	return d, nil
}

// subjects returns the subjects, and the operator that compares them.
func (s Spec) subjects(teams []string) (subjects []string, operator string) {
	operator = "StringEquals"
	for _, team := range teams {
		for _, project := range s.Projects {
			for _, environment := range s.Environments {
				if project == "*" || environment == "*" {
					operator = "StringLike"
				}
				subjects = append(subjects, Subject(team, project, environment))
			}
		}
	}
	return subjects, operator
}

func (s Spec) validate() error {
	if s.Partition != "" && !slug().MatchString(s.Partition) {
		return fmt.Errorf("the partition %q is not one such as aws or aws-cn", s.Partition)
	}
	if !accountID().MatchString(s.AccountID) {
		return fmt.Errorf("the account %q is not 12 digits", s.AccountID)
	}
	isEnvironment := slug().MatchString
	isTeamOrProject := func(name string) bool { return isEnvironment(name) && isName(name) }
	for _, list := range []struct {
		what, example string
		names         []string
		any           bool
		is            func(name string) bool
	}{
		{"team", "a team's slug, as in vercel.com/<team>: lower case, and not the ID", s.Teams, false, isTeamOrProject},
		{"project", "a project's name: lower case, and not the ID", s.Projects, true, isTeamOrProject},
		{"environment", "production, preview, development or a custom environment", s.Environments, true, isEnvironment},
	} {
		if len(list.names) == 0 {
			return fmt.Errorf("no %s: name %s", list.what, list.example)
		}
		for _, name := range list.names {
			if list.any && name == "*" {
				continue
			}
			if !list.is(name) {
				return fmt.Errorf("the %s %q is not %s", list.what, name, list.example)
			}
		}
		if slices.Contains(list.names, "*") && len(list.names) > 1 {
			return fmt.Errorf("a %s \"*\" admits all, so no other can stand beside it", list.what)
		}
	}
	if strings.ContainsFunc(s.Audience, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`*?$"`, r) }) {
		return errors.New("the audience has a space, quotation mark or wildcard")
	}
	return nil
}
