package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// Warning is something in a policy that is wider than it looks, or can never
// do what was meant.
type Warning struct {
	Statement int    // counted from 1
	Message   string // one sentence
}

// String returns the warning with the number of its statement.
func (w Warning) String() string { return fmt.Sprintf("statement %d: %s", w.Statement, w.Message) }

// Warnings returns what is too wide in the policy's Allow statements, and the
// classic mistakes in all. A policy without warnings can still be wrong for a
// project: evaluate it for a token.
func (d *Document) Warnings() []Warning {
	var out []Warning
	for i, s := range d.Statements {
		warn := func(format string, args ...any) {
			out = append(out, Warning{i + 1, fmt.Sprintf(format, args...)})
		}
		s.mistakes(d.Version, warn)
		if s.Effect == "Allow" && (matchAction(s.Actions, Action) || len(s.NotActions) > 0) {
			s.tooWide(warn)
		}
	}
	return out
}

func (s Statement) mistakes(version string, warn func(string, ...any)) {
	for _, arn := range s.Principals.Federated {
		if strings.Contains(arn, "://") {
			warn("the provider ARN %q holds a scheme; IAM writes it without https://", arn)
		}
	}
	for _, c := range s.Conditions {
		o := parseOperator(c.Operator)
		if o.match == nil && !o.null {
			warn("the operator %s is not one for a token's claims, so this evaluation cannot tell what it does", c.Operator)
		}
		if strings.Contains(c.Key, "://") {
			warn("the condition key %q holds a scheme; IAM writes it without https://, so this key is never there", c.Key)
		}
		if strings.Contains(c.Operator, "Equals") {
			for _, value := range c.Values {
				if strings.ContainsAny(value, "*?") && (version != "2012-10-17" || !strings.Contains(value, "${")) {
					warn("%s takes the * or ? in %q literally; use StringLike for a pattern", c.Operator, value)
				}
			}
		}
		issuer, claim, _ := cutLast(c.Key)
		if claim != "sub" && claim != "aud" || s.notPrincipal || len(s.Principals.Federated) != 1 {
			continue
		}
		if host := providerHost(s.Principals.Federated[0]); host != "" && !strings.EqualFold(host, issuer) {
			warn("the condition key %q is of another issuer than the provider %s, so it is never there", c.Key, host)
		}
	}
}

func (s Statement) tooWide(warn func(string, ...any)) {
	if s.notPrincipal {
		warn("NotPrincipal with Allow lets in everyone else")
		return
	}
	if s.Principals.Anyone || slices.Contains(s.Principals.Federated, "*") {
		warn("the principal is a wildcard: it admits every identity provider")
	}
	vercel := s.Principals.Anyone
	for _, arn := range s.Principals.Federated {
		vercel = vercel || strings.Contains(arn, ":oidc-provider/") || arn == "*"
	}
	if !vercel {
		return
	}
	tested := false
	for _, c := range s.Conditions {
		if _, claim, _ := cutLast(c.Key); !strings.EqualFold(claim, "sub") {
			continue
		}
		o := parseOperator(c.Operator)
		if o.match == nil || o.negated {
			continue
		}
		if o.ifExists || o.set == "ForAllValues" {
			warn("%s passes where %s is missing; use the operator without it", c.Operator, c.Key)
			continue
		}
		tested = true
		if !strings.Contains(c.Operator, "Like") {
			continue
		}
		for _, value := range c.Values {
			if !namesProject(value) {
				warn("the pattern %q admits projects that it does not name", value)
			}
		}
	}
	if !tested {
		warn("no condition on sub: every project and environment of the team can assume the role")
	}
}

// namesProject reports whether a pattern fixes the team and the project. A
// wildcard in the project's name could also reach into what follows it.
func namesProject(pattern string) bool {
	parts, ok := splitSubject(pattern)
	return ok && !strings.ContainsAny(parts[0]+parts[1], "*?")
}
