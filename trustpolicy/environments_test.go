package trustpolicy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What Vercel's names are is at
// https://vercel.com/docs/rest-api/environment/create-a-custom-environment-for-the-current-project;
// what operators make of them, below https://docs.aws.amazon.com/IAM/latest/UserGuide/.
func TestExpectEnvironmentsMindsCustomOnes(t *testing.T) {
	sub, aud := `"oidc.vercel.com/acme:sub"`, `"oidc.vercel.com/acme:aud":"https://vercel.com/acme"`
	web := "owner:acme:project:web:environment:"
	like := func(subject string) string { return `"StringLike":{` + sub + `:"` + subject + `"}` }
	deny := func(condition string) string { return statement("Deny", condition) }
	anyOfAcme := like("owner:acme:*")
	cases := []struct {
		name, from string
		statements []string
		says       string // "" if only production gets in
	}{
		{"prod*", opsString, []string{like(web + "prod*")}, `custom ones such as "prod"`},
		{"production*", opsString, []string{like(web + "production*")}, `custom ones such as "productionx"`},
		{"?roduction", opsString, []string{like(web + "?roduction")}, `custom ones such as "xroduction"`},
		{"p*n", opsString, []string{like(web + "p*n")}, `custom ones such as "pn"`},
		{"*ion", opsString, []string{like(web + "*ion")}, `custom ones such as "ion"`},
		{"*production", opsString, []string{like(web + "*production")}, `custom ones such as "xproduction"`},
		{"*prod*", opsString, []string{like(web + "*prod*")}, `custom ones such as "prod"`},
		{"a name and a pattern", opsString, []string{`"StringLike":{` + sub + `:["` + web + `staging","` + web + `*production"]}`}, `"staging", custom ones such as "xproduction"`},
		{"a star swallows the rest", opsString, []string{like("owner:acme:project:web:*production")}, `custom ones such as "xproduction"`},
		{"a star from the owner on", opsString, []string{like("owner:acme*ion")}, `custom ones such as "ion"`},
		{"a star within the word", opsString, []string{like("owner:acme:project:web:environ*production")}, `custom ones such as "xproduction"`},
		{"a project's name cannot", opsString, []string{like("owner:acme:project:*environment:production")}, ``},
		{"the colon stands", opsString, []string{like("*:environment:production")}, ``},
		{"a mark for the colon", opsString, []string{like("*environment?production")}, `custom ones such as "environmentxproduction"`},
		{"a mark for each character", opsString, []string{like(web + "??????????")}, `custom ones such as "xxxxxxxxxx"`},
		{"a star as a character, which no name has", escapes, []string{like(web + "prod${*}")}, ``},
		{"case", opsString, []string{`"StringEqualsIgnoreCase":{` + sub + `:"` + web + `production"}`}, `custom ones such as "PRODUCTION"`},
		{"a variable", variables, []string{like(web + "${oidc.vercel.com/acme:email, 'production'}")}, `"preview"`},
		{"a variable of the request", variables, []string{like(web + "${aws:PrincipalTag/e}")}, `"preview"`},

		{"together they leave one", conditions, []string{like(web+"p*n") + `,"StringEquals":{` + sub + `:["` + web + `production","` + web + `preview"]}`}, ``},
		{"together they leave another", conditions, []string{like(web+"*prod*") + `,"ForAnyValue:StringLike":{` + sub + `:"*n"}`}, `custom ones such as "prodn"`},
		{"more than can be told", opsString, []string{like("*a" + strings.Repeat("?", 24) + ":environment:production")}, `it may admit other environments than "production": there are too many patterns`},
		{"a claim without a key never holds", federation, []string{anyOfAcme + `,"StringEquals":{"oidc.vercel.com/acme:environment":"production"}`}, ``},
		{"a claim without a key never keeps out", federation, []string{anyOfAcme + `,"StringNotEquals":{"oidc.vercel.com/acme:environment":"preview"}`}, `"preview", "development", custom ones`},
		{"all but the well-known", opsString, []string{anyOfAcme + `,"StringNotLike":{` + sub + `:["*:preview","*:development"]}`}, `custom ones`},
		{"all but some", opsString, []string{like(web+"pr*") + `,"StringNotLike":{` + sub + `:["*preview","*prod?*"]}`}, `custom ones such as "pr"`},
		{"another type", opsNumeric, []string{`"NumericLessThan":{` + sub + `:"5"}`}, `"preview"`},
		{"ForAllValues", multiValue, []string{`"ForAllValues:StringLike":{` + sub + `:"` + web + `*production"}`}, `custom ones such as "xproduction"`},

		{"a Deny for the rest", logic, []string{anyOfAcme, deny(`"StringNotLike":{` + sub + `:"*:production"}`)}, ``},
		{"a Deny that a suffix passes", logic, []string{anyOfAcme, deny(`"StringNotLike":{` + sub + `:"*production"}`)}, `custom ones such as "xproduction"`},
		{"a Deny for another audience", logic, []string{anyOfAcme + `,"StringEquals":{` + aud + `}`, deny(`"StringNotLike":{` + sub + `:"*:production"},"StringEquals":{"oidc.vercel.com/acme:aud":"x"}`)}, `"preview"`},
		{"a Deny for one of all audiences", logic, []string{`"StringLike":{` + sub + `:"owner:acme:*","oidc.vercel.com/acme:aud":"https://vercel.com/*"}`, deny(`"StringNotLike":{` + sub + `:"*:production"},"StringEquals":{"oidc.vercel.com/acme:aud":"https://vercel.com/x"}`)}, `"preview"`},
		{"a Deny for this audience", logic, []string{anyOfAcme + `,"StringEquals":{` + aud + `}`, deny(`"StringNotLike":{` + sub + `:"*:production"},"StringEquals":{` + aud + `}`)}, ``},
		{"a Deny for one project", logic, []string{anyOfAcme, deny(`"StringLike":{` + sub + `:"owner:acme:project:web:*"},"StringNotLike":{` + sub + `:"*:production"}`)}, `"preview"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if !strings.HasPrefix(c.statements[0], "{") {
				c.statements[0] = statement("Allow", c.statements[0])
			}
			found := mustParse(t, policy(c.statements...)).ExpectEnvironments("production")
			if c.says == "" {
				assert.Empty(t, found, c.from)
				return
			}
			require.Len(t, found, 1, c.from)
			assert.Contains(t, found[0].Message, c.says, c.from)
			assert.Equal(t, High, found[0].Severity)
		})
	}
}

// TestExpectEnvironmentsAgainstEvaluate makes policies of patterns and
// environments that the patterns may fit. A token that Evaluate allows, of an
// environment that is not expected, must have brought a warning.
func TestExpectEnvironmentsAgainstEvaluate(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(2026, 14))}
	environment := func() string {
		return g.one("production", "preview", "development", "staging", "preprod", "nonproduction", "prod-eu")
	}
	subject := func() string {
		return Subject(g.one("acme", "apex"), g.one("web", "web-prod"), environment())
	}
	// blur puts wildcards in place of what stands in a text.
	blur := func(text string) string {
		for range g.IntN(3) {
			from := g.IntN(len(text))
			if g.chance(60) && strings.Contains(text, ":environment:") {
				from = strings.LastIndex(text, ":") + g.IntN(len(text)-strings.LastIndex(text, ":"))
			}
			to := min(len(text), from+g.IntN(12))
			switch g.IntN(4) {
			case 0:
				to = min(len(text), from+1)
				text = text[:from] + "?" + text[to:]
			case 1:
				text = text[:from] + "*"
			default:
				text = text[:from] + "*" + text[to:]
			}
		}
		return text
	}
	var patterns []string
	condition := func() Condition {
		c := Condition{Operator: g.one("StringLike", "StringLike", "StringLike", "StringEquals", "StringNotLike", "StringEqualsIgnoreCase", "StringNotEquals", "ForAnyValue:StringLike",
			"ForAllValues:StringLike", "StringLikeIfExists", "ForAllValues:StringNotLike", "StringNotEqualsIgnoreCase"), Key: "oidc.vercel.com/acme:sub"}
		for range 1 + g.IntN(2) {
			value := subject()
			if strings.Contains(c.Operator, "Like") {
				value = blur(value)
				if g.chance(5) {
					value = g.one(value+"${*}", "${oidc.vercel.com/acme:sub}", strings.Replace(value, "acme", "${oidc.vercel.com/acme:aud}", 1))
				}
			} else if g.chance(30) {
				value = strings.ToUpper(value[:1]) + value[1:]
			}
			c.Values = append(c.Values, value)
			patterns = append(patterns, value)
		}
		if g.chance(10) {
			c = Condition{Operator: g.one("StringEquals", "StringLike", "StringNotLike"), Key: "oidc.vercel.com/acme:aud", Values: []string{g.one("acme", "a*", "apex", "*", "https://vercel.com/*")}}
		}
		return c
	}
	// fit puts random characters in place of a pattern's wildcards.
	fit := func(pattern string) string {
		var b strings.Builder
		for _, c := range []byte(strings.NewReplacer("${*}", "*").Replace(pattern)) {
			switch c {
			case '*':
				for range g.IntN(4) {
					b.WriteByte(usual[g.IntN(len(usual))])
				}
			case '?':
				b.WriteByte(usual[g.IntN(len(usual))])
			default:
				b.WriteByte(c)
			}
		}
		return b.String()
	}
	seen := map[string]int{}
	for range 1_500 {
		patterns = nil
		d := &Document{Version: g.one("2012-10-17", "2012-10-17", "2008-10-17")}
		for i := range 1 + g.IntN(3) {
			s := Statement{Effect: g.one("Allow", "Deny"), Principals: Principals{Federated: []string{ProviderARN("", account, TeamIssuer("acme"))}}, Actions: []string{Action}}
			if i == 0 {
				s.Effect = "Allow"
			}
			if g.chance(20) {
				s.Principals = Principals{Anyone: true}
			}
			for range 1 + g.IntN(3) {
				s.Conditions = append(s.Conditions, condition())
			}
			d.Statements = append(d.Statements, s)
		}
		expected := []string{environment(), environment()}[:1+g.IntN(2)]
		found := d.ExpectEnvironments(expected...)
		outcome := "silent, and only the expected get in"
		for range 25 {
			name := environment()
			if g.chance(60) {
				fitted := fit(patterns[g.IntN(len(patterns))])
				name = fitted[strings.LastIndex(fitted, ":")+1:]
			}
			if name == "" || slices.Contains(expected, name) {
				continue
			}
			for _, audience := range []string{Audience("acme"), "acme", "apex", "other"} {
				token := Subject("acme", g.one("web", "web-prod", "else"), name)
				if !d.Evaluate(Request{ProviderARN: ProviderARN("", account, TeamIssuer("acme")), Context: ConditionContext(TeamIssuer("acme"), token, []string{audience})}).Allowed() {
					continue
				}
				require.NotEmpty(t, found, "%s lets in %s for %s, and %q are expected", d, token, audience, expected)
				outcome = "warned of one that gets in"
				if !slices.Contains(wellKnown, name) {
					outcome = "warned of a custom one that gets in"
				}
			}
		}
		if len(found) > 0 && strings.HasPrefix(outcome, "silent") {
			outcome = "warned, and no token tried gets in"
		}
		seen[outcome]++
	}
	t.Log(seen)
	for _, outcome := range []string{"silent, and only the expected get in", "warned of one that gets in", "warned of a custom one that gets in"} {
		require.Greater(t, seen[outcome], 150, outcome)
	}
	require.Less(t, seen["warned, and no token tried gets in"], 300, "few alarms without a token at hand")
}

// TestExpectEnvironmentsTakesWhatBuildMakes holds literal policies to silence,
// with as many subjects as a role's policy has room for.
func TestExpectEnvironmentsTakesWhatBuildMakes(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(2026, 15))}
	for range 60 {
		s := Spec{AccountID: account, Global: g.chance(30), Teams: []string{"acme", "apex"}[:1+g.IntN(2)], Environments: []string{"production", "staging", "preprod", "prod"}[:1+g.IntN(4)]}
		for i := range 1 + g.IntN(12) {
			s.Projects = append(s.Projects, fmt.Sprintf("web-%d", i))
		}
		if g.chance(20) {
			s.Projects = []string{"*"}
		}
		if g.chance(30) {
			s.Audience = "https://sts.amazonaws.com"
		}
		d, err := Build(s)
		require.NoError(t, err)
		assert.Empty(t, d.ExpectEnvironments(s.Environments...), "%+v", s)
		left := d.ExpectEnvironments(s.Environments[1:]...)
		require.Len(t, left, len(d.Statements), "%+v", s)
		assert.Contains(t, left[0].Message, `"production"`)
		assert.NotContains(t, left[0].Message, "custom")
	}
}
