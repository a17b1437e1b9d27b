package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/policyfile"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/shell"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// checkTrustPolicy evaluates the trust policy that was given, for the chosen
// environment or for those that it is for. What it advises never lets another
// environment in.
func (e *examination) checkTrustPolicy(context.Context) Check {
	if e.TrustPolicy == nil {
		return Check{}
	}
	c := Check{Name: "trust policy", Status: Failed}
	document, owner, err := policyfile.Read(e.TrustPolicy)
	if err != nil {
		c.Summary = "there is no policy in what was given: " + err.Error()
		c.ToDo = []string{"give it the output of: " + e.getRole()}
		return c
	}
	policy, err := trustpolicy.Parse(document)
	if err != nil {
		c.Summary = strings.TrimPrefix(err.Error(), "trustpolicy: ")
		c.ToDo = []string{"mend the document: IAM would not take it"}
		return c
	}
	warnings := policy.Warnings()
	for _, w := range warnings {
		c.Details = append(c.Details, fmt.Sprintf("%s: %s", w.Severity, w))
	}
	switch {
	case owner != "" && e.RoleARN != "" && owner != e.RoleARN:
		c.Summary = fmt.Sprintf("this is the policy of another role, %s", failure.Quote(owner))
		c.ToDo = []string{"give it the output of: " + e.getRole()}
		return c
	case !e.hasToken():
		c.Status = Skipped
		c.Summary = "there is no token to evaluate it for"
		return c
	}
	e.judge(&c, policy)
	// The worst is the first. One of low severity is told, and no more.
	if c.Status != Failed && len(warnings) > 0 && warnings[0].Severity >= trustpolicy.Medium {
		c.Status = Warning
		c.summarize(fmt.Sprintf("the worst of its faults is of severity %s", warnings[0].Severity))
	}
	return c
}

// judge evaluates the policy, and says what to change.
func (e *examination) judge(c *Check, policy *trustpolicy.Document) {
	own := e.own()
	_, subject, _ := e.claims()
	current := e.evaluate(policy, subject)
	if e.provider != nil && (current.Decision == trustpolicy.ImplicitDeny || current.Decision == trustpolicy.ExplicitDeny) {
		c.Details = append(c.Details, marks(current)...)
		c.Summary = "this is not the role's policy: STS admits the token, and this policy does not"
		c.ToDo = []string{"give it the output of: " + e.getRole()}
		return
	}

	intended := e.purposes(policy)
	asked := intended
	switch {
	case e.Environment != "":
		asked = []string{e.Environment}
		c.Details = append(c.Details, fmt.Sprintf("evaluated for the environment %s, which was asked for", failure.Quote(e.Environment)))
	case len(intended) == 0:
		asked = []string{own}
		c.Details = append(c.Details, fmt.Sprintf("evaluated for the environment %s, which is the token's", failure.Quote(own)))
	default:
		c.Details = append(c.Details, fmt.Sprintf("evaluated for what the policy is for, the environment %s", failure.QuoteAll(intended)))
	}
	for _, environment := range asked {
		subject := inEnvironment(subject, environment)
		result := e.evaluate(policy, subject)
		if result.Decision == trustpolicy.Allowed {
			continue
		}
		c.Details = append(c.Details, marks(result)...)
		e.judgeRefused(c, policy, result, environment, intended)
		return
	}

	c.Status = OK
	c.Summary = fmt.Sprintf("it admits this project's %s", failure.QuoteAll(asked))
	switch {
	case current.Decision == trustpolicy.Allowed:
		if e.refusal != nil && e.refusal.Code == "AccessDenied" {
			c.Status = Warning
			c.Summary = "it admits the token, but STS does not"
			c.ToDo = []string{"compare it to the role's own, or see that the role exists: " + e.getRole()}
		}
	case !slices.Contains(asked, own):
		c.Details = append(c.Details, marks(current)...)
		c.Status = Warning
		c.Summary += fmt.Sprintf("; the token at hand is of %s, which it does not admit", failure.Quote(own))
		if !askWhatIsMeant(c, asked, own) {
			c.ToDo = []string{"nothing, if that is meant; to use AWS from there, give it a role of its own: " + e.ownRole(own)}
		}
	}
}

// judgeRefused says what to do about a policy that does not admit an
// environment.
func (e *examination) judgeRefused(c *Check, policy *trustpolicy.Document, result trustpolicy.Result, environment string, intended []string) {
	switch result.Decision {
	case trustpolicy.CannotTell:
		c.Status = Warning
		c.Summary = "it hangs on something that only AWS knows"
		return
	case trustpolicy.ExplicitDeny:
		c.Summary = fmt.Sprintf("a Deny statement applies to this project's %s", failure.Quote(environment))
		c.ToDo = []string{"see what the Deny statement is for, before you change it"}
		return
	}
	c.Summary = fmt.Sprintf("it does not admit this project's %s", failure.Quote(environment))
	switch {
	case e.shutsOut(policy, environment):
		c.Summary += ", and keeps it out by name"
		c.ToDo = []string{fmt.Sprintf("give %s a role of its own: %s", failure.Quote(environment), e.ownRole(environment))}
		return
	case slices.Contains(intended, environment), len(intended) == 0 && (e.Environment != "" || environment == "production"):
		change(c, result)
		return
	case len(intended) == 0:
		c.ToDo = []string{"say what the role is for, with --environment: the policy names no environment, and it may be meant for another than the token's"}
		return
	}
	// The role is for another environment: what is wrong for that one can be
	// mended, but this one needs a role of its own.
	c.Summary += fmt.Sprintf(": it is for %s", failure.QuoteAll(intended))
	asks := askWhatIsMeant(c, intended, environment)
	_, subject, _ := e.claims()
	if meant := e.evaluate(policy, inEnvironment(subject, intended[0])); meant.Decision == trustpolicy.ImplicitDeny {
		change(c, meant)
	}
	if !asks {
		c.ToDo = append(c.ToDo, fmt.Sprintf("give %s a role of its own: %s", failure.Quote(environment), e.ownRole(environment)))
	}
}

// askWhatIsMeant asks whether production or preview was meant by a name that a
// policy has for it, in another case or shortened, and reports whether it asks.
func askWhatIsMeant(c *Check, names []string, environment string) bool {
	if environment != "production" && environment != "preview" {
		return false
	}
	for _, name := range names {
		if lower := strings.ToLower(name); name != environment && (lower == environment || len(lower) >= 3 && strings.HasPrefix(environment, lower)) {
			c.Summary += fmt.Sprintf("; did you mean %s?", environment)
			c.ToDo = append(c.ToDo, fmt.Sprintf("write %s in place of %s, unless that is a custom environment: IAM compares names as they are", failure.Quote(environment), failure.Quote(name)))
			return true
		}
	}
	return false
}

// change says what to change so that a request is allowed that is not.
func change(c *Check, result trustpolicy.Result) {
	advice := result.Advice()
	for _, a := range advice {
		c.ToDo = append(c.ToDo, a.Text)
	}
	if len(advice) > 0 && advice[0].Mechanical {
		c.Details = append(c.Details, "what is to do below lets this subject in, and no other")
	}
}

// evaluate evaluates the policy for a subject of the token's issuer and
// audience.
func (e *examination) evaluate(policy *trustpolicy.Document, subject string) trustpolicy.Result {
	issuer, _, audience := e.claims()
	return policy.Evaluate(trustpolicy.Request{
		ProviderARN: e.providerARN(issuer, policy),
		Context:     trustpolicy.ConditionContext(issuer, subject, audience),
	})
}

// getRole is the command that prints the role's policy.
func (e *examination) getRole() string {
	return shell.Command("aws", "iam", "get-role", "--role-name", cmp.Or(roleName(e.RoleARN), "NAME"), "--output", "json")
}

// ownRole is the command that writes a role for this project's environment.
func (e *examination) ownRole(environment string) string {
	words := []string{"vercelaws", "trust-policy", "--from-token", "--environment=" + environment}
	if _, account := failure.Account(e.RoleARN); account != "" {
		words = append(words, "--account="+account)
	}
	name := cmp.Or(roleName(e.RoleARN), "vercel-"+e.token.Project)
	return shell.Command(append(words, "--role-name="+name+"-"+environment, "--format=aws-cli")...)
}

// claims are those of the token that STS sees.
func (e *examination) claims() (issuer, subject string, audience []string) {
	if e.refusal != nil {
		return e.refusal.Issuer, e.refusal.Subject, e.refusal.Audience
	}
	issuer, audience = e.token.Issuer, e.token.Audience
	if e.Audience != "" {
		// What an exchange makes of it.
		audience = []string{e.Audience}
		if issuer == trustpolicy.GlobalIssuer {
			issuer = trustpolicy.TeamIssuer(e.token.Owner)
		}
	}
	return issuer, e.token.Subject, audience
}

// providerARN is the OIDC provider for an issuer in the role's account, or in
// that of the policy where no role is known.
func (e *examination) providerARN(issuer string, policy *trustpolicy.Document) string {
	partition, id := failure.Account(e.RoleARN)
	if id == "" && policy != nil {
		for _, s := range policy.Statements {
			for _, arn := range s.Principals.Federated {
				if id == "" {
					partition, id = failure.Account(arn)
				}
			}
		}
	}
	return trustpolicy.ProviderARN(partition, id, issuer)
}

// roleName returns the name in a role's ARN, without its path.
func roleName(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// marks explains a result, condition by condition.
func marks(r trustpolicy.Result) (lines []string) {
	mark := func(o trustpolicy.Outcome, what string, wants, has []string) {
		if slices.Equal(wants, has) {
			lines = append(lines, fmt.Sprintf("  %-11s  %s: %s", o, what, failure.QuoteAll(has)))
			return
		}
		have := failure.QuoteAll(has)
		if len(has) == 0 {
			have = "nothing"
		}
		lines = append(lines,
			fmt.Sprintf("  %-11s  %s", o, what),
			"                 wants  "+failure.QuoteAll(wants),
			"                 has    "+have)
	}
	for i, s := range r.Statements {
		lines = append(lines, fmt.Sprintf("statement %d, %s:", i+1, s.Statement.Effect))
		if s.Principal != trustpolicy.Held {
			lines = append(lines, fmt.Sprintf("  %-11s  Principal", s.Principal))
		}
		if s.Action != trustpolicy.Held {
			lines = append(lines, fmt.Sprintf("  %-11s  Action", s.Action))
		}
		for _, condition := range s.Conditions {
			mark(condition.Outcome, condition.Operator+" "+condition.Key, condition.Values, condition.Have)
		}
	}
	return lines
}
