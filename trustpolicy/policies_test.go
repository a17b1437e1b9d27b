package trustpolicy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where a row's rule comes from. What is not a whole address is below
// https://docs.aws.amazon.com/.
const (
	vercelClaims = "https://vercel.com/docs/oidc/reference"
	vercelAWS    = "https://vercel.com/docs/oidc/aws"
	vercelNames  = "https://vercel.com/docs/projects/overview"
	vercelEnvs   = "https://vercel.com/docs/deployments/environments"
	githubSub    = "https://docs.github.com/actions/reference/security/oidc"
	stsOnly      = "https://github.com/hashicorp/terraform-provider-aws/issues/32872"
	noStar       = "https://github.com/aws/aws-cdk/issues/5732"
	sharedIssuer = "IAM/latest/UserGuide/id_roles_providers_oidc_secure-by-default.html"
	webIdentity  = "IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-federated-web-identity"
	grammar      = "IAM/latest/UserGuide/reference_policies_grammar.html"
	quotas       = "IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entities"
	oidcURL      = "IAM/latest/UserGuide/id_roles_providers_create_oidc.html"
)

// on is the Condition of a policy: operator, claim and values in turn, with the
// claims under an issuer. A claim with a colon is a whole key.
func on(issuer string, tests ...string) string {
	operators, written := map[string][]string{}, []string{}
	for i := 0; i < len(tests); i += 3 {
		key := tests[i+1]
		if !strings.Contains(key, ":") {
			key = issuer + ":" + key
		}
		operators[tests[i]] = append(operators[tests[i]], fmt.Sprintf(`%q:["%s"]`, key, strings.ReplaceAll(tests[i+2], " ", `","`)))
	}
	for operator, keys := range operators {
		written = append(written, fmt.Sprintf(`%q:{%s}`, operator, strings.Join(keys, ",")))
	}
	return strings.Join(written, ",")
}

// TestPolicies are trust policies as people write them, and what is said of each.
func TestPolicies(t *testing.T) {
	const host, shared = "oidc.vercel.com/acme", "oidc.vercel.com"
	const aud, eq, like = "https://vercel.com/acme", "StringEquals", "StringLike"
	const web = "owner:acme:project:web:environment:"
	principal := func(provider, action, condition string) string {
		return fmt.Sprintf(`{"Effect":"Allow","Principal":%s,"Action":%s,"Condition":{%s}}`, provider, action, condition)
	}
	federated := func(issuer string) string {
		return fmt.Sprintf(`{"Federated":"arn:aws:iam::123456789012:oidc-provider/%s"}`, issuer)
	}
	by := func(issuer string, tests ...string) string {
		return principal(federated(issuer), `"`+Action+`"`, on(issuer, tests...))
	}
	// team and all pin the audience, as most policies do; bare does not.
	team := func(tests ...string) string { return by(host, append(tests, eq, "aud", aud)...) }
	all := func(tests ...string) string { return by(shared, append(tests, eq, "aud", aud)...) }
	deny := func(tests ...string) string {
		return strings.Replace(by(host, tests...), `"Allow"`, `"Deny"`, 1)
	}
	acting := func(action string) string {
		return principal(federated(host), action, on(host, eq, "sub", web+"production", eq, "aud", aud))
	}
	trusting := func(p string) string {
		return principal(p, `"`+Action+`"`, on(host, eq, "sub", web+"production", eq, "aud", aud))
	}
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("owner:acme:project:project-%02d:environment:production", i))
	}
	good := team(eq, "sub", web+"production")

	cases := []struct{ outcome, from, name, says, policy string }{
		// Good ones: nothing is said of them.
		{"ok", vercelAWS, "one project's production", "", good},
		{"ok", vercelAWS, "in global mode", "", all(eq, "sub", web+"production")},
		{"ok", vercelEnvs, "preview alone", "", team(eq, "sub", web+"preview")},
		{"ok", vercelEnvs, "development alone", "", team(eq, "sub", web+"development")},
		{"ok", vercelEnvs, "a custom environment", "", team(eq, "sub", web+"staging")},
		{"ok", vercelEnvs, "production and a custom environment", "", team(eq, "sub", web+"production "+web+"staging")},
		{"ok", vercelEnvs, "a custom environment in upper case", "", team(eq, "sub", web+"QA")},
		{"ok", vercelClaims, "two names of a project", "", team(eq, "sub", web+"production owner:acme:project:site:environment:production")},
		{"ok", vercelClaims, "two names of a team in global mode", "", by(shared, eq, "sub", web+"production owner:apex:project:web:environment:production", eq, "aud", aud+" https://vercel.com/apex")},
		{"ok", vercelClaims, "both issuers while the mode changes", "", good + "," + all(eq, "sub", web+"production")},
		{"ok", vercelClaims, "two teams", "", good + "," + by("oidc.vercel.com/apex", eq, "sub", "owner:apex:project:web:environment:production", eq, "aud", "https://vercel.com/apex")},
		{"ok", vercelClaims, "an exchanged audience", "", by(host, eq, "sub", web+"production", eq, "aud", "https://sts.amazonaws.com")},
		{"ok", vercelClaims, "the audience of GitHub's guide, which an exchange can bring", "", by(host, eq, "sub", web+"production", eq, "aud", "sts.amazonaws.com")},
		{"ok", opsString, "StringLike without a wildcard", "", team(like, "sub", web+"production")},
		{"ok", opsString, "the owner is left to the team's issuer", "", team(like, "sub", "*:project:web:environment:production")},
		{"ok", opsString, "a wide test beside an exact one", "", team(eq, "sub", web+"production", like, "sub", "owner:acme:*")},
		{"ok", opsString, "any project, and then one", "", team(like, "sub", "owner:acme:project:*:environment:production", "ForAnyValue:StringEquals", "sub", web+"production")},
		{"ok", opsString, "a pattern that another test leaves one of", "", team(like, "sub", web+"*production", "StringNotLike", "sub", "*:environment:?*production")},
		{"ok", multiValue, "ForAnyValue", "", by(host, "ForAnyValue:StringEquals", "sub", web+"production", "ForAnyValue:StringEquals", "aud", aud)},
		{"ok", opsExists, "IfExists with its guard", "", by(host, "StringEqualsIfExists", "sub", web+"production", eq, "aud", aud, "Null", "sub", "false")},
		{"ok", conditions, "a key in another case", "", by(host, eq, "OIDC.vercel.com/acme:SUB", web+"production", eq, "aud", aud)},
		{"ok", globalKeys, "from a network", "", team(eq, "sub", web+"production", "IpAddress", "aws:SourceIp", "203.0.113.0/24")},
		{"ok", globalKeys, "with a session name", "", team(eq, "sub", web+"production", like, "sts:RoleSessionName", "vercel-*")},
		{"ok", action, "any way to assume the role by a token", "", acting(`"sts:AssumeRoleWithWebIdentity*"`)},
		{"ok", tagging, "with session tags", "", acting(`["sts:AssumeRoleWithWebIdentity","sts:TagSession"]`)},
		{"ok", stsActions, "with a source identity and a context", "", acting(`["sts:AssumeRoleWithWebIdentity","sts:SetSourceIdentity","sts:SetContext"]`)},
		{"ok", action, "an action in another case", "", acting(`"STS:assumerolewithwebidentity"`)},
		{"ok", others, "beside a service", "", good + `,{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}`},
		{"ok", others, "beside an account", "", good + `,{"Effect":"Allow","Principal":{"AWS":"210987654321"},"Action":"sts:AssumeRole"}`},
		{"ok", others, "beside a role that was deleted", "", good + `,{"Effect":"Allow","Principal":{"AWS":"AROAEXAMPLEEXAMPLE234"},"Action":"sts:AssumeRole"}`},
		{"ok", others, "beside GitHub", "", good + "," + by("token.actions.githubusercontent.com", eq, "sub", "repo:acme/web:ref:refs/heads/main", eq, "aud", "sts.amazonaws.com")},
		{"ok", others, "beside a SAML provider", "", good + `,{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::123456789012:saml-provider/x"},"Action":"sts:AssumeRoleWithSAML"}`},
		{"ok", logic, "a Deny for another project", "", good + "," + deny(like, "sub", "owner:acme:project:shop:*")},
		{"ok", logic, "a Deny of revoked sessions", "", good + `,{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`},
		{"ok", others, "in China", "", strings.ReplaceAll(good, "arn:aws:", "arn:aws-cn:")},
		{"ok", escapes, "an escape for what is no wildcard", "", team(eq, "sub", "owner:acme:project:web:environment:production", "StringNotLike", "sub", "${*}")},

		{"ok", oidcURL, "a test's issuer", "", by("127.0.0.1:4711/acme", eq, "sub", web+"production", eq, "aud", aud)},

		// What IAM refuses.
		{"refused", stsOnly, "a misspelt action", "did you mean sts:AssumeRoleWithWebIdentity?", acting(`"sts:AssumeRoleWithWebIdendity"`)},
		{"refused", stsOnly, "a misspelt action in a list", `Statement.0.Action: a trust policy cannot have the action "sts:TagSessions"; did you mean sts:TagSession?`, acting(`["sts:AssumeRoleWithWebIdentity","sts:TagSessions"]`)},
		{"refused", stsOnly, "another action of STS", `"sts:GetCallerIdentity"`, acting(`"sts:GetCallerIdentity"`)},
		{"refused", stsOnly, "a pattern of other actions", `"sts:Get*"`, acting(`"sts:Get*"`)},
		{"refused", stsOnly, "a service's action beside the right one", `"s3:GetObject"`, acting(`["sts:AssumeRoleWithWebIdentity","s3:GetObject"]`)},
		{"refused", action, "a wildcard service", "is not an action", acting(`"*:*"`)},
		{"refused", action, "no service", "is not an action", acting(`"AssumeRoleWithWebIdentity"`)},
		{"refused", noStar, "everyone without a kind", `{"AWS": "*"} is everyone`, trusting(`"*"`)},
		{"refused", noStar, "an ARN without a kind", "Principal", trusting(`"arn:aws:iam::123456789012:root"`)},
		{"refused", webIdentity, "a provider's URL", "is not an identity provider", trusting(`{"Federated":"oidc.vercel.com/acme"}`)},
		{"refused", webIdentity, "a provider's URL with its scheme", "is not an identity provider", trusting(`{"Federated":"https://oidc.vercel.com/acme"}`)},
		{"refused", webIdentity, "any provider", "is not an identity provider", trusting(`{"Federated":"*"}`)},
		{"refused", webIdentity, "any provider of the account", "is not an identity provider", trusting(`{"Federated":"arn:aws:iam::123456789012:oidc-provider/*"}`)},
		{"refused", webIdentity, "an account that was not filled in", "is not an identity provider", trusting(`{"Federated":"arn:aws:iam::[YOUR AWS ACCOUNT ID]:oidc-provider/oidc.vercel.com/acme"}`)},
		{"refused", webIdentity, "a role as provider", "is not an identity provider", trusting(`{"Federated":"arn:aws:iam::123456789012:role/web"}`)},
		{"refused", others, "a root of any account", "without wildcards", trusting(`{"AWS":"arn:aws:iam::*:root"}`)},
		{"refused", others, "any role of an account", "without wildcards", trusting(`{"AWS":"arn:aws:iam::123456789012:role/*"}`)},
		{"refused", others, "a name as account", "is not an account", trusting(`{"AWS":"acme"}`)},
		{"refused", others, "a service with a wildcard", "has a wildcard", trusting(`{"Service":"*.amazonaws.com"}`)},
		{"refused", others, "a kind of principal that is not", "no such kind", trusting(`{"Vercel":"acme"}`)},
		{"refused", opsString, "an operator of no type", "did you mean StringEquals?", team("StringEqual", "sub", web+"production")},
		{"refused", opsString, "a pattern by another word", "IAM has no such operator", team("StringMatches", "sub", web+"*")},
		{"refused", opsNull, "Null with IfExists", "IAM has no such operator", team("NullIfExists", "sub", "false")},
		{"refused", multiValue, "a set operator that is not", "IAM has no such operator", team("ForSomeValues:StringEquals", "sub", web+"production")},
		{"refused", grammar, "NotPrincipal", "a role's trust policy cannot have it", strings.Replace(good, `"Principal"`, `"NotPrincipal"`, 1)},
		{"refused", grammar, "a resource", "a trust policy has no such element", strings.Replace(good, `"Effect"`, `"Resource":"*","Effect"`, 1)},
		{"refused", grammar, "an effect in lower case", "neither Allow nor Deny", strings.Replace(good, `"Allow"`, `"allow"`, 1)},
		{"refused", grammar, "Conditions", "no such element", strings.Replace(good, `"Condition"`, `"Conditions"`, 1)},
		{"refused", conditions, "a condition that is a list", "it is not an object", strings.Replace(good, `"Condition":{`, `"Condition":[],"X":{`, 1)},
		{"refused", conditions, "no action", "needs one of Action and NotAction", strings.Replace(good, `"Action":"`+Action+`",`, "", 1)},

		// What admits no token of Vercel.
		{"nobody", stsActions, "AssumeRole for a provider", `its Action is "sts:AssumeRole"`, acting(`"sts:AssumeRole"`)},
		{"nobody", tagging, "session tags alone", `its Action is "sts:TagSession"`, acting(`"sts:TagSession"`)},
		{"nobody", notAction, "NotAction of the right one", "NotAction", strings.Replace(good, `"Action"`, `"NotAction"`, 1)},
		{"nobody", vercelClaims, "a placeholder as team", "placeholder", by("oidc.vercel.com/[TEAM_SLUG]", eq, "sub", "owner:[TEAM_SLUG]:project:[PROJECT_NAME]:environment:production", eq, "aud", "https://vercel.com/[TEAM_SLUG]")},
		{"nobody", vercelClaims, "a placeholder in sub", "placeholder", team(eq, "sub", "owner:acme:project:[PROJECT_NAME]:environment:production")},
		{"nobody", vercelClaims, "a placeholder in angle brackets", "placeholder", team(eq, "sub", "owner:acme:project:<project>:environment:production")},
		{"nobody", vercelClaims, "enviroment", "not of the form", team(eq, "sub", "owner:acme:project:web:enviroment:production")},
		{"nobody", vercelClaims, "env", "not of the form", team(eq, "sub", "owner:acme:project:web:env:production")},
		{"nobody", vercelClaims, "team for owner", "not of the form", team(eq, "sub", "team:acme:project:web:environment:production")},
		{"nobody", vercelClaims, "no environment", "not of the form", team(eq, "sub", "owner:acme:project:web")},
		{"nobody", vercelClaims, "slashes", "not of the form", team(eq, "sub", "acme/web/production")},
		{"nobody", vercelClaims, "another team's subject", `another owner than the provider's team, "acme"`, team(eq, "sub", "owner:apex:project:web:environment:production")},
		{"nobody", vercelClaims, "another team's pattern", "another owner", team(like, "sub", "owner:apex:*")},
		{"nobody", githubSub, "GitHub's form", "GitHub's form", team(eq, "sub", "repo:acme/web:ref:refs/heads/main")},
		{"nobody", githubSub, "GitHub's pattern", "GitHub's form", team(like, "sub", "repo:acme/web:*")},
		{"nobody", githubSub, "GitHub's provider", "is not Vercel's", by("token.actions.githubusercontent.com", eq, "sub", "repo:acme/web:ref:refs/heads/main", eq, "aud", "sts.amazonaws.com")},
		{"nobody", vercelNames, "an owner in upper case", "upper case", team(eq, "sub", "owner:Acme:project:web:environment:production")},
		{"nobody", vercelNames, "a project in upper case", "upper case", team(eq, "sub", "owner:acme:project:Web:environment:production")},
		{"nobody", vercelClaims, "a team's ID", "has an ID", team(eq, "sub", "owner:team_nLlpyC6REAqxydlFKbrMDlud:project:web:environment:production")},
		{"nobody", vercelClaims, "a project's ID", "has an ID", team(eq, "sub", "owner:acme:project:prj_12HKQaOmR5t5Uy6vdcQsNIiZgHGB:environment:production")},
		{"nobody", oidcURL, "a provider with a slash at its end", "is not Vercel's", by("oidc.vercel.com/acme/", eq, "sub", web+"production", eq, "aud", aud)},
		{"nobody", oidcURL, "the provider vercel.com", "is not Vercel's", by("vercel.com/acme", eq, "sub", web+"production", eq, "aud", aud)},
		{"nobody", oidcURL, "a provider with a scheme", "is not Vercel's", by("https://oidc.vercel.com/acme", eq, "sub", web+"production", eq, "aud", aud)},
		{"nobody", oidcURL, "a team in upper case in the provider", "is not Vercel's", by("oidc.vercel.com/Acme", eq, "sub", web+"production", eq, "aud", aud)},
		{"nobody", oidcURL, "a team's ID in the provider", "is not Vercel's", by("oidc.vercel.com/team_abc", eq, "sub", web+"production", eq, "aud", aud)},
		{"nobody", opsString, "a star that is taken literally", "taken literally", team(eq, "sub", web+"*")},
		{"nobody", opsString, "a project that is a star", "taken literally", team(eq, "sub", "owner:acme:project:*:environment:production")},
		{"nobody", federation, "a key with a scheme", "holds a scheme", team(eq, "https://oidc.vercel.com/acme:sub", web+"production")},
		{"nobody", federation, "the key of the other mode", "is of another issuer", team(eq, "oidc.vercel.com:sub", web+"production")},
		{"nobody", federation, "a claim that has no key", `the claim "environment"`, team(eq, "environment", "production")},
		{"nobody", federation, "a project's ID in a claim of its own", `the claim "project_id"`, team(eq, "sub", web+"production", eq, "project_id", "prj_abc")},
		{"nobody", multipleOps, "two tests that cannot both hold", "exclude each other", team(eq, "sub", web+"production", like, "sub", "*:preview")},
		{"nobody", multipleOps, "a test and its negation", "exclude each other", team(eq, "sub", web+"production", "StringNotEquals", "sub", web+"production")},
		{"nobody", opsNull, "Null true on sub", "every token has it", team("Null", "sub", "true")},
		{"nobody", logic, "a Deny that takes everything", "a Deny takes all", good + "," + strings.Replace(deny(), `"Condition":{}`, `"Condition":{}`, 1)},
		{"nobody", logic, "a Deny of all environments", "a Deny takes all", good + "," + deny(like, "sub", "owner:acme:*")},
		{"nobody", vercelClaims, "another team's audience in global mode", "exclude each other", by(shared, eq, "sub", web+"production", eq, "aud", "https://vercel.com/apex")},
		{"nobody", vercelClaims, "an exchanged audience in global mode", "tokens have", by(shared, eq, "sub", web+"production", eq, "aud", "https://sts.amazonaws.com")},
		{"nobody", others, "accounts alone", "no Allow statement has an identity provider", `{"Effect":"Allow","Principal":{"AWS":"210987654321"},"Action":"sts:AssumeRole"}`},

		// Other customers of Vercel get in, or everyone at AWS.
		{"critical", vercelClaims, "global without a test", "every customer of Vercel", by(shared)},
		{"critical", vercelClaims, "global with a star", "every customer of Vercel", by(shared, like, "sub", "*")},
		{"critical", vercelClaims, "global, any owner", "every customer of Vercel", by(shared, like, "sub", "owner:*")},
		{"critical", vercelClaims, "global, any owner's project web", "other customers of Vercel", by(shared, like, "sub", "owner:*:project:web:environment:production")},
		{"critical", vercelClaims, "global, the owner left out", "other customers of Vercel", by(shared, like, "sub", "*:project:web:environment:production")},
		{"critical", vercelClaims, "global, owners that begin alike", "other customers of Vercel", by(shared, like, "sub", "owner:acme*:project:web:environment:production")},
		{"critical", vercelClaims, "global, owners that end alike", `such as "owner:xcorp:project:web:environment:production"`, by(shared, like, "sub", "owner:*corp:project:web:environment:production")},
		{"critical", vercelClaims, "global, one letter open", "other customers of Vercel", by(shared, like, "sub", "owner:acm?:project:web:environment:production")},
		{"critical", vercelClaims, "global, only the environment", "other customers of Vercel", by(shared, like, "sub", "*:environment:production")},
		{"critical", vercelClaims, "global, any audience", "every customer of Vercel", by(shared, like, "sub", "owner:*", like, "aud", "https://vercel.com/*")},
		{"critical", vercelClaims, "global, audiences that begin alike", "other customers of Vercel", by(shared, like, "aud", "https://vercel.com/acme*")},
		{"critical", vercelClaims, "global, all but one team", "every customer of Vercel", by(shared, "StringNotLike", "sub", "owner:evil:*")},
		{"critical", variables, "global, its own variable", "the variable in", by(shared, eq, "sub", "${oidc.vercel.com:sub}")},
		{"critical", vercelClaims, "global, open in the second statement", "statement 2", all(eq, "sub", web+"production") + "," + by(shared, like, "sub", "owner:*")},
		{"critical", multipleOps, "global, two patterns that meet", "other customers of Vercel", by(shared, like, "sub", "owner:a*:project:web:*", "ForAnyValue:StringLike", "sub", "owner:*b:project:*:environment:production")},
		{"critical", wildcard, "everyone at AWS beside a good one", "everyone with an account at AWS", good + `,{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`},
		{"critical", wildcard, "everyone by a token", "every OIDC identity provider", `{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithWebIdentity"}`},

		// Every project and environment of the team, by whatever form.
		{"high", vercelClaims, "no test of sub", "no condition on sub", team()},
		{"high", opsString, "all of the owner", `"owner:acme:*"`, team(like, "sub", "owner:acme:*")},
		{"high", opsString, "any owner of the team's issuer", `"owner:*"`, team(like, "sub", "owner:*")},
		{"high", opsString, "a star", `"*"`, team(like, "sub", "*")},
		{"high", opsString, "each part a star", `"owner:*:project:*:environment:*"`, team(like, "sub", "owner:*:project:*:environment:*")},
		{"high", opsString, "all projects and environments", "every project and environment", team(like, "sub", "owner:acme:project:*:environment:*")},
		{"high", opsString, "all but one", "no condition on sub", team("StringNotEquals", "sub", web+"preview")},
		{"high", opsExists, "a test of another issuer if it is there", "no condition on sub", team("StringEqualsIfExists", "oidc.vercel.com:sub", web+"production")},
		{"high", variables, "its own variable", "the variable in", team(eq, "sub", "${oidc.vercel.com/acme:sub}")},
		{"high", vercelClaims, "global, the audience pins the team", "every project and environment of the team", all()},
		{"high", vercelClaims, "global, all of the owner", "every project and environment of the team", all(like, "sub", "owner:acme:*")},
		{"high", sharedIssuer, "global without a test of aud", "IAM refuses to create or change", by(shared, eq, "sub", web+"production")},
		{"high", sharedIssuer, "global with any audience", "IAM refuses to create or change", by(shared, eq, "sub", web+"production", like, "aud", "*")},
		{"high", quotas, "more characters than IAM ever takes", "IAM takes 4096 at most", team(eq, "sub", strings.Join(many, " ")+" "+strings.ReplaceAll(strings.Join(many, " "), "project-", "other-")+" "+strings.ReplaceAll(strings.Join(many, " "), "project-", "more-"))},
		{"high", wildcard, "everyone, before a test of a token", "name the provider", trusting(`{"AWS":"*"}`)},

		// Projects or environments that are not named.
		{"medium", opsString, "any project in production", "projects that it does not name", team(like, "sub", "owner:acme:project:*:environment:production")},
		{"medium", opsString, "projects that begin alike", "projects that it does not name", team(like, "sub", "owner:acme:project:web*:environment:production")},
		{"medium", opsString, "projects of one letter more", "projects that it does not name", team(like, "sub", "owner:acme:project:web?:environment:production")},
		{"medium", opsString, "any environment of a project", "environments that it does not name", team(like, "sub", web+"*")},
		{"medium", opsString, "environments that begin alike", "environments that it does not name", team(like, "sub", web+"prod*")},
		{"medium", opsString, "environments that end alike", "environments that it does not name", team(like, "sub", web+"*production")},
		{"medium", opsString, "any case of an environment", "environments that it does not name", team("StringEqualsIgnoreCase", "sub", web+"production")},
		{"medium", logic, "any environment but preview", "environments that it does not name", team(like, "sub", web+"*") + "," + deny(like, "sub", "*:preview")},
		{"medium", vercelAWS, "any project in preview and production", "projects that it does not name", team(like, "sub", "owner:acme:project:*:environment:preview owner:acme:project:*:environment:production")},
		{"medium", vercelClaims, "no test of aud", "no condition on aud", by(host, eq, "sub", web+"production")},
		{"medium", vercelClaims, "any audience", "no condition on aud", by(host, eq, "sub", web+"production", like, "aud", "*")},
		{"medium", vercelClaims, "all audiences but one", "no condition on aud", by(host, eq, "sub", web+"production", "StringNotEquals", "aud", "x")},
		{"medium", federation, "a Deny that never denies", "never there", good + "," + deny(eq, "oidc.vercel.com:sub", web+"preview")},
		{"medium", federation, "a negated test that always passes", "no condition key", team(eq, "sub", web+"production", "StringNotEquals", "environment", "preview")},

		// Named ones that are better apart, and what is of no use.
		{"low", vercelEnvs, "production and preview", "share this role", team(eq, "sub", web+"production "+web+"preview")},
		{"low", vercelEnvs, "production and development in two statements", "statement 2: production and development", good + "," + team(eq, "sub", web+"development")},
		{"low", opsString, "a star of no use beside the right one", "literally", team(eq, "sub", web+"production "+web+"*")},
		{"low", opsExists, "IfExists", "passes where", by(host, "StringEqualsIfExists", "sub", web+"production", eq, "aud", aud)},
		{"low", multiValue, "ForAllValues", "passes where", by(host, "ForAllValues:StringEquals", "sub", web+"production", eq, "aud", aud)},
		{"low", quotas, "more characters than IAM takes unless asked", "divide its subjects among 2 roles", team(eq, "sub", strings.Join(many, " ")+" "+strings.ReplaceAll(strings.Join(many, " "), "project-", "p"))},
	}
	count := map[string]int{}
	for _, c := range cases {
		count[c.outcome]++
		t.Run(c.outcome+"/"+c.name, func(t *testing.T) {
			d, err := Parse([]byte(policy(c.policy)))
			if c.outcome == "refused" {
				require.ErrorContains(t, err, c.says, c.from)
				return
			}
			require.NoError(t, err, c.from)
			reach, warnings := d.Reach(), d.Warnings()
			if c.outcome == "nobody" {
				require.NotEmpty(t, reach.Nobody, c.from)
				assert.Contains(t, fmt.Sprint(reach.Nobody), c.says, c.from)
				assert.Empty(t, reach.Subjects)
				return
			}
			require.Empty(t, reach.Nobody, c.from)
			outcome := "ok"
			if len(warnings) > 0 {
				outcome = warnings[0].Severity.String()
			}
			assert.Equal(t, c.outcome, outcome, "%s: %v", c.from, warnings)
			assert.Contains(t, fmt.Sprint(warnings), c.says, c.from)
		})
	}
	t.Log(len(cases), count)
	assert.GreaterOrEqual(t, len(cases), 120)
	assert.GreaterOrEqual(t, count["ok"], 30)
}
