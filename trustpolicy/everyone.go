package trustpolicy

import (
	"net/netip"
	"slices"
	"strings"
)

// waysIn are the actions that give a role's credentials, and who can use each if
// the principal is everyone. An action such as sts:TagSession gives none by
// itself. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_request.html.
var waysIn = []struct{ action, who string }{
	{"sts:AssumeRole", "everyone with an account at AWS"},
	{"sts:AssumeRoleWithSAML", "every SAML identity provider"},
	{Action, "every OIDC identity provider"},
}

// whoKeys are the condition keys whose value identifies the caller and cannot be
// chosen by another account. Tags (aws:PrincipalTag) and names (aws:username) are
// not among them, since each account sets its own. Neither is sts:ExternalId,
// which AWS does not treat as a secret. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
// and
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_common-scenarios_third-party.html.
var whoKeys = []string{
	"aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:principalservicename", "aws:userid",
	"aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid", "aws:sourceorgpaths",
}

// whereKeys say where a request comes from.
var whereKeys = []string{"aws:sourceip", "aws:sourcevpc", "aws:sourcevpce", "aws:vpcsourceip"}

// fixedWho is the beginning of a value that a wildcard may follow: the ARN of
// something in one account, a path in one organization, the ID of one role.
var fixedWho = whenUsed(`^(arn:[^:*?]*:[^:*?]*:[^:*?]*:[0-9]{12}:|o-[a-z0-9]+/|A[A-Z0-9]{15,}:)`)

// warnEveryone warns of a statement that lets everyone assume the role. The
// severity, which it returns, depends on the statement's conditions.
func (d *Document) warnEveryone(s Statement, warn warner) Severity {
	var who []string
	stranger := false // a caller without a token, or of another issuer than the conditions name, gets in
	for _, way := range waysIn {
		if !s.allows(way.action) {
			continue
		}
		who = append(who, way.who)
		decision := (&Document{Version: d.Version, Statements: []Statement{s}}).Evaluate(Request{Action: way.action}).Decision
		stranger = stranger || decision != ImplicitDeny
	}
	if who == nil {
		return Low
	}
	all := strings.Join(who, ", and ")
	holds := func(keys []string) bool {
		return slices.ContainsFunc(s.Conditions, func(c Condition) bool {
			o := parseOperator(c.Operator)
			return !o.negated && (!o.takesMissing() || s.guarded(c.Key)) && d.fixes(c, o, keys)
		}) || slices.ContainsFunc(d.Statements, func(deny Statement) bool { return d.deniesOthers(deny, s, keys) })
	}
	severity, says := Critical, ": it admits "+all
	switch {
	case !stranger:
		severity, says = High, ", and only a test of a token's claims stands before it: name the provider"
	case holds(whoKeys):
		severity, says = Medium, ", and only a condition keeps "+all+" from assuming the role: name the principals"
	case holds(whereKeys):
		severity, says = High, ": it admits "+all+" from the networks of its condition, which says where a request comes from and not who asks"
	}
	warn(severity, "the principal is a wildcard%s", says)
	return severity
}

// fixes reports whether a condition tests one of the keys for fixed values.
func (d *Document) fixes(c Condition, o operator, keys []string) bool {
	if !slices.Contains(keys, lowerASCII(c.Key)) || o.compare == nil || len(c.Values) == 0 {
		return false
	}
	address := o.base == "IpAddress"
	if !address && !o.isString() && !strings.HasPrefix(o.base, "Arn") {
		return false
	}
	return !slices.ContainsFunc(c.Values, func(value string) bool {
		if address {
			network, ok := parseNetwork(value)
			return !ok || network.Bits() < widest(network)
		}
		wild := (o.base == "StringLike" || !o.isString()) && d.literalWildcard(value)
		return wild && !fixedWho().MatchString(value) || d.variesWith(value)
	})
}

// widest is the shortest prefix of a network that is not the public's. See
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html#access-control-block-public-access-policy-status.
func widest(network netip.Prefix) int {
	if network.Addr().Is4() {
		return 8
	}
	return 32
}

// deniesOthers reports whether a Deny excludes from a statement for everyone all
// callers but those that its tests of the keys name. A Deny applies only if all
// its tests hold. So each must be such a test, and hold if its key is missing.
func (d *Document) deniesOthers(deny, s Statement, keys []string) bool {
	if deny.Effect != "Deny" || !deny.Principals.everyone() || len(deny.Conditions) == 0 {
		return false
	}
	for _, way := range waysIn {
		if s.allows(way.action) && !deny.covers(way.action) {
			return false
		}
	}
	return !slices.ContainsFunc(deny.Conditions, func(c Condition) bool {
		o := parseOperator(c.Operator)
		return !o.negated || !o.takesMissing() || !d.fixes(c, o, keys)
	})
}

// allows reports whether the statement is an Allow for an action, or may be.
func (s Statement) allows(action string) bool { return s.Effect == "Allow" && s.covers(action) }

// covers reports whether the statement is about an action, or may be.
func (s Statement) covers(action string) bool {
	e := &evaluation{request: Request{Action: action}, work: fullBudget()}
	return e.acts(s) != no
}
