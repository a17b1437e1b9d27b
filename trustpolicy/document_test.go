package trustpolicy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A document can hold what a JSON object cannot: two conditions of one operator
// and key. Both must hold, so neither may get lost.
func TestTwoConditionsOfOneOperatorAndKey(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(1, 2))}
	written := 0
	for range 20_000 {
		d := &Document{Version: "2012-10-17"}
		s := Statement{Effect: g.one("Allow", "Deny"), Principals: Principals{Anyone: true}, Actions: []string{Action}}
		operator := g.operator()
		for range 2 {
			c := Condition{Operator: operator, Key: g.one("oidc.vercel.com/acme:sub", "oidc.vercel.com/acme:SUB")}
			for range 1 + g.IntN(2) {
				c.Values = append(c.Values, g.text(true))
			}
			s.Conditions = append(s.Conditions, c)
		}
		d.Statements = []Statement{s, {Effect: "Allow", Principals: Principals{Anyone: true}, Actions: []string{Action}}}[:1+g.IntN(2)]
		text, err := json.Marshal(d)
		if err != nil {
			continue
		}
		written++
		again := mustParse(t, string(text))
		for range 3 {
			r := g.request()
			require.Equal(t, d.Evaluate(r).Decision, again.Evaluate(r).Decision, "%s\n%q", text, r.Context)
		}
	}
	assert.Greater(t, written, 10_000)

	c := Condition{Operator: "StringEquals", Key: "k", Values: []string{"a"}}
	d := &Document{Statements: []Statement{{Effect: "Allow", Principals: Principals{Anyone: true}, Actions: []string{Action}, Conditions: []Condition{
		c, {"StringEquals", "K", []string{"b"}}, {"StringEquals", "k", []string{"c"}}}}}}
	_, err := json.Marshal(d)
	assert.ErrorContains(t, err, `more conditions of "StringEquals" on "k" than can be written`)
	assert.Contains(t, d.String(), "than can be written")
}

// What is built to cost much cannot tell. The bound is in steps, not in time.
func TestWorkIsBounded(t *testing.T) {
	long := strings.Repeat("a", 20_000) // as long as STS takes a token
	many := func(one string, most int) string {
		return `["` + strings.Join(strings.Split(strings.Repeat(one+" ", most/(len(one)+3)), " "), `","`) + `"]`
	}
	variable := "${oidc.vercel.com/acme:aud}"
	for name, c := range map[string]struct {
		condition string
		want      Decision
	}{
		"many stars":         {`"StringLike":{"oidc.vercel.com/acme:sub":"` + strings.Repeat("*a", 65_000) + `b"}`, ImplicitDeny},
		"stars that fit":     {`"StringLike":{"oidc.vercel.com/acme:sub":"` + strings.Repeat("*a", 20_000) + `"}`, Allowed},
		"stars, then not":    {`"StringLike":{"oidc.vercel.com/acme:sub":"` + strings.Repeat("*a", 19_000) + `*b"}`, ImplicitDeny},
		"a long part":        {`"StringLike":{"oidc.vercel.com/acme:sub":"*` + strings.Repeat("a", 10_000) + `b*"}`, ImplicitDeny},
		"question marks":     {`"StringLike":{"oidc.vercel.com/acme:sub":"*` + strings.Repeat("a", 10_000) + `?b*"}`, CannotTell},
		"many patterns":      {`"StringLike":{"oidc.vercel.com/acme:sub":` + many("*a*b", 120_000) + `}`, CannotTell},
		"many variables":     {`"StringLike":{"oidc.vercel.com/acme:sub":"` + strings.Repeat(variable, 4_000) + `"}`, CannotTell},
		"in a Deny":          {`"StringNotLike":{"oidc.vercel.com/acme:sub":` + many("*a*b", 120_000) + `}`, CannotTell},
		"an ARN":             {`"ArnLike":{"oidc.vercel.com/acme:sub":"arn:*:` + strings.Repeat("*a", 60_000) + `"}`, CannotTell},
		"within IAM's quota": {`"StringLike":{"oidc.vercel.com/acme:sub":"` + strings.Repeat("*a", 2_000) + `*"}`, Allowed},
	} {
		t.Run(name, func(t *testing.T) {
			d := mustParse(t, allowIf(c.condition))
			r := request(with("oidc.vercel.com/acme:sub", long), with("oidc.vercel.com/acme:aud", long), func(r *Request) { r.Action = Action })
			work := budget
			assert.Equal(t, c.want == Allowed, d.decide(r, &work) == Allowed)
			assert.GreaterOrEqual(t, work, steps(0))
			result := d.Evaluate(r)
			assert.Equal(t, c.want, result.Decision)
			_ = result.String()
			_ = d.Warnings()
			_ = d.ExpectEnvironments("production")
		})
	}
	for name, text := range map[string]string{
		"statements": policy(strings.Repeat(statement("Allow", `"StringEquals":{"oidc.vercel.com/acme:sub":"x"}`)+",", 500) + statement("Deny", "")),
		"keys": allowIf(`"StringEquals":{` + func() string {
			var keys []string
			for i := range 6_000 {
				keys = append(keys, fmt.Sprintf(`"k%d:sub":"x"`, i))
			}
			return strings.Join(keys, ",")
		}() + `}`),
	} {
		d := mustParse(t, text)
		_ = d.String()
		_ = d.Evaluate(request()).Changes()
		_ = d.Warnings()
		_ = d.ExpectEnvironments("production")
		assert.Less(t, len(text), maxDocument, name)
	}
}
