package trustpolicy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// warner takes the warnings of one statement.
type warner func(severity Severity, format string, args ...any)

// Warnings returns what is too wide in the policy's Allow statements, and the
// classic mistakes in all, the worst first. A policy without warnings can still
// be wrong for a project: evaluate it for a token.
func (d *Document) Warnings() []Warning {
	var out []Warning
	for i, s := range d.Statements {
		warn := func(severity Severity, format string, args ...any) {
			out = append(out, Warning{i + 1, fmt.Sprintf(format, args...), severity})
		}
		s.mistakes(d.Version, warn)
		if s.allows(Action) || s.Principals.everyone() && s.letsIn() {
			d.tooWide(s, warn)
		}
	}
	if !slices.ContainsFunc(out, func(w Warning) bool { return w.Severity >= High }) {
		out = append(out, d.mixesEnvironments()...)
	}
	loudestFirst(out)
	return out
}

func loudestFirst(all []Warning) {
	slices.SortStableFunc(all, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Statement, b.Statement))
	})
}

// openid are the claims that IAM has condition keys for, beside those of
// issuers it knows by name. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif.
var openid = []string{"sub", "aud", "azp", "amr", "oaud", "email"}

func (s Statement) mistakes(version string, warn warner) {
	for _, arn := range s.Principals.Federated {
		if strings.Contains(arn, "://") {
			warn(Low, "the provider ARN %s holds a scheme; IAM writes it without https://", quoted(arn))
		}
		if strings.ContainsAny(arn, "*?") {
			warn(Low, "the provider ARN %s holds a wildcard, which a principal cannot have", quoted(arn))
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
				if literalWildcard(version, value) {
					warn(never, "%s takes the * or ? in %s literally; use StringLike for a pattern", quoted(c.Operator), quoted(value))
				}
			}
		}
		if strings.Contains(c.Key, "://") {
			warn(never, "the condition key %s holds a scheme; IAM writes it without https://, so this key is never there", quoted(c.Key))
			continue
		}
		if len(s.Principals.Federated) != 1 || s.Principals.everyone() {
			continue
		}
		host := providerHost(s.Principals.Federated[0])
		issuer, claim, _ := cutLast(c.Key)
		isClaim := slices.Contains(openid, lowerASCII(claim))
		switch {
		case host == "" || equalFold(issuer, "aws") == yes || equalFold(issuer, "sts") == yes:
		case equalFold(host, issuer) == no:
			warn(never, "the condition key %s is of another issuer than the provider %s, so it is never there", quoted(c.Key), quoted(host))
		case !isClaim:
			warn(never, "IAM has no condition key for the claim %s; sub holds owner, project and environment", quoted(claim))
		}
	}
}

// literalWildcard reports whether a value has a * or ? outside variables.
func literalWildcard(version, value string) bool {
	if version == "2012-10-17" {
		value = anyVariable().ReplaceAllString(value, "")
	}
	return strings.ContainsAny(value, "*?")
}

var anyVariable = whenUsed(`\$\{[^}]*\}`)

// reach is how far a test of sub lets tokens in.
type reach int

const (
	anyOwner reach = iota // it fixes nothing
	anyProject
	oneProject
)

// tooWide warns of what an Allow statement lets in.
func (d *Document) tooWide(s Statement, warn warner) {
	everyone := s.Principals.everyone()
	provider := everyone
	shared := everyone // whoever has the issuer's tokens is not bound to a team by it
	for _, arn := range s.Principals.Federated {
		provider = provider || strings.Contains(arn, ":oidc-provider/")
		shared = shared || equalFold(providerHost(arn), issuerHost(GlobalIssuer)) != no
	}
	if !provider {
		return
	}
	open := High
	who := "every project and environment of the team can assume the role"
	if shared {
		open, who = Critical, "every customer of Vercel can assume the role"
	}
	found := d.subjectReach(s, open, warn)
	switch {
	case everyone:
		d.warnEveryone(s, found.best > anyOwner, warn)
	case found.best == anyOwner && !found.said:
		warn(open, "no condition on sub: %s", who)
	}
	if s.allows(Action) && !d.testsAudience(s, warn) {
		warn(Medium, "no condition on aud: a token for any audience of the provider can assume the role")
	}
}

// subjectTests is what the tests of sub in a statement come to.
type subjectTests struct {
	best reach // of the narrowest test
	said bool  // a warning says why it is not narrow
}

// subjectReach looks at the tests of sub. All must pass, so the narrowest
// counts; each passes with any of its values, so its widest counts.
func (d *Document) subjectReach(s Statement, open Severity, warn warner) subjectTests {
	var found subjectTests
	var late []func()
	for _, c := range s.Conditions {
		o := parseOperator(c.Operator)
		claim := claimOf(c.Key)
		if !o.isString() || o.negated || claim != "sub" && claim != "owner" && claim != "owner_id" || len(c.Values) == 0 {
			continue
		}
		if o.takesMissing() && !s.guarded(c.Key) {
			found.said = true
			late = append(late, func() {
				warn(open, "%s passes where %s is missing; use the operator without it, or demand the key with Null", quoted(c.Operator), quoted(c.Key))
			})
			continue
		}
		widest, width := "", oneProject
		for _, value := range c.Values {
			if r := d.valueReach(value, claim, o); r < width {
				widest, width = value, r
			}
		}
		if width < oneProject && claim == "sub" {
			found.said = true
			late = append(late, func() { d.warnReach(c, widest, width, open, warn) })
		}
		found.best = max(found.best, width)
	}
	if found.best == oneProject {
		return found // another condition holds what these let through
	}
	for _, say := range late {
		say()
	}
	return found
}

func (d *Document) warnReach(c Condition, value string, width reach, open Severity, warn warner) {
	switch {
	case d.hasVariables() && variesWith(value):
		warn(open, "%s is compared with the variable in %s, which the token brings with it: that holds for others too", quoted(c.Key), quoted(value))
	case width == anyOwner:
		warn(open, "the pattern %s fixes no owner: it admits projects that it does not name, and other owners where the issuer has them", quoted(value))
	default:
		warn(Medium, "the pattern %s admits projects that it does not name", quoted(value))
	}
}

func (d *Document) hasVariables() bool { return d.Version == "2012-10-17" }

// fixedOwner and fixedProject are what a subject begins with that names them to
// their end. A wildcard in a name could also reach into what follows it.
var (
	fixedOwner   = whenUsed(`^owner:[^:]+:`)
	fixedProject = whenUsed(`^owner:[^:]+:project:[^:]+:`)
)

// valueReach is how far one value of a test lets tokens in.
func (d *Document) valueReach(value, claim string, o operator) reach {
	fixed := value
	if d.hasVariables() {
		fixed = strings.NewReplacer("${*}", "\x00", "${?}", "\x00", "${$}", "$").Replace(fixed)
		if before, _, has := strings.Cut(fixed, "${"); has {
			fixed = before + "*"
			o.base = "StringLike"
		}
	}
	i := len(fixed)
	if o.base == "StringLike" {
		if wild := strings.IndexAny(fixed, "*?"); wild >= 0 {
			i = wild
		}
	}
	whole := i == len(fixed)
	fixed = fixed[:i]
	switch {
	case claim != "sub" && whole:
		return anyProject
	case whole || fixedProject().MatchString(fixed):
		return oneProject
	case fixedOwner().MatchString(fixed):
		return anyProject
	case fixed != "" && !strings.HasPrefix(fixed, "owner:") && !strings.HasPrefix("owner:", fixed):
		return oneProject // not a subject of Vercel's: nothing to judge
	}
	return anyOwner
}

// testsAudience reports whether a test holds the audience, and warns of one
// that holds it only if it is there.
func (d *Document) testsAudience(s Statement, warn warner) bool {
	lenient := ""
	for _, c := range s.Conditions {
		o := parseOperator(c.Operator)
		if claimOf(c.Key) != "aud" || !o.isString() || o.negated || len(c.Values) == 0 {
			continue
		}
		if o.takesMissing() && !s.guarded(c.Key) {
			lenient = c.Operator
			continue
		}
		open := func(value string) bool {
			return o.base == "StringLike" && strings.Trim(value, "*?") == "" || d.hasVariables() && variesWith(value)
		}
		if !slices.ContainsFunc(c.Values, open) {
			return true
		}
	}
	if lenient != "" {
		warn(Medium, "%s passes where aud is missing; use the operator without it, or demand the key with Null", quoted(lenient))
		return true
	}
	return false
}
