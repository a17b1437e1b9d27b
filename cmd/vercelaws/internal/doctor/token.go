package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// checkToken finds the token, and says where each source had none.
func (e *examination) checkToken(ctx context.Context) Check {
	c := Check{Name: "token"}
	token, err := e.Source.Token(ctx)
	if err != nil {
		c.Status = Failed
		c.Summary = "no source has a live token"
		c.Details = reasons(err)
		c.ToDo = []string{"on your machine: run `vercel env pull`, then `set -a; . ./.env.local; set +a`; in a deployment: enable OIDC in the project's settings"}
		return c
	}
	e.token = token
	c.Status = OK
	c.Summary = "from " + token.Source()
	for _, source := range []oidc.TokenSource{oidc.FromFile(), oidc.FromEnv()} {
		other, err := source.Token(ctx)
		if err == nil && other.Raw() == token.Raw() {
			break // what comes after it was not asked
		}
		if err != nil {
			c.Details = append(c.Details, reasons(err)...)
		}
	}
	return c
}

// reasons returns the errors of several sources one by one.
func reasons(err error) (out []string) {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, one := range several.Unwrap() {
			out = append(out, withoutPackage(one))
		}
		return out
	}
	return []string{withoutPackage(err)}
}

func withoutPackage(err error) string { return strings.TrimPrefix(err.Error(), "oidc: ") }

// shortLife is a remaining life that is too short to start with.
const shortLife = 5 * time.Minute

// checkClaims tells what the token says.
func (e *examination) checkClaims(context.Context) Check {
	if !e.hasToken() {
		return Check{}
	}
	t := e.token
	left := time.Until(t.Expiry).Round(time.Second)
	c := Check{Name: "claims", Status: OK, Summary: fmt.Sprintf("the token lives for another %s", left)}
	for _, claim := range []struct{ name, value string }{
		{"issuer", t.Issuer},
		{"subject", t.Subject},
		{"audience", strings.Join(t.Audience, ", ")},
		{"environment", t.Environment},
		{"project", strings.TrimSpace(t.Project + " " + t.ProjectID)},
		{"team", strings.TrimSpace(t.Owner + " " + t.OwnerID)},
		{"plan", t.Plan},
		{"user", t.UserID},
		{"expires", t.Expiry.UTC().Format(time.RFC3339)},
	} {
		if claim.value != "" {
			c.Details = append(c.Details, fmt.Sprintf("%-11s  %s", claim.name, claim.value))
		}
	}
	if left < shortLife {
		c.Status = Warning
		c.ToDo = append(c.ToDo, "get a new token: run `vercel env pull`, or use that of a newer request")
	}
	if t.Issuer != trustpolicy.GlobalIssuer && !strings.HasPrefix(t.Issuer, trustpolicy.GlobalIssuer+"/") {
		c.Status = Warning
		c.ToDo = append(c.ToDo, fmt.Sprintf("check where the token comes from: its issuer is not %s, which is Vercel", trustpolicy.GlobalIssuer))
	}
	return c
}
