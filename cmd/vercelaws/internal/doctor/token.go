package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
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
		f := failure.Of(err)
		if !strings.HasPrefix(f.Words, c.Summary) {
			c.Details = append(c.Details, f.Words)
		}
		c.Details = append(c.Details, f.Details...)
		c.ToDo = []string{"on your machine: run `vercel env pull`, then `set -a; . ./.env.local; set +a`; in a deployment: enable OIDC in the project's settings"}
		return c
	}
	e.token = token
	c.Status = OK
	c.Summary = fmt.Sprintf("of the environment %s, from %s", failure.Quote(e.own()), token.Source())
	for _, source := range []oidc.TokenSource{oidc.FromFile(), oidc.FromEnv()} {
		other, err := source.Token(ctx)
		if err == nil && other.Raw() == token.Raw() {
			break // what comes after it was not asked
		}
		if err != nil {
			c.Details = append(c.Details, failure.Of(err).Words)
		}
	}
	return c
}

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
	for _, claim := range []struct {
		name   string
		values []string
	}{
		{"issuer", []string{t.Issuer}},
		{"subject", []string{t.Subject}},
		{"audience", t.Audience},
		{"environment", []string{t.Environment}},
		{"project", []string{t.Project, t.ProjectID}},
		{"team", []string{t.Owner, t.OwnerID}},
		{"plan", []string{t.Plan}},
		{"user", []string{t.UserID}},
	} {
		if values := slices.DeleteFunc(slices.Clone(claim.values), func(s string) bool { return s == "" }); len(values) > 0 {
			c.Details = append(c.Details, fmt.Sprintf("%-11s  %s", claim.name, failure.QuoteAll(values)))
		}
	}
	c.Details = append(c.Details, "expires      "+t.Expiry.UTC().Format(time.RFC3339))
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
