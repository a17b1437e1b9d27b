package trustpolicy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	account  = "123456789012"
	teamHost = "oidc.vercel.com/acme"
	webProd  = "owner:acme:project:web:environment:production"
)

// request is that of a production deployment of acme's project web.
func request(change ...func(*Request)) Request {
	r := Request{
		ProviderARN: ProviderARN("", account, TeamIssuer("acme")),
		Context:     ConditionContext(TeamIssuer("acme"), webProd, []string{Audience("acme")}),
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func with(key string, values ...string) func(*Request) {
	return func(r *Request) { r.Context[key] = values }
}

func without(key string) func(*Request) { return func(r *Request) { delete(r.Context, key) } }

// statement is a policy's JSON with one statement, whose condition is given.
func statement(effect, condition string) string {
	return fmt.Sprintf(`{"Effect":%q,"Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{%s}}`, effect, condition)
}

func policy(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func allowIf(condition string) string { return policy(statement("Allow", condition)) }

// Where a case's rule comes from, below
// https://docs.aws.amazon.com/IAM/latest/UserGuide/.
const (
	opsString   = "reference_policies_elements_condition_operators.html#Conditions_String"
	opsExists   = "reference_policies_elements_condition_operators.html#Conditions_IfExists"
	opsNull     = "reference_policies_elements_condition_operators.html#Conditions_Null"
	opsNumeric  = "reference_policies_elements_condition_operators.html#Conditions_Numeric"
	opsDate     = "reference_policies_elements_condition_operators.html#Conditions_Date"
	opsBool     = "reference_policies_elements_condition_operators.html#Conditions_Boolean"
	opsBinary   = "reference_policies_elements_condition_operators.html#Conditions_BinaryEquals"
	opsIP       = "reference_policies_elements_condition_operators.html#Conditions_IPAddress"
	opsARN      = "reference_policies_elements_condition_operators.html#Conditions_ARN"
	escapes     = "reference_policies_variables.html#policy-vars-specialchars"
	defaults    = "reference_policies_variables.html#policy-vars-default-values"
	multiValue  = "reference_policies_condition-single-vs-multi-valued-context-keys.html"
	conditions  = "reference_policies_elements_condition.html"
	logic       = "reference_policies_evaluation-logic_policy-eval-denyallow.html"
	principal   = "reference_policies_elements_principal.html"
	action      = "reference_policies_elements_action.html"
	notAction   = "reference_policies_elements_notaction.html"
	version     = "reference_policies_elements_version.html"
	variables   = "reference_policies_variables.html"
	federation  = "reference_policies_iam-condition-keys.html#condition-keys-wif"
	multipleOps = "reference_policies_condition-logic-multiple-context-keys-or-values.html"
)

func TestEvaluate(t *testing.T) {
	sub := `"oidc.vercel.com/acme:sub"`
	aud := `"oidc.vercel.com/acme:aud"`
	web := `"` + webProd + `"`
	cases := []struct {
		rule, name, policy string
		request            Request
		want               Decision
	}{
		{federation, "exact subject and audience", allowIf(`"StringEquals":{` + sub + `:` + web + `,` + aud + `:"https://vercel.com/acme"}`), request(), Allowed},
		{federation, "another subject", allowIf(`"StringEquals":{` + sub + `:"owner:acme:project:web:environment:preview"}`), request(), ImplicitDeny},
		{federation, "another audience", allowIf(`"StringEquals":{` + aud + `:"sts.amazonaws.com"}`), request(), ImplicitDeny},
		{federation, "a key of another issuer is missing", allowIf(`"StringEquals":{"oidc.vercel.com:sub":` + web + `}`), request(), ImplicitDeny},
		{multipleOps, "values are alternatives", allowIf(`"StringEquals":{` + sub + `:["x",` + web + `]}`), request(), Allowed},
		{multipleOps, "keys must all hold", allowIf(`"StringEquals":{` + sub + `:` + web + `,` + aud + `:"x"}`), request(), ImplicitDeny},
		{multipleOps, "operators must all hold", allowIf(`"StringEquals":{` + sub + `:` + web + `},"StringLike":{` + aud + `:"x*"}`), request(), ImplicitDeny},
		{multipleOps, "negated values: none may match", allowIf(`"StringNotEquals":{` + sub + `:["x",` + web + `]}`), request(), ImplicitDeny},
		{conditions, "keys are compared without case", allowIf(`"StringEquals":{"OIDC.vercel.com/ACME:SUB":` + web + `}`), request(), Allowed},
		{opsString, "StringEquals minds case", allowIf(`"StringEquals":{` + sub + `:"Owner:acme:project:web:environment:production"}`), request(), ImplicitDeny},
		{opsString, "StringEquals takes * literally", allowIf(`"StringEquals":{` + sub + `:"owner:acme:*"}`), request(), ImplicitDeny},
		{opsString, "StringEqualsIgnoreCase", allowIf(`"StringEqualsIgnoreCase":{` + sub + `:"OWNER:acme:project:web:environment:production"}`), request(), Allowed},
		{opsString, "StringNotEqualsIgnoreCase", allowIf(`"StringNotEqualsIgnoreCase":{` + sub + `:"OWNER:acme:project:web:environment:production"}`), request(), ImplicitDeny},
		{opsString, "StringNotEquals of another", allowIf(`"StringNotEquals":{` + sub + `:"x"}`), request(), Allowed},
		{opsString, "StringLike with *", allowIf(`"StringLike":{` + sub + `:"owner:acme:project:web:environment:*"}`), request(), Allowed},
		{opsString, "StringLike minds case", allowIf(`"StringLike":{` + sub + `:"OWNER:*"}`), request(), ImplicitDeny},
		{opsString, "* stands for nothing too", allowIf(`"StringLike":{` + sub + `:"*` + webProd + `*"}`), request(), Allowed},
		{opsString, "? stands for one character", allowIf(`"StringLike":{` + sub + `:"owner:acme:project:we?:environment:production"}`), request(), Allowed},
		{opsString, "? does not stand for none", allowIf(`"StringLike":{` + sub + `:"` + webProd + `?"}`), request(), ImplicitDeny},
		{opsString, "* reaches over colons", allowIf(`"StringLike":{` + sub + `:"owner:*:production"}`), request(), Allowed},
		{opsString, "StringNotLike", allowIf(`"StringNotLike":{` + sub + `:"owner:acme:*"}`), request(), ImplicitDeny},
		{opsString, "a missing key fails a positive test", allowIf(`"StringLike":{` + sub + `:"*"}`), request(without("oidc.vercel.com/acme:sub")), ImplicitDeny},
		{opsString, "a missing key passes a negated test", allowIf(`"StringNotLike":{` + sub + `:"*"}`), request(without("oidc.vercel.com/acme:sub")), Allowed},
		{opsExists, "IfExists passes a missing key", allowIf(`"StringEqualsIfExists":{"oidc.vercel.com/acme:amr":"x"}`), request(), Allowed},
		{opsExists, "IfExists tests a key that is there", allowIf(`"StringEqualsIfExists":{` + sub + `:"x"}`), request(), ImplicitDeny},
		{opsNull, "Null true wants it missing", allowIf(`"Null":{"oidc.vercel.com/acme:amr":"true"}`), request(), Allowed},
		{opsNull, "Null true of a key that is there", allowIf(`"Null":{` + sub + `:"true"}`), request(), ImplicitDeny},
		{opsNull, "Null false wants it there", allowIf(`"Null":{` + sub + `:false}`), request(), Allowed},
		{opsNull, "Null of nonsense", allowIf(`"Null":{` + sub + `:"perhaps"}`), request(), CannotTell},
		{multiValue, "ForAnyValue: one is enough", allowIf(`"ForAnyValue:StringEquals":{` + aud + `:"b"}`), request(with("oidc.vercel.com/acme:aud", "a", "b")), Allowed},
		{multiValue, "ForAnyValue: none", allowIf(`"ForAnyValue:StringEquals":{` + aud + `:"c"}`), request(with("oidc.vercel.com/acme:aud", "a", "b")), ImplicitDeny},
		{multiValue, "ForAnyValue fails a missing key", allowIf(`"ForAnyValue:StringLike":{"oidc.vercel.com/acme:amr":"*"}`), request(), ImplicitDeny},
		{multiValue, "ForAllValues: all must match", allowIf(`"ForAllValues:StringEquals":{` + aud + `:["a","b"]}`), request(with("oidc.vercel.com/acme:aud", "a", "b")), Allowed},
		{multiValue, "ForAllValues: one does not", allowIf(`"ForAllValues:StringEquals":{` + aud + `:"a"}`), request(with("oidc.vercel.com/acme:aud", "a", "b")), ImplicitDeny},
		{multiValue, "ForAllValues passes a missing key", allowIf(`"ForAllValues:StringEquals":{"oidc.vercel.com/acme:amr":"x"}`), request(), Allowed},
		{multiValue, "ForAllValues with a negated operator", allowIf(`"ForAllValues:StringNotLike":{` + aud + `:"b*"}`), request(with("oidc.vercel.com/acme:aud", "a", "b")), ImplicitDeny},
		{multiValue, "several values without a set operator", allowIf(`"StringEquals":{` + aud + `:"a"}`), request(with("oidc.vercel.com/acme:aud", "a", "b")), CannotTell},
		{principal, "another account's provider", policy(strings.Replace(statement("Allow", ""), account, "210987654321", 1)), request(), ImplicitDeny},
		{principal, "global issuer against the team's", policy(strings.Replace(statement("Allow", ""), teamHost, "oidc.vercel.com", 1)), request(), ImplicitDeny},
		{principal, "a list of providers", `{"Statement":{"Effect":"Allow","Principal":{"Federated":["accounts.google.com","arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"]},"Action":"sts:AssumeRoleWithWebIdentity"}}`, request(), Allowed},
		{principal, "everyone", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithWebIdentity"}}`, request(), Allowed},
		{principal, "another kind of principal", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"sts:*"}}`, request(), ImplicitDeny},
		{action, "a wildcard in the action", policy(strings.Replace(statement("Allow", ""), Action, "sts:AssumeRole*", 1)), request(), Allowed},
		{action, "actions are compared without case", policy(strings.Replace(statement("Allow", ""), Action, "STS:assumerolewithwebidentity", 1)), request(), Allowed},
		{action, "another action", policy(strings.Replace(statement("Allow", ""), Action, "sts:AssumeRole", 1)), request(), ImplicitDeny},
		{action, "the action is asked for", allowIf(""), request(func(r *Request) { r.Action = "sts:TagSession" }), ImplicitDeny},
		{notAction, "NotAction allows the rest", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"NotAction":"sts:AssumeRole"}}`, request(), Allowed},
		{notAction, "NotAction leaves out what it names", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"NotAction":"sts:AssumeRole*"}}`, request(), ImplicitDeny},
		{logic, "an explicit Deny wins", policy(statement("Allow", ""), statement("Deny", `"StringLike":{`+sub+`:"owner:acme:*"}`)), request(), ExplicitDeny},
		{logic, "a Deny that does not apply", policy(statement("Allow", ""), statement("Deny", `"StringLike":{`+sub+`:"owner:other:*"}`)), request(), Allowed},
		{logic, "one Allow is enough", policy(statement("Allow", `"StringEquals":{`+sub+`:"x"}`), statement("Allow", `"StringEquals":{`+sub+`:`+web+`}`)), request(), Allowed},
		{logic, "what nothing allows is denied", policy(statement("Deny", `"StringEquals":{`+sub+`:"x"}`)), request(), ImplicitDeny},
		{conditions, "an operator in another case", allowIf(`"stringlike":{` + sub + `:".*"}`), request(), CannotTell},
		{conditions, "an unknown operator beside one that fails", allowIf(`"stringlike":{` + sub + `:".*"},"StringEquals":{` + sub + `:"x"}`), request(), ImplicitDeny},
		{conditions, "an unknown operator in an Allow beside another Allow", policy(statement("Allow", `"stringlike":{`+sub+`:"x"}`), statement("Allow", "")), request(), Allowed},
		{conditions, "an unknown operator in a Deny", policy(statement("Allow", ""), statement("Deny", `"stringlike":{`+sub+`:"x"}`)), request(), CannotTell},
		{conditions, "an unknown Deny of what nothing allows", policy(statement("Deny", `"stringlike":{`+sub+`:"x"}`)), request(), ImplicitDeny},
		{conditions, "an operator of another type", allowIf(`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), request(), CannotTell},
		{conditions, "a global key that the caller does not know", allowIf(`"StringEquals":{"aws:RequestedRegion":"us-east-1"}`), request(), CannotTell},
		{conditions, "a global key that the caller knows", allowIf(`"StringEquals":{"sts:RoleSessionName":"s"}`), request(with("sts:RoleSessionName", "s")), Allowed},
		{variables, "a policy variable", allowIf(`"StringEquals":{` + sub + `:"${aws:username}"}`), request(), CannotTell},
		{version, "the old version has no variables", strings.Replace(allowIf(`"StringEquals":{`+sub+`:"${aws:username}"}`), "2012-10-17", "2008-10-17", 1), request(), ImplicitDeny},
		{principal, "everyone as an AWS principal", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithWebIdentity"}}`, request(), Allowed},
		{principal, "everyone in a list", `{"Statement":{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:root","*"]},"Action":"sts:AssumeRoleWithWebIdentity"}}`, request(), Allowed},
		{principal, "a Deny of everyone", policy(statement("Allow", ""), `{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"*"}`), request(), ExplicitDeny},
		{multiValue, "ForAnyValue with IfExists fails a missing key", allowIf(`"ForAnyValue:StringEqualsIfExists":{"oidc.vercel.com/acme:amr":"x"}`), request(), ImplicitDeny},
		{multiValue, "ForAnyValue of a negated operator fails a missing key", allowIf(`"ForAnyValue:StringNotEquals":{"oidc.vercel.com/acme:amr":"x"}`), request(), ImplicitDeny},
		{opsExists, "IfExists of an unknown key", allowIf(`"StringEqualsIfExists":{"aws:PrincipalOrgID":"x"}`), request(), CannotTell},
		{conditions, "an empty list for a key that is missing", allowIf(`"StringNotEquals":{"oidc.vercel.com/acme:amr":[]}`), request(), CannotTell},
		{conditions, "an empty list in a Deny", policy(statement("Allow", ""), statement("Deny", `"StringEquals":{`+sub+`:[]}`)), request(), CannotTell},
		{opsBool, "Bool", allowIf(`"Bool":{"aws:SecureTransport":"true"}`), request(with("aws:SecureTransport", "true")), Allowed},
		{opsBool, "Bool of the other", allowIf(`"Bool":{"aws:SecureTransport":false}`), request(with("aws:SecureTransport", "true")), ImplicitDeny},
		{opsBool, "Bool of a missing claim", allowIf(`"Bool":{"oidc.vercel.com/acme:x":"true"}`), request(), ImplicitDeny},
		{opsBool, "Bool of a text", allowIf(`"Bool":{` + sub + `:"true"}`), request(), CannotTell},
		{opsNumeric, "NumericLessThan", allowIf(`"NumericLessThan":{"sts:n":10}`), request(with("sts:n", "9.5")), Allowed},
		{opsNumeric, "NumericLessThan of as much", allowIf(`"NumericLessThan":{"sts:n":"10"}`), request(with("sts:n", "10.0")), ImplicitDeny},
		{opsNumeric, "NumericNotEquals of a missing claim", allowIf(`"NumericNotEquals":{"oidc.vercel.com/acme:n":"1"}`), request(), Allowed},
		{opsNumeric, "NumericEquals of a text", allowIf(`"NumericEquals":{"sts:n":"1"}`), request(with("sts:n", "one")), CannotTell},
		{opsDate, "DateLessThan", allowIf(`"DateLessThan":{"aws:CurrentTime":"2026-12-01T00:00:00Z"}`), request(with("aws:CurrentTime", "2026-11-30T23:59:59Z")), Allowed},
		{opsDate, "DateGreaterThan in epoch time", allowIf(`"DateGreaterThan":{"aws:EpochTime":"1790000000"}`), request(with("aws:EpochTime", "1790000000")), ImplicitDeny},
		{opsDate, "a year or a number", allowIf(`"DateGreaterThan":{"aws:EpochTime":"2020"}`), request(with("aws:EpochTime", "1790000000")), CannotTell},
		{opsIP, "IpAddress in a network", allowIf(`"IpAddress":{"aws:SourceIp":["2001:db8::/32","203.0.113.0/24"]}`), request(with("aws:SourceIp", "203.0.113.9")), Allowed},
		{opsIP, "one address", allowIf(`"NotIpAddress":{"aws:SourceIp":"203.0.113.9"}`), request(with("aws:SourceIp", "203.0.113.9")), ImplicitDeny},
		{opsIP, "IPv6", allowIf(`"IpAddress":{"aws:SourceIp":"2001:db8::/32"}`), request(with("aws:SourceIp", "2001:db9::1")), ImplicitDeny},
		{opsARN, "each part of an ARN", allowIf(`"ArnLike":{"aws:x":"arn:aws:sns:*:123456789012:topic*"}`), request(with("aws:x", "arn:aws:sns:eu-central-1:123456789012:topic:1")), Allowed},
		{opsARN, "a wildcard ends with its part", allowIf(`"ArnLike":{"aws:x":"arn:aws:someservice:*:111122223333:finance/*"}`), request(with("aws:x", "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt")), ImplicitDeny},
		{opsARN, "StringLike reaches over", allowIf(`"StringLike":{"aws:x":"arn:aws:someservice:*:111122223333:finance/*"}`), request(with("aws:x", "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt")), Allowed},
		{opsARN, "ArnEquals has wildcards", allowIf(`"ArnEquals":{"aws:x":"arn:aws:iam::*:role/x"}`), request(with("aws:x", "arn:aws:iam::1:role/x")), Allowed},
		{opsARN, "not an ARN", allowIf(`"ArnNotLike":{` + sub + `:"arn:aws:iam::1:role/x"}`), request(), CannotTell},
		{opsBinary, "BinaryEquals of a missing claim", allowIf(`"BinaryEquals":{"oidc.vercel.com/acme:x":"QQ=="}`), request(), ImplicitDeny},
		{opsBinary, "BinaryEquals of a claim", allowIf(`"BinaryEquals":{` + sub + `:"QQ=="}`), request(), CannotTell},
		{escapes, "an escaped star is literal", allowIf(`"StringLike":{` + sub + `:"owner:acme:project:web:environment:${*}"}`), request(), ImplicitDeny},
		{escapes, "an escaped star matches itself", allowIf(`"StringLike":{` + sub + `:"a${*}${?}${$}{*"}`), request(with("oidc.vercel.com/acme:sub", "a*?${x")), Allowed},
		{escapes, "in StringEquals too", allowIf(`"StringEquals":{` + sub + `:"a${*}"}`), request(with("oidc.vercel.com/acme:sub", "a*")), Allowed},
		{variables, "a variable of a known key", allowIf(`"StringEquals":{"sts:RoleSessionName":"${oidc.vercel.com/acme:aud}"}`), request(with("sts:RoleSessionName", "https://vercel.com/acme")), Allowed},
		{variables, "its own variable", allowIf(`"StringEquals":{` + sub + `:"${oidc.vercel.com/acme:sub}"}`), request(), Allowed},
		{variables, "a variable that is missing", allowIf(`"StringNotEquals":{` + sub + `:"${oidc.vercel.com/acme:x}"}`), request(), CannotTell},
		{variables, "a variable that brings a wildcard", allowIf(`"StringLike":{` + sub + `:"${sts:RoleSessionName}"}`), request(with("sts:RoleSessionName", "*")), CannotTell},
		{variables, "a variable in an operator without them", allowIf(`"NumericEquals":{"sts:n":"${sts:n}"}`), request(with("sts:n", "1")), CannotTell},
		{defaults, "a default value", allowIf(`"StringEquals":{` + sub + `:"${oidc.vercel.com/acme:x, '` + webProd + `'}"}`), request(), Allowed},
		{defaults, "a default value that is not needed", allowIf(`"StringEquals":{` + sub + `:"${oidc.vercel.com/acme:aud, '` + webProd + `'}"}`), request(), ImplicitDeny},
		{defaults, "a default value of an unknown key", allowIf(`"StringEquals":{` + sub + `:"${aws:x, '` + webProd + `'}"}`), request(), CannotTell},
		{defaults, "an empty default value, which is not documented", allowIf(`"StringEquals":{` + sub + `:"${oidc.vercel.com/acme:sub, ''}"}`), request(), CannotTell},
		{version, "the old version has no escapes", strings.Replace(allowIf(`"StringEquals":{`+sub+`:"${*}"}`), "2012-10-17", "2008-10-17", 1), request(with("oidc.vercel.com/acme:sub", "${*}")), Allowed},
		{conditions, "letters outside ASCII do not become ASCII", allowIf(`"StringEqualsIgnoreCase":{` + sub + `:"K"}`), request(with("oidc.vercel.com/acme:sub", "\u212a")), CannotTell},
		{conditions, "one key in two spellings", allowIf(`"StringEquals":{` + sub + `:` + web + `}`), request(with("OIDC.vercel.com/acme:sub", "x")), CannotTell},
		{conditions, "Null takes no set operator", allowIf(`"ForAnyValue:Null":{"oidc.vercel.com/acme:amr":"true"}`), request(), CannotTell},
		{conditions, "an empty list of values", allowIf(`"StringEquals":{` + sub + `:[]}`), request(), CannotTell},
	}
	require.GreaterOrEqual(t, len(cases), 40)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, err := Parse([]byte(c.policy))
			require.NoError(t, err)
			got := d.Evaluate(c.request)
			require.Equal(t, c.want, got.Decision, "rule: %s\n%s", c.rule, got)
			assert.Equal(t, c.want == Allowed, got.Allowed())
			assert.True(t, strings.HasPrefix(got.String(), c.want.String()))

			again, err := Parse([]byte(d.String()))
			require.NoError(t, err, d.String())
			assert.Equal(t, got.Decision, again.Evaluate(c.request).Decision, "after a round trip")
		})
	}
}

func TestChangesNameTheLine(t *testing.T) {
	build := func(s Spec) *Document {
		s.AccountID = account
		d, err := Build(s)
		require.NoError(t, err)
		return d
	}
	web := Spec{Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"}}
	token := func(issuer, team, project, environment, audience string) Request {
		return Request{
			ProviderARN: ProviderARN("", account, issuer),
			Context:     ConditionContext(issuer, Subject(team, project, environment), []string{audience}),
		}
	}
	inGlobalMode := web
	inGlobalMode.Global = true
	cases := []struct {
		name    string
		policy  *Document
		request Request
		want    []string
	}{
		{"wrong environment", build(web), token(TeamIssuer("acme"), "acme", "web", "preview", Audience("acme")),
			[]string{`in statement 1, in StringEquals, add "owner:acme:project:web:environment:preview" to the values of "oidc.vercel.com/acme:sub" (another environment)`}},
		{"renamed project", build(web), token(TeamIssuer("acme"), "acme", "shop", "production", Audience("acme")),
			[]string{`in statement 1, in StringEquals, add "owner:acme:project:shop:environment:production" to the values of "oidc.vercel.com/acme:sub" (another project; if it was renamed, the list then has both names)`}},
		{"audience", build(web), token(TeamIssuer("acme"), "acme", "web", "production", "https://sts.amazonaws.com"),
			[]string{`in statement 1, in StringEquals, add "https://sts.amazonaws.com" to the values of "oidc.vercel.com/acme:aud" (the token is for another audience)`}},
		{"team against global issuer", build(inGlobalMode), token(TeamIssuer("acme"), "acme", "web", "production", Audience("acme")),
			[]string{`add a statement that allows sts:AssumeRoleWithWebIdentity to "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme" where StringEquals "oidc.vercel.com/acme:aud" is "https://vercel.com/acme" and StringEquals "oidc.vercel.com/acme:sub" is "owner:acme:project:web:environment:production" (statement 1 does not fit: its "Federated" is "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com" (the project is in team issuer mode, the policy trusts the global issuer))`}},
		{"the shared provider without a test of aud", mustParse(t, global(`"StringEquals":{"oidc.vercel.com:sub":["owner:acme:project:shop:environment:production","owner:apex:project:web:environment:production"]}`)), token(GlobalIssuer, "acme", "web", "production", Audience("acme")),
			[]string{
				`in statement 1, in StringEquals, add "owner:acme:project:web:environment:production" to the values of "oidc.vercel.com:sub" (another team; if it was renamed, the list then has both names)`,
				`in statement 1, test "oidc.vercel.com:aud" in StringEquals for "https://vercel.com/acme" (IAM refuses to change the policy without a test of aud, since many share the provider)`,
				`in statement 1, test "oidc.vercel.com:aud" in StringEquals for "https://vercel.com/apex" (IAM refuses to change the policy without a test of aud, since many share the provider)`,
			}},
		{"a literal wildcard", mustParse(t, allowIf(`"StringEquals":{"oidc.vercel.com/acme:sub":"owner:acme:project:web:environment:*"}`)), request(),
			[]string{`in statement 1, in StringEquals, add "owner:acme:project:web:environment:production" to the values of "oidc.vercel.com/acme:sub" (StringEquals takes * and ? literally)`}},
		{"another action", mustParse(t, policy(strings.Replace(statement("Allow", ""), Action, "sts:AssumeRole", 1))), request(),
			[]string{
				`in statement 1, set "Action": "sts:AssumeRoleWithWebIdentity"`,
				`in statement 1, add the condition StringEquals "oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:production" (without it, the other subjects of the statement get in too)`,
			}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			result := c.policy.Evaluate(c.request)
			require.Equal(t, ImplicitDeny, result.Decision)
			assert.Equal(t, c.want, result.Changes())
			for _, change := range c.want {
				assert.Contains(t, result.String(), change)
			}
		})
	}
}

// Values that no constant names print, and the zero values do.
func TestUnknownValuesPrint(t *testing.T) {
	assert.Equal(t, "Decision(9)", Decision(9).String())
	assert.Equal(t, "Decision(-1)", Decision(-1).String())
	assert.Equal(t, "Severity(-1)", Severity(-1).String())
	for _, zero := range []any{Decision(0), Severity(0), Outcome(""), Edit(""), Result{}, StatementResult{}, ConditionResult{}, Warning{}, Advice{}, Reach{}, Statement{}, Principals{}, Condition{}, Spec{}, Request{}, Document{}, &Document{}} {
		assert.NotContains(t, fmt.Sprintf("%v %+v %s", zero, zero, zero), "PANIC")
	}
}

func mustParse(t *testing.T, s string) *Document {
	t.Helper()
	d, err := Parse([]byte(s))
	require.NoError(t, err)
	return d
}

// The zero Result is what a function returns that has none.
func TestZeroResult(t *testing.T) {
	var r Result
	assert.False(t, r.Allowed())
	assert.Empty(t, r.Advice())
	assert.Empty(t, r.Changes())
	assert.Equal(t, "not allowed\n", r.String())
}
