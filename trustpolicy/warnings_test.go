package trustpolicy

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// global is a statement that trusts the global issuer.
func global(condition string) string {
	return policy(strings.Replace(statement("Allow", condition), "oidc.vercel.com/acme", "oidc.vercel.com", 1))
}

func TestWarnings(t *testing.T) {
	sub, globalSub := `"oidc.vercel.com/acme:sub"`, `"oidc.vercel.com:sub"`
	aud := `"oidc.vercel.com/acme:aud":"https://vercel.com/acme"`
	globalAud := `"oidc.vercel.com:aud":"https://vercel.com/acme"`
	teamARN := `{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"}`
	cases := []struct {
		name, policy string
		severity     Severity
		says         string
	}{
		{"global without a test", global(``), Critical, "every customer of Vercel"},
		{"global in another case", strings.Replace(global(``), "oidc.vercel.com", "OIDC.Vercel.com", 1), Critical, "every customer of Vercel"},
		{"global with only aud", global(`"StringEquals":{` + globalAud + `}`), High, `no condition on sub: every project and environment of the team can assume the role, such as "owner:acme:`},
		{"global with only a negated sub", global(`"StringNotEquals":{` + globalSub + `:"x"}`), Critical, "every customer of Vercel"},
		{"global, any owner", global(`"StringLike":{` + globalSub + `:"owner:*:project:web:environment:production"}`), Critical, `other customers of Vercel can assume the role, such as "owner:any-other-team:project:web:environment:production"`},
		{"global, owner:*", global(`"StringLike":{` + globalSub + `:"owner:*"}`), Critical, `the pattern "owner:*": every customer of Vercel`},
		{"global, owner:acme*", global(`"StringLike":{` + globalSub + `:"owner:acme*"}`), Critical, `the pattern "owner:acme*": other customers of Vercel`},
		{"global, *", global(`"StringLike":{` + globalSub + `:"*"}`), Critical, `the pattern "*": every customer of Vercel`},
		{"global, one of two values is open", global(`"StringLike":{` + globalSub + `:["` + webProd + `","owner:acme*"]}`), Critical, `"owner:acme*"`},
		{"global, its own variable", global(`"StringEquals":{` + globalSub + `:"${oidc.vercel.com:sub}"}`), Critical, "the variable in"},
		{"global, its own variable with StringLike", global(`"StringLike":{` + globalSub + `:"${oidc.vercel.com:sub, 'x'}"}`), Critical, "the variable in"},
		{"global, IfExists", global(`"StringEqualsIfExists":{` + globalSub + `:"` + webProd + `"}`), High, `no condition on aud: IAM refuses`},
		{"global, ForAllValues", global(`"ForAllValues:StringEquals":{` + globalSub + `:"` + webProd + `"}`), High, `no condition on aud: IAM refuses`},
		{"global, a guard of another key", global(`"ForAllValues:StringEquals":{` + globalSub + `:"` + webProd + `"},"Null":{"oidc.vercel.com:aud":"false"}`), High, `no condition on aud: IAM refuses`},
		{"global, a guard that always holds", global(`"ForAllValues:StringEquals":{` + globalSub + `:"` + webProd + `"},"Null":{` + globalSub + `:["true","false"]}`), High, `no condition on aud: IAM refuses`},
		{"everyone", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithWebIdentity"}}`, Critical, "principal is a wildcard"},
		{"everyone as an AWS principal", `{"Statement":{"Effect":"Allow","Principal":{"AWS":["210987654321","*"]},"Action":"sts:AssumeRoleWithWebIdentity"}}`, Critical, "principal is a wildcard"},
		{"everyone, with a test of sub", policy(strings.Replace(statement("Allow", `"StringEquals":{`+sub+`:"`+webProd+`",`+aud+`}`), teamARN, `{"AWS":"*"}`, 1)), High, "principal is a wildcard"},
		{"everyone in a NotAction", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"NotAction":"sts:AssumeRole"}}`, Critical, "principal is a wildcard"},
		{"no sub", allowIf(`"StringEquals":{` + aud + `}`), High, "no condition on sub: every project and environment of the team"},
		{"no condition", policy(`{"Effect":"Allow","Principal":` + teamARN + `,"Action":"sts:*"}`), High, "no condition on sub"},
		{"its own variable", allowIf(`"StringEquals":{` + sub + `:"${oidc.vercel.com/acme:sub}"}`), High, "the variable in"},
		{"only negated", allowIf(`"StringNotEquals":{` + sub + `:"x"}`), High, "no condition on sub"},
		{"IfExists", allowIf(`"StringEqualsIfExists":{` + sub + `:"` + webProd + `"}`), Medium, `no condition on aud`},
		{"ForAllValues", allowIf(`"ForAllValues:StringEquals":{` + sub + `:"` + webProd + `"}`), Medium, `no condition on aud`},
		{"owner:*", allowIf(`"StringLike":{` + sub + `:"owner:*"}`), High, `the pattern "owner:*": every project and environment of the team`},
		{"any project", allowIf(`"StringLike":{` + sub + `:"owner:acme:*"}`), High, `the pattern "owner:acme:*": every project and environment of the team`},
		{"any project's production", allowIf(`"StringLike":{` + sub + `:"owner:acme:project:*:environment:production"}`), Medium, "admits projects"},
		{"a wildcard in the project", allowIf(`"StringLike":{` + sub + `:"owner:acme:project:web*:environment:production"}`), Medium, "admits projects"},
		{"no aud", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `"}`), Medium, "no condition on aud"},
		{"any aud", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `"},"StringLike":{"oidc.vercel.com/acme:aud":"*"}`), Medium, "no condition on aud"},
		{"aud if it exists", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `"},"ForAllValues:StringEquals":{` + aud + `}`), Low, `passes where "oidc.vercel.com/acme:aud" is missing`},
		{"no values", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `",` + aud + `},"StringLike":{"oidc.vercel.com/acme:email":[]}`), Medium, "has no values"},
		{"a Deny that never denies", policy(statement("Allow", `"StringEquals":{`+sub+`:"`+webProd+`",`+aud+`}`), statement("Deny", `"StringEquals":{"oidc.vercel.com:sub":"x"}`)), Medium, "never there"},
		{"a negated test that always passes", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `",` + aud + `},"StringNotEquals":{"oidc.vercel.com/acme:environment":"preview"}`), Medium, `no condition key for the claim "environment"`},
		{"preview and production", allowIf(`"StringEquals":{` + sub + `:["` + webProd + `","owner:acme:project:web:environment:preview"],` + aud + `}`), Low, "share this role"},
		{"preview and production in two statements", policy(
			statement("Allow", `"StringEquals":{`+sub+`:"`+webProd+`",`+aud+`}`),
			statement("Allow", `"StringEquals":{`+sub+`:"owner:acme:project:web:environment:preview",`+aud+`}`)), Low, "statement 2: production and preview share"},
		{"all environments", allowIf(`"StringLike":{` + sub + `:"owner:acme:project:web:environment:*"},"StringEquals":{` + aud + `}`), Medium, `admits environments that it does not name, such as "owner:acme:project:web:environment:preview"`},
		{"a Deny for one environment", policy(statement("Allow", `"StringLike":{`+sub+`:"owner:acme:project:web:environment:*"},"StringEquals":{`+aud+`}`), statement("Deny", `"StringLike":{`+sub+`:["*:preview","*:development"]}`)), Medium, "environments that it does not name"},
		{"a condition takes the rest out", allowIf(`"StringLike":{` + sub + `:"owner:acme:project:web:environment:*"},"StringEquals":{` + aud + `},"StringNotLike":{` + sub + `:["*:preview","*:development"]}`), Medium, "environments that it does not name"},
		{"literal star", allowIf(`"StringEquals":{` + sub + `:"owner:acme:project:web:environment:*",` + aud + `}`), Low, "literally; use StringLike"},
		{"scheme in the key", allowIf(`"StringEquals":{"https://oidc.vercel.com/acme:sub":"` + webProd + `",` + aud + `}`), Low, "holds a scheme"},
		{"scheme in the provider", policy(strings.Replace(statement("Allow", `"StringEquals":{`+sub+`:"`+webProd+`",`+aud+`}`), "oidc.vercel.com/acme\"", "https://oidc.vercel.com/acme\"", 1)), Low, "holds a scheme"},
		{"key of another issuer", allowIf(`"StringEquals":{"oidc.vercel.com:sub":"` + webProd + `",` + aud + `}`), Low, "another issuer than the provider"},
		{"a claim without a key", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `",` + aud + `,"oidc.vercel.com/acme:project_id":"x"}`), Low, `no condition key for the claim "project_id"`},
		{"unknown operator", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `",` + aud + `},"stringlike":{` + sub + `:"x"}`), Low, "cannot tell"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			all := mustParse(t, c.policy).Warnings()
			require.NotEmpty(t, all)
			assert.Equal(t, c.severity, all[0].Severity, "the loudest comes first: %v", all)
			assert.True(t, slices.ContainsFunc(all, func(w Warning) bool {
				return w.Severity == c.severity && strings.Contains(w.String(), c.says)
			}), "%v", all)
			for i := range all[1:] {
				assert.GreaterOrEqual(t, all[i].Severity, all[i+1].Severity)
			}
		})
	}
}

// Where everyone is a principal beside a provider, the key of another issuer can
// be there.
func TestEveryoneHasKeysOfEveryIssuer(t *testing.T) {
	d := mustParse(t, policy(strings.Replace(statement("Allow", `"StringEquals":{"oidc.vercel.com:sub":"`+webProd+`"}`), `"Federated"`, `"AWS":"*","Federated"`, 1)))
	warnings := d.Warnings()
	require.NotEmpty(t, warnings)
	for _, w := range warnings {
		assert.NotContains(t, w.Message, "another issuer")
	}
}

func TestNoFalseAlarm(t *testing.T) {
	sub, aud := `"oidc.vercel.com/acme:sub"`, `"oidc.vercel.com/acme:aud":"https://vercel.com/acme"`
	exact := sub + `:"` + webProd + `"`
	for name, p := range map[string]string{
		"exact":                           allowIf(`"StringEquals":{` + exact + `,` + aud + `}`),
		"global":                          global(`"StringEquals":{"oidc.vercel.com:sub":"` + webProd + `","oidc.vercel.com:aud":"https://vercel.com/acme"}`),
		"ForAnyValue":                     allowIf(`"ForAnyValue:StringEquals":{` + exact + `,` + aud + `}`),
		"ForAllValues with its guard":     allowIf(`"ForAllValues:StringEquals":{` + exact + `,` + aud + `},"Null":{` + sub + `:"false","oidc.vercel.com/acme:aud":false}`),
		"IfExists with its guard":         allowIf(`"StringLikeIfExists":{` + exact + `,` + aud + `},"Null":{"OIDC.vercel.com/acme:sub":"False","oidc.vercel.com/acme:aud":"false"}`),
		"an open test beside a tight one": allowIf(`"StringEquals":{` + exact + `,` + aud + `},"StringLike":{` + sub + `:"owner:*"}`),
		"an escape":                       allowIf(`"StringLike":{` + sub + `:"owner:acme:project:web:environment:${*}",` + aud + `}`),
		"a session name":                  allowIf(`"StringEquals":{` + exact + `,` + aud + `},"StringLike":{"sts:RoleSessionName":"web-*"}`),
		"another action":                  policy(strings.Replace(statement("Allow", ""), Action, "sts:TagSession", 1)),
		"another kind of principal":       `{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"sts:*"}}`,
		"another issuer's subjects":       policy(strings.ReplaceAll(statement("Allow", `"StringLike":{"oidc.vercel.com/acme:sub":"repo:acme/web:*"},"StringEquals":{`+aud+`}`), "oidc.vercel.com/acme", "token.actions.githubusercontent.com")),
	} {
		t.Run(name, func(t *testing.T) { assert.Empty(t, mustParse(t, p).Warnings()) })
	}
}

func TestExpectEnvironments(t *testing.T) {
	sub, aud := `"oidc.vercel.com/acme:sub"`, `"oidc.vercel.com/acme:aud":"https://vercel.com/acme"`
	like := func(values string) string {
		return `"StringLike":{` + sub + `:` + values + `},"StringEquals":{` + aud + `}`
	}
	cases := []struct {
		name, policy string
		expected     []string
		says         []string
	}{
		{"as expected", allowIf(like(`"` + webProd + `"`)), []string{"production"}, nil},
		{"another", allowIf(like(`["` + webProd + `","owner:acme:project:web:environment:staging"]`)), []string{"production"}, []string{`statement 1: it admits other environments than "production": "staging"`}},
		{"both expected", allowIf(like(`["` + webProd + `","owner:acme:project:web:environment:staging"]`)), []string{"production", "staging"}, nil},
		{"a wildcard", allowIf(like(`"owner:acme:project:web:environment:*"`)), []string{"production"}, []string{`statement 1: it admits other environments than "production": "preview", "development", custom ones`}},
		{"a wildcard in the project", allowIf(like(`"owner:acme:project:w?b*:environment:production"`)), []string{"production"}, nil},
		{"a wildcard that reaches over", allowIf(like(`"owner:acme:*:production"`)), []string{"production"}, nil},
		{"half a name", allowIf(like(`"owner:acme:project:web:environment:p*"`)), []string{"production"}, []string{`"preview"`}},
		{"no test", allowIf(""), []string{"production"}, []string{`"preview", "development", custom ones`}},
		{"not these", allowIf(like(`"owner:acme:*"`) + `,"StringNotLike":{` + sub + `:["*:preview","*:development"]}`), []string{"production"}, []string{"custom ones"}},
		{"a Deny keeps them out", policy(statement("Allow", like(`"owner:acme:*"`)), statement("Deny", `"StringNotLike":{`+sub+`:"*:production"}`)), []string{"production"}, nil},
		{"a Deny that may not", policy(statement("Allow", like(`"owner:acme:*"`)), statement("Deny", `"stringlike":{`+sub+`:"*:production"}`)), []string{"production"}, []string{`"preview"`}},
		{"the second statement", policy(statement("Allow", like(`"`+webProd+`"`)), statement("Allow", like(`"owner:acme:project:web:environment:preview"`))), []string{"production"}, []string{`statement 2: it admits other environments than "production": "preview"`}},
		{"its own variable", allowIf(like(`"${oidc.vercel.com/acme:sub}"`)), []string{"production"}, []string{`"preview"`}},
		{"global", global(`"StringLike":{"oidc.vercel.com:sub":"owner:acme:project:web:environment:*"}`), []string{"production"}, []string{`"preview"`}},
		{"everyone", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:*","Condition":{` + like(`"owner:acme:*"`) + `}}}`, []string{"production"}, []string{`"preview"`}},
		{"everyone, as expected", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:*","Condition":{` + like(`"`+webProd+`"`) + `}}}`, []string{"production"}, nil},
		{"another action", policy(strings.Replace(statement("Allow", ""), Action, "sts:TagSession", 1)), []string{"production"}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			found := mustParse(t, c.policy).ExpectEnvironments(c.expected...)
			require.Len(t, found, len(c.says), "%v", found)
			for i, w := range found {
				assert.Equal(t, High, w.Severity)
				assert.Contains(t, w.String(), c.says[i])
			}
		})
	}
}

func TestSeverityText(t *testing.T) {
	for s := Low; s <= Critical; s++ {
		text, err := s.MarshalText()
		require.NoError(t, err)
		var again Severity
		require.NoError(t, again.UnmarshalText(text))
		assert.Equal(t, s, again)
	}
	var s Severity
	assert.ErrorContains(t, s.UnmarshalText([]byte("loud\n")), `"loud\n" is not a severity`)
	assert.Equal(t, "Severity(9)", Severity(9).String())
}
