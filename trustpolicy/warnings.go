package trustpolicy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// warner takes the warnings of one statement.
type warner func(severity Severity, format string, args ...any)

// Warnings returns warnings of tokens that the policy should not admit, and of
// common mistakes, the worst first. A policy without warnings can still be wrong
// for a project, or admit no token at all: evaluate it for a token, and see Reach.
func (d *Document) Warnings() []Warning {
	var out []Warning
	work := budget
	production, other, branch := false, 0, ""
	for i, s := range d.Statements {
		warn := func(severity Severity, format string, args ...any) {
			out = append(out, Warning{i + 1, fmt.Sprintf(format, args...), severity})
		}
		d.mistakes(s, warn)
		if s.Principals.everyone() && d.warnEveryone(s, warn) == Critical || !s.allows(Action) {
			continue
		}
		r := d.opening(i, &work).reach()
		d.tooWide(s, r, warn)
		production = production || slices.Contains(r.environments, "production")
		for _, name := range []string{"preview", "development"} {
			if other == 0 && slices.Contains(r.environments, name) {
				other, branch = i+1, name
			}
		}
	}
	if production && other > 0 && !slices.ContainsFunc(out, func(w Warning) bool { return w.Severity >= High }) {
		out = append(out, Warning{other, fmt.Sprintf("production and %s share this role: a branch that nobody has approved can do what production can", branch), Low})
	}
	out = append(out, d.tooLong()...)
	slices.SortStableFunc(out, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Statement, b.Statement))
	})
	return out
}

// tooWide warns of what an Allow statement lets in.
func (d *Document) tooWide(s Statement, r reach, warn warner) {
	global := slices.ContainsFunc(d.providers(s), func(arn string) bool { return teamOf(providerHost(arn)) == "*" })
	such := func(subject string) string { return fmt.Sprintf("can assume the role, such as %s", quoted(subject)) }
	switch {
	case r.unclear && global:
		warn(Critical, "there are too many patterns to tell whom it admits")
	case r.unclear:
		warn(High, "there are too many patterns to tell what it admits")
	case r.foreign != "" && r.everyone:
		warn(Critical, "%s: every customer of Vercel %s", d.why(s, r.foreign), such(r.foreign))
	case r.foreign != "":
		warn(Critical, "%s: other customers of Vercel %s", d.why(s, r.foreign), such(r.foreign))
	case r.every != "":
		warn(High, "%s: every project and environment of the team %s", d.why(s, r.every), such(r.every))
	case r.project != "":
		warn(Medium, "%s admits projects that it does not name, such as %s", d.why(s, r.project), quoted(r.project))
	case r.environment != "":
		warn(Medium, "%s admits environments that it does not name, such as %s", d.why(s, r.environment), quoted(r.environment))
	}
	switch {
	case r.audience && global:
		warn(High, "no condition on aud: IAM refuses to create or change such a trust policy, since many share the provider %s", issuerHost(GlobalIssuer))
	case r.audience:
		warn(Medium, "no condition on aud: a token for any audience of the provider can assume the role")
	}
}

// why says by which test of sub a subject gets in.
func (d *Document) why(s Statement, subject string) string {
	e := &evaluation{version: d.Version, work: fullBudget()}
	for _, c := range s.Conditions {
		o := parseOperator(c.Operator)
		if claimOf(c.Key) != "sub" || !o.isString() || o.negated {
			continue
		}
		for _, value := range c.Values {
			if d.variesWith(value) {
				return fmt.Sprintf("%s is compared with the variable in %s, which the token brings with it", quoted(c.Key), quoted(value))
			}
			if o.compare(e, value, subject) == yes {
				return "the pattern " + quoted(value)
			}
		}
	}
	return "no condition on sub"
}

// The most characters of a role's trust policy, white space not counted: as long
// as nobody has asked for more, and at most. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entities.
const (
	quota     = 2048
	mostQuota = 4096
)

// tooLong warns of a policy that does not fit the quota.
func (d *Document) tooLong() []Warning {
	text, err := json.Marshal(d)
	length := utf8.RuneCount(text) - bytes.Count(text, []byte(" "))
	takes, severity := fmt.Sprintf("%d at most", mostQuota), High
	switch {
	case err != nil || length <= quota:
		return nil
	case length <= mostQuota:
		takes, severity = fmt.Sprintf("%d unless the account has asked for a higher quota, of up to %d", quota, mostQuota), Low
	}
	return []Warning{{0, fmt.Sprintf("the policy has %d characters without white space, and IAM takes %s: divide its subjects among %d roles", length, takes, (length+quota-1)/quota), severity}}
}

// openid are the claims that IAM has condition keys for, beside those of
// issuers it knows by name. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif.
var openid = []string{"sub", "aud", "azp", "amr", "oaud", "email"}

// mistakes warns of common mistakes in a statement.
func (d *Document) mistakes(s Statement, warn warner) {
	host := "" // of the only issuer whose tokens the statement is about
	if len(s.Principals.Federated) == 1 && !s.Principals.everyone() {
		host = providerHost(s.Principals.Federated[0])
	}
	for _, arn := range s.Principals.Federated {
		if strings.Contains(arn, "://") {
			warn(Low, "the provider ARN %s holds a scheme; IAM writes it without https://", quoted(arn))
		}
	}
	for _, c := range s.Conditions {
		o := parseOperator(c.Operator)
		// never is the severity of a condition that no request passes, unless
		// its operator passes where the key is missing.
		never := Low
		if (s.Effect == "Allow") == o.takesMissing() {
			never = Medium
		}
		if !o.known() {
			warn(never, "the operator %s is not one that this evaluation knows, so it cannot tell what it does", quoted(c.Operator))
		}
		if len(c.Values) == 0 {
			warn(Medium, "%s of %s has no values, and what IAM makes of that is not documented", quoted(c.Operator), quoted(c.Key))
		}
		if o.isString() && o.base != "StringLike" {
			for _, value := range c.Values {
				if d.literalWildcard(value) {
					warn(never, "%s takes the * or ? in %s literally; use StringLike for a pattern", quoted(c.Operator), quoted(value))
				}
			}
		}
		if claim := claimOf(c.Key); s.Effect == "Allow" && o.isString() && !o.negated && o.takesMissing() && (claim == "sub" || claim == "aud") && !s.guarded(c.Key) {
			warn(Low, "%s passes where %s is missing; use the operator without it, or demand the key with Null", quoted(c.Operator), quoted(c.Key))
		}
		if why := c.wrongKey(host); why != "" {
			warn(never, "%s", why)
		}
	}
}

// wrongKey says why no token of an issuer has the key of a condition, or "".
func (c Condition) wrongKey(host string) string {
	issuer, claim, _ := cutLast(c.Key)
	switch {
	case strings.Contains(c.Key, "://"):
		return fmt.Sprintf("the condition key %s holds a scheme; IAM writes it without https://, so this key is never there", quoted(c.Key))
	case host == "" || notOfToken(c.Key):
	case equalFold(host, issuer) == no:
		return fmt.Sprintf("the condition key %s is of another issuer than the provider %s, so it is never there", quoted(c.Key), quoted(host))
	case !slices.Contains(openid, lowerASCII(claim)):
		return fmt.Sprintf("IAM has no condition key for the claim %s; sub holds owner, project and environment", quoted(claim))
	}
	return ""
}

// literalWildcard reports whether a value has a * or ? outside variables.
func (d *Document) literalWildcard(value string) bool {
	if d.hasVariables() {
		value = anyVariable().ReplaceAllString(value, "")
	}
	return strings.ContainsAny(value, "*?")
}

var anyVariable = whenUsed(`\$\{[^}]*\}`)
