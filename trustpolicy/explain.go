package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// String explains the result in plain text. It has each statement and each of its
// tests: the values in the policy, those of the token, and whether the test held.
// After a refusal follows the advice. Text of a token or policy is quoted if it has
// unusual characters.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Decision)
	for i, s := range r.Statements {
		name := fmt.Sprint("statement ", i+1)
		if s.Statement.SID != "" {
			name += fmt.Sprintf(" (%s)", plain(s.Statement.SID))
		}
		fmt.Fprintf(&b, "%s: %s, %s\n", name, s.Statement.Effect, s.applies.applied())
		line(&b, s.Principal, "Principal", s.Statement.Principals.words(), plain(r.request.ProviderARN))
		if s.Action != Held {
			line(&b, s.Action, s.Statement.actionElement(), plainAll(slices.Concat(s.Statement.Actions, s.Statement.NotActions), " or "), plain(r.request.Action))
		}
		for _, c := range s.Conditions {
			line(&b, c.Outcome, plain(c.Operator)+" "+plain(c.Key), plainAll(c.Values, " or "), plainAll(c.Have, ", "))
		}
	}
	for _, change := range r.Changes() {
		fmt.Fprintf(&b, "to allow it: %s\n", change)
	}
	return b.String()
}

func (t truth) applied() string {
	return [...]string{"does not apply", "may apply", "applies"}[t]
}

func line(b *strings.Builder, o Outcome, what, want, have string) {
	if have == "" {
		have = "nothing"
	}
	if want == have {
		fmt.Fprintf(b, "  %-11s  %s: %s\n", o, what, want)
		return
	}
	fmt.Fprintf(b, "  %-11s  %s\n                 wants  %s\n                 has    %s\n", o, what, want, have)
}

func (p Principals) words() string {
	all := slices.Concat(p.Federated, p.Others)
	if p.Anyone {
		all = append(all, "*")
	}
	for i, other := range all {
		kind, value, ok := strings.Cut(other, ": ")
		if all[i] = plain(other); ok {
			all[i] = plain(kind) + ": " + plain(value)
		}
	}
	return strings.Join(all, " or ")
}

// actionElement is the name of the element that holds the actions.
func (s Statement) actionElement() string {
	if len(s.NotActions) > 0 {
		return "NotAction"
	}
	return "Action"
}

// Changes returns the sentences of [Result.Advice]. It is empty if the decision is
// Allowed or CannotTell.
func (r Result) Changes() []string {
	var out []string
	for _, a := range r.Advice() {
		out = append(out, a.Text)
	}
	return out
}

// issuerDifference says what it means that a policy trusts one issuer and the
// token has another.
func issuerDifference(have, want string) string {
	global := issuerHost(GlobalIssuer)
	switch {
	case have == want:
		return ""
	case want == global && strings.HasPrefix(have, global+"/"):
		return " (the project is in team issuer mode, the policy trusts the global issuer)"
	case have == global && strings.HasPrefix(want, global+"/"):
		return " (the project is in global issuer mode, the policy trusts the team's issuer)"
	case strings.HasPrefix(have, global+"/") && strings.HasPrefix(want, global+"/"):
		return " (the token is of another team, or the team was renamed)"
	}
	return " (the policy trusts another issuer)"
}

// valueDifference says in which part a subject or audience differs.
func valueDifference(claim string, c ConditionResult) string {
	if claim == "aud" {
		return " (the token is for another audience)"
	}
	if claim != "sub" {
		return ""
	}
	have, ok := splitSubject(c.Have[0])
	if !ok {
		return ""
	}
	best := ""
	for _, value := range c.Values {
		want, ok := splitSubject(value)
		if !ok {
			continue
		}
		var differs []string
		for i, part := range [...]string{"team", "project", "environment"} {
			if !like(want[i], have[i]) {
				differs = append(differs, part)
			}
		}
		switch {
		case len(differs) == 0:
			return " (StringEquals takes * and ? literally)"
		case best == "" || len(differs) == 1:
			best = " (another " + strings.Join(differs, " and ") + ")"
			if len(differs) == 1 && differs[0] != "environment" {
				best = fmt.Sprintf(" (another %s; if it was renamed, the list then has both names)", differs[0])
			}
		}
	}
	return best
}

// splitSubject takes owner, project and environment out of a Vercel subject.
func splitSubject(subject string) (parts [3]string, ok bool) {
	rest, ok := strings.CutPrefix(subject, "owner:")
	if !ok {
		return parts, false
	}
	if parts[0], rest, ok = strings.Cut(rest, ":project:"); !ok {
		return parts, false
	}
	parts[1], parts[2], ok = strings.Cut(rest, ":environment:")
	return parts, ok
}

// providerHost is the issuer, without its scheme, that an OIDC provider's ARN
// names.
func providerHost(arn string) string {
	_, host, _ := strings.Cut(arn, ":oidc-provider/")
	return host
}

// cutLast cuts a condition key into issuer and claim. An issuer in tests has a
// port, so the last colon counts.
func cutLast(key string) (issuer, claim string, ok bool) {
	i := strings.LastIndex(key, ":")
	if i < 0 {
		return "", key, false
	}
	return key[:i], key[i+1:], true
}
