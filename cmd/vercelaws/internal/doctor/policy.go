package doctor

import (
	"context"
	"strings"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// checkTrustPolicy evaluates the trust policy that was given for the token.
func (e *examination) checkTrustPolicy(context.Context) Check {
	if e.TrustPolicy == nil {
		return Check{}
	}
	c := Check{Name: "trust policy", Status: Failed}
	policy, err := trustpolicy.Parse(e.TrustPolicy)
	if err != nil {
		c.Summary = strings.TrimPrefix(err.Error(), "trustpolicy: ")
		c.ToDo = []string{"mend the document: IAM would not take it"}
		return c
	}
	for _, w := range policy.Warnings() {
		c.Details = append(c.Details, "warning: "+w.String())
	}
	if !e.hasToken() {
		c.Status = Skipped
		c.Summary = "there is no token to evaluate it for"
		return c
	}
	issuer, subject, audience := e.claims()
	arn := e.providerARN(issuer, policy)
	result := policy.Evaluate(trustpolicy.Request{
		ProviderARN: arn,
		Context:     trustpolicy.ConditionContext(issuer, subject, audience),
	})
	c.Details = append(c.Details, marks(result))
	switch result.Decision {
	case trustpolicy.Allowed:
		e.judgeAllowed(&c, len(policy.Warnings()))
	case trustpolicy.CannotTell:
		c.Status = Warning
		c.Summary = "it hangs on something that only AWS knows"
	case trustpolicy.ExplicitDeny:
		c.Summary = "a Deny statement applies to the token"
		c.ToDo = []string{"change the statement with the effect Deny that applies"}
	default:
		c.Summary = "it does not admit the token"
		c.ToDo = result.Changes()
	}
	return c
}

func (e *examination) judgeAllowed(c *Check, warnings int) {
	c.Status = OK
	c.Summary = "it admits the token"
	if warnings > 0 {
		c.Status = Warning
		c.Summary += ", and is wider than it needs to be"
	}
	if e.refusal != nil && e.refusal.Code == "AccessDenied" {
		c.Status = Warning
		c.Summary = "it admits the token, but STS does not"
		c.ToDo = []string{"compare it to the role's own: aws iam get-role --role-name " + roleName(e.RoleARN) + " --query Role.AssumeRolePolicyDocument --output json"}
	}
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
	partition, id := account(e.RoleARN)
	if id == "" && policy != nil {
		for _, s := range policy.Statements {
			for _, arn := range s.Principals.Federated {
				if id == "" {
					partition, id = account(arn)
				}
			}
		}
	}
	return trustpolicy.ProviderARN(partition, id, issuer)
}

// account returns the partition and account ID of an IAM ARN. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns.
func account(arn string) (partition, id string) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return "", ""
	}
	return parts[1], parts[4]
}

// roleName returns the name in a role's ARN, without its path.
func roleName(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// marks is the explanation of a result, condition by condition, without what
// is said elsewhere in the report.
func marks(r trustpolicy.Result) string {
	text, _, _ := strings.Cut(r.String(), "to allow it: ")
	_, statements, _ := strings.Cut(text, "\n") // the first line is the decision
	return strings.TrimSpace(statements)
}
