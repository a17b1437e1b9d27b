package trustpolicy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// applyToJSON makes the changes in the text of a policy, as a person or a
// script would, and shares nothing with Document.Apply.
func applyToJSON(t *testing.T, policy string, advice []Advice) string {
	t.Helper()
	var root map[string]any
	require.NoError(t, json.Unmarshal([]byte(policy), &root))
	if _, one := root["Statement"].(map[string]any); one {
		root["Statement"] = []any{root["Statement"]}
	}
	for _, a := range advice {
		if a.Edit == AddStatement {
			text, err := json.Marshal(&Document{Statements: []Statement{*a.New}})
			require.NoError(t, err)
			var alone struct{ Statement []any }
			require.NoError(t, json.Unmarshal(text, &alone))
			root["Statement"] = append(root["Statement"].([]any), alone.Statement...)
			continue
		}
		i, err := strconv.Atoi(a.Path[1])
		require.NoError(t, err)
		place := root["Statement"].([]any)[i].(map[string]any)
		names := a.Path[2:]
		for _, name := range names[:len(names)-1] {
			if _, there := place[name]; !there && a.Edit == AddCondition {
				place[name] = map[string]any{}
			}
			place = place[name].(map[string]any)
		}
		last := names[len(names)-1]
		switch a.Edit {
		case AddValue:
			list, ok := place[last].([]any)
			if !ok {
				list = []any{place[last]}
			}
			place[last] = append(list, a.Value)
		case SetValue:
			require.Contains(t, place, last)
			place[last] = a.Value
		case AddCondition:
			require.NotContains(t, place, last)
			place[last] = a.Value
		case RenameKey:
			require.NotContains(t, place, a.Value)
			place[a.Value] = place[last]
			delete(place, last)
		default:
			t.Fatalf("no edit: %+v", a)
		}
	}
	out, err := json.Marshal(root)
	require.NoError(t, err)
	return string(out)
}

// identity is what a token says.
type identity struct{ issuer, subject, audience string }

func (i identity) request() Request {
	return Request{ProviderARN: ProviderARN("", account, i.issuer), Context: ConditionContext(i.issuer, i.subject, []string{i.audience})}
}

// neighbours are tokens like i, other in one or more parts.
func neighbours() []identity {
	var subjects []string
	for _, team := range []string{"acme", "acme2", "evil"} {
		for _, project := range []string{"web", "web2", "shop", "*"} {
			for _, environment := range []string{"production", "preview", "prod", "*"} {
				subjects = append(subjects, Subject(team, project, environment))
			}
		}
	}
	subjects = append(subjects, "*", "", "owner:acme", "x"+webProd, webProd+"x", strings.ToUpper(webProd), "owner:acme:project:web:environment:production:x")
	var out []identity
	for _, issuer := range []string{TeamIssuer("acme"), TeamIssuer("evil"), GlobalIssuer} {
		for _, subject := range subjects {
			for _, audience := range []string{Audience("acme"), Audience("evil"), "https://sts.amazonaws.com"} {
				out = append(out, identity{issuer, subject, audience})
			}
		}
	}
	return out
}

// mistake is one thing that can be wrong in a policy's text.
type mistake struct {
	name  string
	apply func(s map[string]any, pick func(...string) string)
}

func conditionsOf(s map[string]any) map[string]any {
	if s["Condition"] == nil {
		s["Condition"] = map[string]any{}
	}
	return s["Condition"].(map[string]any)
}

// moveKey gives a key of any operator another name.
func moveKey(s map[string]any, suffix string, to func(string) string) {
	for _, keys := range conditionsOf(s) {
		keys := keys.(map[string]any)
		for key, value := range keys {
			if strings.HasSuffix(key, suffix) {
				delete(keys, key)
				keys[to(key)] = value
				return
			}
		}
	}
}

func setValue(s map[string]any, suffix string, to any) {
	for _, keys := range conditionsOf(s) {
		keys := keys.(map[string]any)
		for key := range keys {
			if strings.HasSuffix(key, suffix) {
				keys[key] = to
			}
		}
	}
}

func moveOperator(s map[string]any, suffix, to string) {
	conditions := conditionsOf(s)
	for operator, keys := range conditions {
		for key, value := range keys.(map[string]any) {
			if strings.HasSuffix(key, suffix) {
				delete(keys.(map[string]any), key)
				if conditions[to] == nil {
					conditions[to] = map[string]any{}
				}
				conditions[to].(map[string]any)[key] = value
				_ = operator
				return
			}
		}
	}
}

var mistakes = []mistake{
	{"sub value", func(s map[string]any, pick func(...string) string) {
		setValue(s, ":sub", Subject(pick("acme", "evil"), pick("web", "shop", "Web"), pick("preview", "production", "prod", "*")))
	}},
	{"sub list", func(s map[string]any, pick func(...string) string) {
		setValue(s, ":sub", []any{Subject("acme", "shop", "production"), Subject("acme", "web", pick("preview", "development"))})
	}},
	{"sub pattern", func(s map[string]any, pick func(...string) string) {
		moveOperator(s, ":sub", "StringLike")
		setValue(s, ":sub", pick("owner:acme:project:shop:*", "owner:acme:*:preview", "owner:evil:*", "owner:acme*:web", "owner:acme:project:web:environment:?"))
	}},
	{"sub wide", func(s map[string]any, pick func(...string) string) {
		moveOperator(s, ":sub", "StringLike")
		setValue(s, ":sub", pick("owner:acme:*", "owner:*", "*", "owner:acme:project:web:environment:*"))
		s["Action"] = pick("sts:AssumeRole", "sts:AssumeRoleWithSAML")
	}},
	{"sub wide, aud wrong", func(s map[string]any, pick func(...string) string) {
		moveOperator(s, ":sub", "StringLike")
		setValue(s, ":sub", pick("owner:acme:*", "*", "owner:acme:project:web:environment:*"))
		setValue(s, ":aud", pick("sts.amazonaws.com", "https://sts.amazonaws.com"))
	}},
	{"sub ignoring case", func(s map[string]any, _ func(...string) string) {
		moveOperator(s, ":sub", "StringEqualsIgnoreCase")
		setValue(s, ":sub", Subject("acme", "WEB", "preview"))
	}},
	{"aud value", func(s map[string]any, pick func(...string) string) {
		setValue(s, ":aud", pick("sts.amazonaws.com", "https://sts.amazonaws.com", "https://vercel.com/evil", "https://vercel.com/acme/"))
	}},
	{"sub key", func(s map[string]any, pick func(...string) string) {
		to := pick("subject", "Subj", "project", "environment", "owner", "project_id", "suB ")
		moveKey(s, ":sub", func(key string) string { return strings.TrimSuffix(key, "sub") + to })
	}},
	{"aud key", func(s map[string]any, pick func(...string) string) {
		to := pick("audience", "adu")
		moveKey(s, ":aud", func(key string) string { return strings.TrimSuffix(key, "aud") + to })
	}},
	{"sub key of another issuer", func(s map[string]any, pick func(...string) string) {
		to := pick("oidc.vercel.com", "oidc.vercel.com/evil", "https://oidc.vercel.com/acme", "token.actions.githubusercontent.com")
		moveKey(s, ":sub", func(string) string { return to + ":sub" })
	}},
	{"key without issuer", func(s map[string]any, _ func(...string) string) {
		moveKey(s, ":sub", func(string) string { return "sub" })
	}},
	{"provider", func(s map[string]any, pick func(...string) string) {
		s["Principal"] = map[string]any{"Federated": pick(
			"arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com", "arn:aws:iam::210987654321:oidc-provider/oidc.vercel.com/acme",
			"arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/evil", "arn:aws:iam::123456789012:oidc-provider/https://oidc.vercel.com/acme",
			"accounts.google.com")}
	}},
	{"other principal", func(s map[string]any, pick func(...string) string) {
		s["Principal"] = map[string]any{"Service": pick("ec2.amazonaws.com", "lambda.amazonaws.com")}
	}},
	{"action", func(s map[string]any, pick func(...string) string) {
		s["Action"] = pick("sts:AssumeRole", "sts:TagSession", "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithS*")
	}},
	{"actions", func(s map[string]any, _ func(...string) string) {
		s["Action"] = []any{"sts:AssumeRole", "sts:TagSession"}
	}},
	{"set operator", func(s map[string]any, pick func(...string) string) {
		moveOperator(s, ":sub", pick("ForAllValues:StringEquals", "ForAnyValue:StringLike", "StringLikeIfExists"))
		setValue(s, ":sub", Subject("acme", "shop", "production"))
	}},
	{"more conditions", func(s map[string]any, pick func(...string) string) {
		conditionsOf(s)["StringEquals"] = map[string]any{"oidc.vercel.com/acme:" + pick("environment", "owner", "project_id"): "production",
			"oidc.vercel.com/acme:sub": webProd}
	}},
	{"variable", func(s map[string]any, _ func(...string) string) {
		moveOperator(s, ":sub", "StringEquals")
		setValue(s, ":sub", "${oidc.vercel.com/acme:aud}")
	}},
	{"old version, odd subject", func(s map[string]any, _ func(...string) string) {
		moveOperator(s, ":sub", "StringLike")
		setValue(s, ":sub", "${*}"+webProd)
	}},
	// What advice cannot mend mechanically.
	{"negated", func(s map[string]any, pick func(...string) string) {
		conditionsOf(s)[pick("StringNotEquals", "StringNotLike")] = map[string]any{"oidc.vercel.com/acme:sub": webProd}
	}},
	{"Null", func(s map[string]any, pick func(...string) string) {
		conditionsOf(s)["Null"] = map[string]any{"oidc.vercel.com/acme:sub": "true"}
	}},
	{"Bool", func(s map[string]any, _ func(...string) string) {
		conditionsOf(s)["Bool"] = map[string]any{"oidc.vercel.com/acme:email": "true"}
	}},
}

// TestAdviceNeverWidens applies the advice for policies with one mistake, and
// with two, to their text, and looks at what that lets in.
func TestAdviceNeverWidens(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(12, 2))
	pick := func(all ...string) string { return all[random.IntN(len(all))] }
	cloud := neighbours()
	tried, mechanical, mendedOne, ones := 0, 0, 0, 0
	inTheWay := []string{"negated", "Null", "Bool"}
	for round := range 30 {
		for i, first := range mistakes {
			made := []mistake{first}
			if round >= 10 {
				made = append(made, mistakes[(i+1+random.IntN(len(mistakes)-1))%len(mistakes)])
			}
			target := identity{TeamIssuer("acme"), webProd, Audience("acme")}
			if round%5 == 4 {
				target = identity{pick(TeamIssuer("acme"), GlobalIssuer), pick(webProd, Subject("acme", "web", "*"), Subject("acme", "w${*}b?", "preview"), Subject("acme", "shop", "production")), pick(Audience("acme"), "https://sts.amazonaws.com")}
			}
			var names []string
			text := mistaken(t, made, pick)
			for _, m := range made {
				names = append(names, m.name)
			}
			before, err := Parse([]byte(text))
			require.NoError(t, err, text)
			result := before.Evaluate(target.request())
			if result.Decision == Allowed {
				continue // the mistake does not matter for this token
			}
			tried++
			advice := result.Advice()
			if result.Decision == ImplicitDeny {
				require.NotEmpty(t, advice, text)
			}
			all := fmt.Sprint(strings.Join(names, " and "), "\n", text, "\n", strings.Join(result.Changes(), "\n"))
			for _, a := range advice {
				require.Equal(t, advice[0].Mechanical, a.Mechanical, all)
				require.NotContains(t, strings.ToLower(a.Text), "remove", all)
				require.Contains(t, a.Text, "statement", all)
			}
			if len(advice) > 0 && !advice[0].Mechanical {
				require.True(t, slices.ContainsFunc(names, func(name string) bool { return slices.Contains(inTheWay, name) }), all)
				continue
			}
			if len(made) == 1 {
				ones++
			}
			if len(advice) == 0 {
				continue
			}
			mechanical++
			changed := applyToJSON(t, text, advice)
			after, err := Parse([]byte(changed))
			require.NoError(t, err, all)
			require.Equal(t, Allowed, after.Evaluate(target.request()).Decision, "%s\n%s", all, changed)
			if len(made) == 1 {
				mendedOne++
			}
			applied, err := before.Apply(advice...)
			require.NoError(t, err)
			require.JSONEq(t, after.String(), applied.String(), "Apply and the text differ")
			for _, other := range cloud {
				was, is := before.Evaluate(other.request()).Decision, after.Evaluate(other.request()).Decision
				if was != is && (is == Allowed || is == CannotTell && was != Allowed) {
					require.Equal(t, target.subject, other.subject, "%v gets in\n%s\n%s", other, all, changed)
				}
			}
		}
	}
	t.Logf("%d policies that refuse, %d with mechanical advice; of those with one mistake %d of %d mended", tried, mechanical, mendedOne, ones)
	assert.Greater(t, tried, 500)
	assert.Greater(t, mechanical, 400)
	assert.Equal(t, ones, mendedOne, "policies with one mistake")
}

// mistaken is a strict policy's text with mistakes made in it.
func mistaken(t *testing.T, made []mistake, pick func(...string) string) string {
	t.Helper()
	s := map[string]any{
		"Effect":    "Allow",
		"Principal": map[string]any{"Federated": "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"},
		"Action":    Action,
		"Condition": map[string]any{"StringEquals": map[string]any{
			"oidc.vercel.com/acme:sub": webProd, "oidc.vercel.com/acme:aud": Audience("acme"),
		}},
	}
	version := "2012-10-17"
	for _, m := range made {
		m.apply(s, pick)
		if strings.HasPrefix(m.name, "old version") {
			version = "2008-10-17"
		}
	}
	document := map[string]any{"Version": version, "Statement": s}
	if pick("one", "many") == "many" {
		document["Statement"] = []any{
			map[string]any{"Effect": "Allow", "Principal": map[string]any{"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
			s,
			map[string]any{"Effect": "Deny", "Principal": map[string]any{"AWS": "*"}, "Action": "*", "Condition": map[string]any{"StringLike": map[string]any{"oidc.vercel.com/evil:sub": "*"}}},
		}
	}
	out, err := json.Marshal(document)
	require.NoError(t, err)
	return string(out)
}

// TestAdviceSays holds the sentences: they name the statement and the place,
// and what stands in the way.
func TestAdviceSays(t *testing.T) {
	sub := `"oidc.vercel.com/acme:sub"`
	other := `"owner:acme:project:shop:environment:production"`
	cases := []struct {
		name, policy string
		mechanical   bool
		says         []string
	}{
		{"the second statement", policy(`{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}`, statement("Allow", `"StringEquals":{`+sub+`:`+other+`}`)), true, []string{`in statement 2, in StringEquals, add "` + webProd + `"`}},
		{"one that can be changed before one that cannot", policy(statement("Allow", `"StringNotEquals":{`+sub+`:"`+webProd+`"}`), statement("Allow", `"StringEquals":{`+sub+`:`+other+`}`)), true, []string{`in statement 2, in StringEquals, add "` + webProd + `"`}},
		{"a wrong action", policy(strings.Replace(statement("Allow", `"StringEquals":{`+sub+`:"`+webProd+`"}`), Action, "sts:AssumeRole", 1)), true, []string{`in statement 1, set "Action": "sts:AssumeRoleWithWebIdentity"`}},
		{"a mistyped key", allowIf(`"StringEquals":{"oidc.vercel.com/acme:subject":"` + webProd + `"}`), true, []string{`in statement 1, in StringEquals, replace the key "oidc.vercel.com/acme:subject" by "oidc.vercel.com/acme:sub" (IAM has no key for the claim "subject")`}},
		{"a mistyped aud", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `","oidc.vercel.com/acme:audience":"https://vercel.com/acme"}`), true, []string{`replace the key "oidc.vercel.com/acme:audience" by "oidc.vercel.com/acme:aud"`}},
		{"a mistyped key of several", allowIf(`"StringEquals":{"oidc.vercel.com/acme:subject":["` + webProd + `",` + other + `]}`), true, []string{`the key is "oidc.vercel.com/acme:sub"; to change it there would let in its other subjects too`}},
		{"StringNotEquals", allowIf(`"StringNotEquals":{` + sub + `:"` + webProd + `"}`), false, []string{`statement 1: StringNotEquals of "oidc.vercel.com/acme:sub" wants "` + webProd + `"`, "stands in the way"}},
		{"StringNotLike", allowIf(`"StringNotLike":{` + sub + `:"owner:acme:*"}`), false, []string{"statement 1: StringNotLike of", "stands in the way"}},
		{"Null", allowIf(`"Null":{` + sub + `:"true"}`), false, []string{"statement 1: Null of", "stands in the way"}},
		{"NotAction", policy(`{"Effect":"Allow","Principal":{"AWS":"*"},"NotAction":"sts:*"}`), false, []string{"statement 1: its NotAction leaves out"}},
		{"Deny", policy(statement("Allow", ""), statement("Deny", `"StringNotLike":{`+sub+`:"owner:evil:*"}`)), false, []string{"statement 2 is a Deny that applies", `StringNotLike of "oidc.vercel.com/acme:sub" wants "owner:evil:*"`}},
		{"a Deny that may apply", policy(statement("Allow", `"StringEquals":{`+sub+`:`+other+`}`), statement("Deny", `"stringlike":{`+sub+`:"x"}`)), false, []string{`add "` + webProd + `"`, "statement 2 is a Deny that may apply"}},
		{"a condition that cannot be told", allowIf(`"StringEquals":{` + sub + `:` + other + `},"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), false, []string{`add "` + webProd + `"`, "it cannot be told from here whether this holds"}},
		{"a session name", allowIf(`"StringEquals":{` + sub + `:"` + webProd + `","sts:RoleSessionName":"x"}`), false, []string{`statement 1: StringEquals of "sts:RoleSessionName" wants "x"`, "it is not about the token"}},
		{"an address is asked of the own statement too", allowIf(`"StringLike":{` + sub + `:"owner:acme:*"},"StringEquals":{"oidc.vercel.com/acme:aud":"x"},"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), false, []string{`IpAddress "aws:SourceIp" is "203.0.113.0/24"`, "it cannot be told from here"}},
		{"nothing about identity providers", policy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"sts:AssumeRole"}`), true, []string{`where StringEquals "oidc.vercel.com/acme:aud" is "https://vercel.com/acme" and StringEquals "oidc.vercel.com/acme:sub" is "` + webProd + `"`}},
		{"only session tags", policy(strings.Replace(statement("Allow", ""), Action, "sts:TagSession", 1)), true, []string{"add a statement that allows sts:AssumeRoleWithWebIdentity"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			result := mustParse(t, c.policy).Evaluate(request(with("sts:RoleSessionName", "me")))
			advice := result.Advice()
			require.NotEmpty(t, advice, result)
			for _, a := range advice {
				assert.Equal(t, c.mechanical, a.Mechanical, a.Text)
			}
			for _, says := range c.says {
				assert.Contains(t, strings.Join(result.Changes(), "\n"), says)
			}
		})
	}
}

// A changed issuer mode adds: the tokens of the old issuer keep what they have.
// And what trusts the shared provider gets the test of aud that IAM wants of it.
func TestAdviceAdds(t *testing.T) {
	token := func(issuer, project string) Request {
		return identity{issuer, Subject("acme", project, "production"), Audience("acme")}.request()
	}
	for name, c := range map[string]struct {
		policy         string
		before, wanted Request
	}{
		"from the global issuer to the team's": {global(`"StringEquals":{"oidc.vercel.com:sub":"` + webProd + `","oidc.vercel.com:aud":"https://vercel.com/acme"}`), token(GlobalIssuer, "web"), token(TeamIssuer("acme"), "web")},
		"from the team's issuer to the global": {allowIf(`"StringEquals":{"oidc.vercel.com/acme:sub":"` + webProd + `","oidc.vercel.com/acme:aud":"https://vercel.com/acme"}`), token(TeamIssuer("acme"), "web"), token(GlobalIssuer, "web")},
		"no test of aud, another project":      {global(`"StringEquals":{"oidc.vercel.com:sub":"` + webProd + `"}`), token(GlobalIssuer, "web"), token(GlobalIssuer, "shop")},
		"no test of aud, another issuer":       {global(`"StringEquals":{"oidc.vercel.com:sub":"` + webProd + `"}`), token(GlobalIssuer, "web"), token(TeamIssuer("acme"), "web")},
	} {
		t.Run(name, func(t *testing.T) {
			d := mustParse(t, c.policy)
			advice := d.Evaluate(c.wanted).Advice()
			require.NotEmpty(t, advice)
			assert.True(t, advice[0].Mechanical)
			text := applyToJSON(t, c.policy, advice)
			after := mustParse(t, text)
			assert.True(t, after.Evaluate(c.wanted).Allowed(), text)
			assert.True(t, after.Evaluate(c.before).Allowed(), text)
			assert.Empty(t, after.Warnings(), text)
		})
	}
}

// A test of aud that the advice adds takes the token's audience literally, also
// if it has the form of a variable, which would hold for every audience.
func TestAdviceAddsAnAudienceLiterally(t *testing.T) {
	token := func(audience string) Request {
		return identity{GlobalIssuer, Subject("acme", "shop", "production"), audience}.request()
	}
	odd := token("${oidc.vercel.com:aud}")
	d := mustParse(t, global(`"StringEquals":{"oidc.vercel.com:sub":"`+webProd+`"}`))
	after, err := d.Apply(d.Evaluate(odd).Advice()...)
	require.NoError(t, err)
	assert.Len(t, after.Statements, 1, "the test of aud admits the token's audience, so no statement is added")
	assert.True(t, after.Evaluate(odd).Allowed(), after)
	assert.False(t, after.Evaluate(token("another")).Allowed(), after)
}

// A Deny applies to fewer tokens with one more condition, so it gets no test of
// aud, though it names the shared provider.
func TestAdviceKeepsADeny(t *testing.T) {
	shared := func(effect, project string) string {
		condition := `"StringEquals":{"oidc.vercel.com:sub":"` + Subject("acme", project, "production") + `"}`
		return strings.Replace(statement(effect, condition), "oidc-provider/oidc.vercel.com/acme", "oidc-provider/oidc.vercel.com", 1)
	}
	d := mustParse(t, policy(shared("Allow", "web"), shared("Deny", "old")))
	advice := d.Evaluate(identity{GlobalIssuer, Subject("acme", "shop", "production"), Audience("acme")}.request()).Advice()
	require.NotEmpty(t, advice)
	after, err := d.Apply(advice...)
	require.NoError(t, err)
	assert.NotEqual(t, d.Statements[0], after.Statements[0])
	assert.Equal(t, d.Statements[1], after.Statements[1])
}

// A token's and a policy's texts cannot write a line of their own, or reach a
// terminal.
func TestTextsAreQuoted(t *testing.T) {
	odd := "x\x1b[2J\nto allow it: set \"*\""
	bad := request(with("oidc.vercel.com/acme:sub", odd), with("oidc.vercel.com/acme:aud", odd))
	bad.ProviderARN += odd
	d := &Document{Version: "2012-10-17", Statements: []Statement{
		{SID: odd, Effect: "Allow", Principals: Principals{Federated: []string{odd}, Others: []string{"AWS: " + odd}}, Actions: []string{odd},
			Conditions: []Condition{{odd, odd, []string{odd}}, {"StringEquals", odd, []string{odd}}, {"StringNotEquals", "oidc.vercel.com/acme:sub", []string{odd}}}},
		{Effect: "Allow", Principals: Principals{Federated: []string{"http://" + odd + "*"}}, Actions: []string{Action}, Conditions: []Condition{
			{"StringEquals", "https://" + odd, []string{"*" + odd}}, {"StringLike" + odd, odd, nil}, {"StringLikeIfExists", odd + ":sub", []string{odd}}}},
	}}
	result := d.Evaluate(bad)
	texts := append(result.Changes(), result.String())
	for _, w := range append(d.Warnings(), d.ExpectEnvironments(odd)...) {
		texts = append(texts, w.String())
	}
	for _, in := range []string{`{"x\u001b[2J\nto allow it: set":1}`, `{"Statement":{"Effect":"\u001b[2J\nto allow it: set"}}`, `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"a:b","Condition":{"x\nto allow it: set":1}}}`} {
		_, err := Parse([]byte(in))
		require.Error(t, err)
		texts = append(texts, err.Error())
	}
	for _, text := range texts {
		assert.NotContains(t, text, "\x1b")
		assert.NotContains(t, text, "\nto allow it: set", text)
	}
}

// What is added is no more than the request needs, and nothing is taken away.
func TestAdviceChangesNoMore(t *testing.T) {
	sub := `"StringEquals":{"oidc.vercel.com/acme:sub":"` + webProd + `"}`

	d := mustParse(t, allowIf(sub+`,"ForAnyValue:StringEquals":{"oidc.vercel.com/acme:aud":"x"}`))
	r := identity{TeamIssuer("acme"), webProd, Audience("acme")}.request()
	r.Context["oidc.vercel.com/acme:aud"] = []string{"one", "two"}
	advice := d.Evaluate(r).Advice()
	require.Len(t, advice, 1, "one of the audiences is enough")
	assert.True(t, advice[0].Mechanical)

	const github = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
	d = mustParse(t, strings.Replace(allowIf(sub), `"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"`,
		`"Federated":["arn:aws:iam::123456789012:oidc-provider/https://oidc.vercel.com/acme","`+github+`"]`, 1))
	after, err := d.Apply(d.Evaluate(identity{TeamIssuer("acme"), webProd, Audience("acme")}.request()).Advice()...)
	require.NoError(t, err)
	require.Len(t, after.Statements, 1)
	assert.Contains(t, after.Statements[0].Principals.Federated, github)
}

// Whom a statement keeps out does not say whom it is for: to ask for their audience
// would take everybody else's access away.
func TestAdviceAsksForNoAudienceOfThoseKeptOut(t *testing.T) {
	global := func(condition string) *Document {
		return mustParse(t, strings.Replace(allowIf(condition), "oidc-provider/oidc.vercel.com/acme", "oidc-provider/oidc.vercel.com", 1))
	}
	for _, condition := range []string{
		`"StringNotEquals":{"oidc.vercel.com:sub":"owner:other:project:web:environment:preview"}`,
		`"StringNotLike":{"oidc.vercel.com:sub":"owner:other:project:web:environment:*"}`,
		`"StringEquals":{"aws:PrincipalTag/owner":"owner:other:project:web:environment:preview"}`,
	} {
		d := global(condition)
		for _, a := range d.Evaluate(identity{TeamIssuer("acme"), webProd, Audience("acme")}.request()).Advice() {
			assert.NotContains(t, a.Text, "oidc.vercel.com:aud", condition)
		}
	}
	d := global(`"StringEquals":{"oidc.vercel.com:sub":"owner:other:project:web:environment:preview"}`)
	assert.Contains(t, fmt.Sprint(d.Evaluate(identity{TeamIssuer("acme"), webProd, Audience("acme")}.request()).Advice()), Audience("other"))
}

// A test that passes where sub is missing keeps out no token of another provider.
func TestAdviceDoesNotRelyOnIfExists(t *testing.T) {
	text := strings.Replace(allowIf(`"StringEqualsIfExists":{"oidc.vercel.com/acme:sub":"`+webProd+`"}`), `"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"`,
		`"Federated":["arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme","arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"]`, 1)
	d := mustParse(t, strings.Replace(text, Action, "sts:AssumeRoleWithSAML", 1))
	wanted := identity{TeamIssuer("acme"), webProd, Audience("acme")}.request()
	after, err := d.Apply(d.Evaluate(wanted).Advice()...)
	require.NoError(t, err)
	assert.True(t, after.Evaluate(wanted).Allowed(), after)
	assert.False(t, after.Evaluate(identity{"https://token.actions.githubusercontent.com", "repo:a/b", "x"}.request()).Allowed(), after)
}
