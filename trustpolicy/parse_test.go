package trustpolicy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRefuses(t *testing.T) {
	ok := `"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithWebIdentity"`
	cases := []struct{ name, in, says string }{
		{"empty", ``, "ends too early"},
		{"cut off", `{"Statement":[`, "byte"},
		{"not an object", `[]`, "not a JSON object"},
		{"two documents", `{"Statement":{` + ok + `}} {}`, "something follows"},
		{"no statement", `{"Version":"2012-10-17"}`, "Statement: the policy has none"},
		{"empty list", `{"Statement":[]}`, "the policy has none"},
		{"version", `{"Version":"2012","Statement":{` + ok + `}}`, `Version: "2012" is neither`},
		{"element", `{"Statements":[]}`, "Statements: a policy has no such element"},
		{"statement a string", `{"Statement":"x"}`, "Statement.0: it is not an object"},
		{"no effect", `{"Statement":{"Principal":{"AWS":"*"},"Action":"sts:*"}}`, "Statement.0.Effect: the statement has none"},
		{"effect", `{"Statement":{"Effect":"allow","Principal":{"AWS":"*"},"Action":"sts:*"}}`, `"allow" is neither Allow nor Deny`},
		{"no principal", `{"Statement":{"Effect":"Allow","Action":"sts:*"}}`, "Principal: the statement has none"},
		{"both principals", `{"Statement":{` + ok + `,"NotPrincipal":"*"}}`, "Statement.0.NotPrincipal: a role's trust policy cannot have it"},
		{"no action", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"}}}`, "needs one of Action and NotAction"},
		{"action", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"AssumeRole"}}`, `Action: "AssumeRole" is not an action`},
		{"resource", `{"Statement":{` + ok + `,"Resource":"*"}}`, "Resource: a trust policy has no such element"},
		{"NotPrincipal", `{"Statement":[{` + ok + `},{"Effect":"Deny","NotPrincipal":{"AWS":"x"},"Action":"*"}]}`, "Statement.1.NotPrincipal: a role's trust policy cannot have it"},
		{"any identity provider", `{"Statement":{"Effect":"Allow","Principal":{"Federated":"*"},"Action":"sts:*"}}`, `Statement.0.Principal.Federated: "*" is not`},
		{"any identity provider in a list", `{"Statement":{"Effect":"Allow","Principal":{"Federated":["accounts.google.com","*"]},"Action":"sts:*"}}`, `Statement.0.Principal.Federated: "*" is not`},
		{"wildcard service", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"*:*"}}`, `Statement.0.Action: "*:*" is not an action`},
		{"wildcard in the service", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["sts:*","s*:AssumeRole"]}}`, `Statement.0.Action: "s*:AssumeRole" is not an action`},
		{"wildcard service in NotAction", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"NotAction":"?ts:x"}}`, `Statement.0.NotAction: "?ts:x" is not an action`},
		{"bad Sid", `{"Statement":{` + ok + `,"Sid":"a b"}}`, `Statement.0.Sid: "a b" has a character`},
		{"repeated Sid", `{"Statement":[{` + ok + `,"Sid":"a"},{` + ok + `,"Sid":"b"},{` + ok + `,"Sid":"a"}]}`, `Statement.2.Sid: "a" is that of another statement`},
		{"one key twice", `{"Statement":{` + ok + `,"Condition":{"StringLike":{"a:sub":"x","A:SUB":"*"}}}}`, `Statement.0.Condition.StringLike.a:sub: it is the same key as "A:SUB"`},
		{"a character outside Latin-1", `{"Statement":{` + ok + `,"Sid":"\u4e2d"}}`, "a character that a policy cannot have"},
		{"a key outside Latin-1", `{"Statement":{` + ok + `,"Condition":{"StringLike":{"a:\u017fub":"x"}}}}`, "a character that a policy cannot have"},
		{"half a character", `{"Statement":{` + ok + `,"Condition":{"StringLike":{"a:sub":"\ud800"}}}}`, "a character that a policy cannot have"},
		{"kind of principal", `{"Statement":{"Effect":"Allow","Principal":{"Federation":"x"},"Action":"sts:*"}}`, "Principal.Federation: there is no such kind"},
		{"principal a string", `{"Statement":{"Effect":"Allow","Principal":"arn:x","Action":"sts:*"}}`, "Principal: it is not an object"},
		{"condition a list", `{"Statement":{` + ok + `,"Condition":[]}}`, "Condition: it is not an object"},
		{"operator a string", `{"Statement":{` + ok + `,"Condition":{"StringEquals":"x"}}}`, "Condition.StringEquals: it is not an object"},
		{"value an object", `{"Statement":[{` + ok + `},{` + ok + `,"Condition":{"StringEquals":{"a:sub":{}}}}]}`, "Statement.1.Condition.StringEquals.a:sub: a value is not"},
		{"twice", `{"Statement":{` + ok + `,"Effect":"Deny"}}`, `"Effect" stands twice`},
		{"deep", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "nested too deeply"},
		{"large", strings.Repeat(" ", maxDocument+1), "no policy has more"},
		{"not JSON", `{'Statement': []}`, "byte"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.in))
			require.Error(t, err)
			assert.ErrorContains(t, err, c.says)
			assert.True(t, strings.HasPrefix(err.Error(), "trustpolicy: "))
		})
	}
}

func TestBuildAdmitsExactlyWhatItSays(t *testing.T) {
	type token struct{ issuer, team, project, environment, audience string }
	team, global := TeamIssuer("acme"), GlobalIssuer
	base := Spec{AccountID: account, Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"}}
	edit := func(f func(*Spec)) Spec { s := base; f(&s); return s }
	cases := []struct {
		name    string
		spec    Spec
		in, out []token
	}{
		{"team mode", base,
			[]token{{team, "acme", "web", "production", Audience("acme")}},
			[]token{
				{team, "acme", "web", "preview", Audience("acme")},
				{team, "acme", "web2", "production", Audience("acme")},
				{team, "evil", "web", "production", Audience("acme")},
				{team, "acme", "web", "production", Audience("evil")},
				{global, "acme", "web", "production", Audience("acme")},
				{TeamIssuer("evil"), "acme", "web", "production", Audience("acme")},
			}},
		{"global mode", edit(func(s *Spec) { s.Global = true }),
			[]token{{global, "acme", "web", "production", Audience("acme")}},
			[]token{{team, "acme", "web", "production", Audience("acme")}, {global, "evil", "web", "production", Audience("evil")}}},
		{"two environments", edit(func(s *Spec) { s.Environments = []string{"production", "preview"} }),
			[]token{{team, "acme", "web", "production", Audience("acme")}, {team, "acme", "web", "preview", Audience("acme")}},
			[]token{{team, "acme", "web", "development", Audience("acme")}}},
		{"all environments", edit(func(s *Spec) { s.Environments = []string{"*"} }),
			[]token{{team, "acme", "web", "staging", Audience("acme")}},
			[]token{{team, "acme", "web2", "staging", Audience("acme")}}},
		{"all projects", edit(func(s *Spec) { s.Projects = []string{"*"} }),
			[]token{{team, "acme", "any", "production", Audience("acme")}},
			[]token{{team, "acme", "any", "preview", Audience("acme")}, {team, "evil", "any", "production", Audience("acme")}}},
		{"renamed project", edit(func(s *Spec) { s.Projects = []string{"web", "shop"} }),
			[]token{{team, "acme", "web", "production", Audience("acme")}, {team, "acme", "shop", "production", Audience("acme")}},
			[]token{{team, "acme", "other", "production", Audience("acme")}}},
		{"renamed team", edit(func(s *Spec) { s.Teams = []string{"acme", "apex"} }),
			[]token{{team, "acme", "web", "production", Audience("acme")}, {TeamIssuer("apex"), "apex", "web", "production", Audience("apex")}},
			[]token{{team, "apex", "web", "production", Audience("apex")}, {TeamIssuer("apex"), "apex", "web", "production", Audience("acme")}}},
		{"renamed team in global mode", edit(func(s *Spec) { s.Teams, s.Global = []string{"acme", "apex"}, true }),
			[]token{{global, "acme", "web", "production", Audience("acme")}, {global, "apex", "web", "production", Audience("apex")}},
			[]token{{global, "evil", "web", "production", Audience("apex")}}},
		{"exchanged", edit(func(s *Spec) { s.Global, s.Audience = true, "https://sts.amazonaws.com" }),
			[]token{{team, "acme", "web", "production", "https://sts.amazonaws.com"}},
			[]token{{global, "acme", "web", "production", "https://sts.amazonaws.com"}, {team, "acme", "web", "production", Audience("acme")}}},
		{"China", edit(func(s *Spec) { s.Partition = "aws-cn" }), nil,
			[]token{{team, "acme", "web", "production", Audience("acme")}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			built, err := Build(c.spec)
			require.NoError(t, err)
			d := mustParse(t, built.String())
			for want, tokens := range map[Decision][]token{Allowed: c.in, ImplicitDeny: c.out} {
				for _, token := range tokens {
					result := d.Evaluate(Request{
						ProviderARN: ProviderARN("", account, token.issuer),
						Context:     ConditionContext(token.issuer, Subject(token.team, token.project, token.environment), []string{token.audience}),
					})
					assert.Equal(t, want, result.Decision, "%v\n%s", token, result)
				}
			}
			for _, w := range d.Warnings() {
				wide := c.name == "all projects" && w.Severity == Medium || c.name == "all environments" && w.Severity == Medium || strings.HasSuffix(c.name, " environments") && w.Severity == Low
				assert.True(t, wide, w)
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	good := Spec{AccountID: account, Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"}}
	cases := []struct {
		name   string
		change func(*Spec)
		says   string
	}{
		{"account", func(s *Spec) { s.AccountID = "12" }, `account "12" is not 12 digits`},
		{"no team", func(s *Spec) { s.Teams = nil }, "no team"},
		{"any team", func(s *Spec) { s.Teams = []string{"*"} }, `team "*"`},
		{"no project", func(s *Spec) { s.Projects = nil }, "no project"},
		{"wildcard project", func(s *Spec) { s.Projects = []string{"web*"} }, `project "web*"`},
		{"colon", func(s *Spec) { s.Projects = []string{"web:environment:x"} }, `project "web:environment:x"`},
		{"variable", func(s *Spec) { s.Environments = []string{"${aws:username}"} }, "environment"},
		{"all and one", func(s *Spec) { s.Environments = []string{"*", "preview"} }, "admits all"},
		{"upper case", func(s *Spec) { s.Projects = []string{"Web"} }, `the project "Web" is not a project's name: lower case`},
		{"a team's ID", func(s *Spec) { s.Teams = []string{"team_abc"} }, "not the ID"},
		{"a project's ID", func(s *Spec) { s.Projects = []string{"prj_abc"} }, "not the ID"},
		{"empty name", func(s *Spec) { s.Projects = []string{""} }, `project ""`},
		{"audience", func(s *Spec) { s.Audience = "*" }, "audience"},
		{"partition", func(s *Spec) { s.Partition = "aws:x" }, "partition"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := good
			c.change(&s)
			_, err := Build(s)
			assert.ErrorContains(t, err, c.says)
		})
	}
}

// What Build takes admits somebody by this package's own check.
func TestWhatBuildTakesAdmitsSomebody(t *testing.T) {
	t.Parallel()
	names := []string{"web", "Web", "team_abc", "prj_abc", "team_nLlpyC6REAqxydlFKbrMDlud", "x", "0", "a.b_c-d", "-a", "_a", "a..b", "ä", "*", "a*", strings.Repeat("a", 100)}
	built := 0
	for _, team := range names {
		for _, project := range names {
			for _, environment := range []string{"production", "QA", "*", "ä"} {
				for _, s := range []Spec{{}, {Global: true}, {Audience: "https://sts.amazonaws.com"}, {Partition: "aws-cn"}} {
					s.AccountID, s.Teams, s.Projects, s.Environments = account, []string{team}, []string{project}, []string{environment}
					d, err := Build(s)
					if err != nil {
						continue
					}
					built++
					require.Empty(t, d.Reach().Nobody, "%+v", s)
				}
			}
		}
	}
	assert.Greater(t, built, 100)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(allowIf(`"StringLike":{"oidc.vercel.com/acme:sub":["owner:*"]}`)))
	f.Add([]byte(`{"Statement":{"Effect":"Deny","Principal":{"AWS":["a","*"]},"NotAction":["*"]}}`))
	f.Add([]byte(`{"Version":"2008-10-17","Id":"x","Statement":[{"Sid":"1","Effect":"Allow","Principal":{"AWS":"*"},"Action":"a:b","Condition":{"Null":{"k":true},"ForAnyValue:StringNotLikeIfExists":{"k":[1,2.5]}}}]}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			return
		}
		result := d.Evaluate(request())
		_ = result.String()
		_ = d.Warnings()
		_ = d.ExpectEnvironments("production")
		_ = d.Reach()
		again, err := Parse([]byte(d.String()))
		if err != nil {
			t.Fatalf("what String writes does not parse: %v\n%s", err, d)
		}
		if got := again.Evaluate(request()).Decision; got != result.Decision {
			t.Fatalf("%s became %s after a round trip of\n%s", result.Decision, got, d)
		}
	})
}
