package doctor

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// examine checks a policy for a token of an environment of the project web.
func examine(t *testing.T, policy, own, chosen string) Check {
	t.Helper()
	server := oidctest.NewServer()
	defer server.Close()
	token, err := oidc.ParseUnverified(server.Mint(func(c *oidctest.Claims) {
		c.Issuer, c.Environment = trustpolicy.TeamIssuer("acme"), own
	}))
	require.NoError(t, err)
	e := &examination{Options: Options{TrustPolicy: []byte(policy), Environment: chosen}, token: token}
	return e.checkTrustPolicy(t.Context())
}

// statement is an Allow statement for Vercel's team issuer with a condition.
func statement(condition string) string {
	return `{"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"},
		"Action": "sts:AssumeRoleWithWebIdentity", "Condition": ` + condition + `}`
}

// Whatever is wrong with a policy that does not name development, a developer's
// token does not have doctor advise to let development in. Nor does somebody who
// asks for it, where the policy says what else it is for.
func TestAdviceNeverOpensARoleToDevelopment(t *testing.T) {
	const production = `"owner:acme:project:web:environment:production"`
	const others = `"owner:acme:project:site:environment:%s"`
	right := statement(`{"StringEquals": {"oidc.vercel.com/acme:sub": ` + production + `}}`)
	policies := map[string][]string{
		"right":                  {right},
		"another project":        {statement(`{"StringEquals": {"oidc.vercel.com/acme:sub": "owner:acme:project:site:environment:production"}}`)},
		"another team":           {statement(`{"StringEquals": {"oidc.vercel.com/acme:sub": "owner:globex:project:web:environment:production"}}`)},
		"a pattern":              {statement(`{"StringLike": {"oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:prod*"}}`)},
		"another's pattern":      {statement(`{"StringLike": {"oidc.vercel.com/acme:sub": "owner:globex:project:*:environment:production"}}`)},
		"two statements":         {statement(`{"StringEquals": {"oidc.vercel.com/acme:sub": "owner:acme:project:site:environment:preview"}}`), right},
		"another action":         {strings.Replace(right, "AssumeRoleWithWebIdentity", "AssumeRole", 1)},
		"another provider":       {strings.Replace(right, "oidc-provider/oidc.vercel.com/acme", "oidc-provider/oidc.vercel.com/globex", 1)},
		"a Deny of all else":     {right, strings.NewReplacer("Allow", "Deny", "StringEquals", "StringNotEquals").Replace(right)},
		"a Deny of development":  {right, strings.NewReplacer("Allow", "Deny", ":environment:production", ":environment:development").Replace(right)},
		"no environment":         {statement(`{"StringEquals": {"oidc.vercel.com/acme:sub": "owner:acme:project:web"}}`)},
		"not development":        {statement(`{"StringNotEquals": {"oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:development"}}`)},
		"not like development":   {statement(`{"StringNotLike": {"oidc.vercel.com/acme:sub": "owner:acme:project:*:environment:dev*"}}`)},
		"not development, if so": {statement(`{"StringNotEqualsIfExists": {"oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:development"}}`)},
		"for all, no":            {statement(`{"ForAllValues:StringNotEquals": {"oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:development"}}`)},
	}
	// What is wrong beside the environment, with each thing that can be mistyped.
	for wrong, key := range map[string]string{"": "oidc.vercel.com/acme:sub", ", a mistyped claim": "oidc.vercel.com/acme:subject", ", the global issuer's key": "oidc.vercel.com:sub", ", a scheme": "https://oidc.vercel.com/acme:sub"} {
		for what, values := range map[string]string{
			"production":            `["owner:acme:project:web:environment:production"]`,
			"another project's any": `["owner:acme:project:site:environment:*", ` + production + `]`,
			"another project's dev": `[` + fmt.Sprintf(others, "development") + `, ` + production + `]`,
			"another team's dev":    `["owner:globex:project:web:environment:development", ` + production + `]`,
			"another's any":         `["owner:acme:project:site:environment:*"]`,
		} {
			for _, operator := range []string{"StringEquals", "StringLike", "StringEqualsIgnoreCase", "ForAnyValue:StringLike"} {
				for audience, also := range map[string]string{"": "", ", another audience": `, "oidc.vercel.com/acme:aud": "https://vercel.com/globex"`} {
					policies[what+" of "+operator+wrong+audience] = []string{statement(fmt.Sprintf(`{%q: {%q: %s%s}}`, operator, key, values, also))}
				}
			}
		}
	}
	for name, statements := range policies {
		for _, own := range []string{"development", "preview"} {
			for _, chosen := range []string{"", "production", "preview", "development"} {
				t.Run(fmt.Sprint(name, " ", own, " ", chosen), func(t *testing.T) {
					c := examine(t, `{"Version": "2012-10-17", "Statement": [`+strings.Join(statements, ",")+`]}`, own, chosen)
					assert.NotEmpty(t, c.Summary)
					todo := strings.Join(c.ToDo, "\n")
					if chosen == "development" && (name == "no environment" || strings.HasPrefix(name, "another's any of ")) {
						// The policy says nothing of this project's environments, and the user does.
						assert.Contains(t, todo, `"owner:acme:project:web:environment:development"`)
						assert.NotContains(t, todo, `"owner:acme:project:web:environment:production"`)
						return
					}
					assert.NotContains(t, todo, "project:web:environment:development")
					assert.NotContains(t, todo, "project:web:environment:*")
				})
			}
		}
	}
}

func TestEvaluatesForWhatThePolicyIsFor(t *testing.T) {
	policy := func(condition string) string {
		return `{"Version": "2012-10-17", "Statement": [` + statement(condition) + `]}`
	}
	subject := func(operator, values string) string {
		return policy(fmt.Sprintf(`{%q: {"oidc.vercel.com/acme:aud": "https://vercel.com/acme", "oidc.vercel.com/acme:sub": %s}}`, operator, values))
	}
	for name, test := range map[string]struct {
		policy, own, chosen string
		status              Status
		says                string
	}{
		"its own":        {subject("StringEquals", `"owner:acme:project:web:environment:preview"`), "preview", "", OK, `it admits this project's "preview"`},
		"for production": {subject("StringEquals", `"owner:acme:project:web:environment:production"`), "development", "", Warning, `it admits this project's "production"; the token at hand is of "development"`},
		"two":            {subject("StringEquals", `["owner:acme:project:web:environment:production", "owner:acme:project:web:environment:preview"]`), "preview", "", OK, `it admits this project's "production", "preview"`},
		"chosen":         {subject("StringEquals", `"owner:acme:project:web:environment:production"`), "preview", "staging", Failed, `does not admit this project's "staging": it is for "production"`},
		"renamed":        {subject("StringEquals", `"owner:acme:project:old:environment:production"`), "development", "", Failed, `it does not admit this project's "production"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := examine(t, test.policy, test.own, test.chosen)
			assert.Contains(t, c.Summary, test.says)
			if !strings.Contains(strings.Join(c.Details, " "), "warning:") {
				assert.Equal(t, test.status, c.Status)
			}
		})
	}
}

// A name in another case, or a short one, is asked about before a role of its
// own is advised, and never for development.
func TestAsksWhatIsMeant(t *testing.T) {
	policy := func(environment string) string {
		return `{"Version": "2012-10-17", "Statement": ` + statement(`{"StringEquals": {"oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:`+environment+`", "oidc.vercel.com/acme:aud": "https://vercel.com/acme"}}`) + `}`
	}
	for _, c := range []struct {
		named, own, chosen string
		asks               bool
	}{
		{"Production", "production", "", true},
		{"prod", "production", "", true},
		{"PREVIEW", "preview", "", true},
		{"Production", "production", "production", true},
		{"Production", "development", "production", true},
		{"production", "preview", "", false},
		{"staging", "production", "", false},
		{"Development", "development", "", false},
	} {
		t.Run(fmt.Sprint(c.named, " ", c.own, " ", c.chosen), func(t *testing.T) {
			check := examine(t, policy(c.named), c.own, c.chosen)
			assert.Equal(t, c.asks, strings.Contains(check.Summary, "did you mean"), check.Summary)
			if c.asks {
				assert.Contains(t, strings.Join(check.ToDo, "\n"), fmt.Sprintf(`in place of %q`, c.named))
				assert.NotContains(t, strings.Join(check.ToDo, "\n"), "role of its own")
			}
		})
	}
}
