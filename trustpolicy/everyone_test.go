package trustpolicy

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where a case's rule comes from, below https://docs.aws.amazon.com/.
const (
	wildcard   = "IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-anonymous"
	stsActions = "IAM/latest/UserGuide/id_credentials_temp_request.html"
	tagging    = "IAM/latest/UserGuide/id_session-tags.html#id_session-tags_permissions-required"
	globalKeys = "IAM/latest/UserGuide/reference_policies_condition-keys.html"
	externalID = "IAM/latest/UserGuide/id_roles_common-scenarios_third-party.html"
	setOps     = "IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html"
	denials    = "IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html"
	publicIP   = "AmazonS3/latest/userguide/access-control-block-public-access.html#access-control-block-public-access-policy-status"
	others     = "IAM/latest/UserGuide/reference_policies_elements_principal.html"
)

func TestEveryone(t *testing.T) {
	const none = Severity(-1)
	allow := func(principal, action, condition string) string {
		return `{"Effect":"Allow","Principal":` + principal + `,"Action":` + action + `,"Condition":{` + condition + `}}`
	}
	assume := func(condition string) []string {
		return []string{allow(`{"AWS":"*"}`, `"sts:AssumeRole"`, condition)}
	}
	perimeter := func(action, condition string) []string {
		return append(assume(``), `{"Effect":"Deny","Principal":{"AWS":"*"},`+action+`,"Condition":{`+condition+`}}`)
	}
	strict := statement("Allow", `"StringEquals":{"oidc.vercel.com/acme:sub":"`+webProd+`","oidc.vercel.com/acme:aud":"https://vercel.com/acme"}`)
	cases := []struct {
		name, from string
		statements []string
		severity   Severity
		says       string
	}{
		{"AssumeRole", wildcard, []string{`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`}, Critical, "it admits everyone with an account at AWS"},
		{"beside a strict statement", wildcard, []string{strict, `{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["sts:AssumeRole","sts:TagSession"]}`}, Critical, "statement 2: the principal is a wildcard"},
		{"SAML", stsActions, []string{`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithSAML"}`}, Critical, "every SAML identity provider"},
		{"in a list", wildcard, []string{allow(`{"AWS":["arn:aws:iam::111122223333:root","*"]}`, `"sts:AssumeRole"`, ``)}, Critical, "everyone with an account"},
		{"beside a provider", wildcard, []string{allow(`{"AWS":"*","Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"}`, `"sts:AssumeRole"`, ``)}, Critical, "everyone with an account"},
		{"a pattern", action, []string{allow(`{"AWS":"*"}`, `"sts:AssumeRol?"`, ``)}, Critical, "everyone with an account"},
		{"a pattern of both others", action, []string{allow(`{"AWS":"*"}`, `"sts:AssumeRoleWith*"`, ``)}, Critical, "every SAML identity provider, and every OIDC"},
		{"in another case", action, []string{allow(`{"AWS":"*"}`, `"STS:assumerole"`, ``)}, Critical, "everyone with an account"},
		{"all actions", action, []string{allow(`{"AWS":"*"}`, `"*"`, ``)}, Critical, "everyone with an account"},
		{"NotAction", notAction, []string{`{"Effect":"Allow","Principal":{"AWS":"*"},"NotAction":"sts:TagSession"}`}, Critical, "everyone with an account"},
		{"NotAction of all ways in", notAction, []string{`{"Effect":"Allow","Principal":{"AWS":"*"},"NotAction":"sts:AssumeRole*"}`}, none, ""},
		{"tags alone", tagging, []string{strict, allow(`{"AWS":"*"}`, `["sts:TagSession","sts:SetSourceIdentity","sts:SetContext"]`, ``)}, none, ""},
		{"a Deny", denials, []string{strict, `{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`}, none, ""},
		{"an account", others, []string{allow(`{"AWS":"arn:aws:iam::111122223333:root"}`, `"sts:AssumeRole"`, ``)}, none, ""},
		{"a service", others, []string{allow(`{"Service":"ec2.amazonaws.com"}`, `"sts:AssumeRole"`, ``)}, none, ""},
		{"a SAML provider", others, []string{allow(`{"Federated":"arn:aws:iam::123456789012:saml-provider/x"}`, `"sts:*"`, ``)}, none, ""},

		{"an organization", globalKeys, assume(`"StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}`), Medium, "only a condition keeps everyone with an account at AWS from"},
		{"an organization in another case", globalKeys, assume(`"StringEquals":{"AWS:principalorgid":"o-a1b2c3d4e5"}`), Medium, "only a condition keeps"},
		{"a path of an organization", globalKeys, assume(`"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"o-a1b2c3d4e5/r-ab12/*"}`), Medium, "only a condition keeps"},
		{"an account's roles", globalKeys, assume(`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"}`), Medium, "only a condition keeps"},
		{"an account by its number", globalKeys, assume(`"StringEquals":{"aws:PrincipalAccount":["111122223333","444455556666"]}`), Medium, "only a condition keeps"},
		{"services for an account", globalKeys, assume(`"StringEquals":{"aws:SourceAccount":"111122223333"}`), Medium, "only a condition keeps"},
		{"sessions of a role", globalKeys, assume(`"StringLike":{"aws:userid":"AROAEXAMPLEEXAMPLE234:*"}`), Medium, "only a condition keeps"},
		{"IfExists with its guard", opsExists, assume(`"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"},"Null":{"aws:PrincipalOrgID":"false"}`), Medium, "only a condition keeps"},
		{"a Deny for others", denials, perimeter(`"Action":"sts:*"`, `"StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}`), Medium, "only a condition keeps"},

		{"a role's name in any account", globalKeys, assume(`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/deploy"}`), Critical, "it admits"},
		{"any organization", globalKeys, assume(`"StringLike":{"aws:PrincipalOrgID":"o-*"}`), Critical, "it admits"},
		{"one of two values is open", globalKeys, assume(`"StringLike":{"aws:PrincipalAccount":["111122223333","*"]}`), Critical, "it admits"},
		{"its own variable", variables, assume(`"StringEquals":{"aws:PrincipalAccount":"${aws:PrincipalAccount}"}`), Critical, "it admits"},
		{"a tag", globalKeys, assume(`"StringEquals":{"aws:PrincipalTag/team":"web"}`), Critical, "it admits"},
		{"an external ID", externalID, assume(`"StringEquals":{"sts:ExternalId":"x"}`), Critical, "it admits"},
		{"all but one", globalKeys, assume(`"StringNotEquals":{"aws:PrincipalAccount":"111122223333"}`), Critical, "it admits"},
		{"IfExists", opsExists, assume(`"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}`), Critical, "it admits"},
		{"ForAllValues", setOps, assume(`"ForAllValues:StringLike":{"aws:PrincipalOrgPaths":"o-a1b2c3d4e5/*"}`), Critical, "it admits"},
		{"no values", globalKeys, assume(`"StringEquals":{"aws:PrincipalOrgID":[]}`), Critical, "it admits"},
		{"a subject if it is there", opsExists, assume(`"StringEqualsIfExists":{"oidc.vercel.com/acme:sub":"` + webProd + `"}`), Critical, "it admits"},
		{"a Deny for one", denials, perimeter(`"Action":"sts:*"`, `"StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}`), Critical, "it admits"},
		{"a Deny of another action", denials, perimeter(`"Action":"sts:TagSession"`, `"StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}`), Critical, "it admits"},
		{"a Deny with a way around", denials, perimeter(`"Action":"sts:*"`, `"StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"},"Bool":{"aws:SecureTransport":"false"}`), Critical, "it admits"},
		{"a Deny that passes where the key is missing", setOps, perimeter(`"Action":"sts:*"`, `"ForAnyValue:StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}`), Critical, "it admits"},

		{"a network", globalKeys, assume(`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), High, "where a request comes from"},
		{"an endpoint", globalKeys, assume(`"StringEquals":{"aws:SourceVpce":"vpce-0a1b2c3d"}`), High, "where a request comes from"},
		{"every network", publicIP, assume(`"IpAddress":{"aws:SourceIp":["0.0.0.0/1","128.0.0.0/1"]}`), Critical, "it admits"},
		{"nearly every network", publicIP, assume(`"IpAddress":{"aws:SourceIp":"2000::/3"}`), Critical, "it admits"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			all := mustParse(t, policy(c.statements...)).Warnings()
			if c.severity == none {
				assert.Empty(t, all, c.from)
				return
			}
			require.NotEmpty(t, all, c.from)
			assert.Equal(t, c.severity, all[0].Severity, "%s: %v", c.from, all)
			assert.True(t, slices.ContainsFunc(all, func(w Warning) bool {
				return w.Severity == c.severity && strings.Contains(w.String(), c.says)
			}), "%s: %v", c.from, all)
		})
	}
}
