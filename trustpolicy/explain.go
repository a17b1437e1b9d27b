package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// String explains the result in plain text: each statement with each of its
// tests, what was wanted, what the token has, and whether it held; and after a
// refusal, the lines to change where that can be told.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Decision)
	for i, s := range r.Statements {
		name := fmt.Sprint("statement ", i+1)
		if s.Statement.SID != "" {
			name += fmt.Sprintf(" (%s)", s.Statement.SID)
		}
		fmt.Fprintf(&b, "%s: %s, %s\n", name, s.Statement.Effect, s.applies.applied())
		line(&b, s.Principal, "Principal", s.Statement.Principals.words(s.Statement.notPrincipal), r.request.ProviderARN)
		if s.Action != Held {
			line(&b, s.Action, "Action", strings.Join(slices.Concat(s.Statement.Actions, s.Statement.NotActions), " or "), r.request.Action)
		}
		for _, c := range s.Conditions {
			line(&b, c.Outcome, c.Operator+" "+c.Key, strings.Join(c.Values, " or "), strings.Join(c.Have, ", "))
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

func (p Principals) words(not bool) string {
	all := slices.Concat(p.Federated, p.Others)
	if p.Anyone {
		all = append(all, "*")
	}
	words := strings.Join(all, " or ")
	if not {
		return "anyone but " + words
	}
	return words
}

// Changes returns, for a request that no statement allows, what to change in
// the Allow statement that is closest to it, a sentence for each line. It is
// empty if the request is allowed, explicitly denied, or beyond telling.
func (r Result) Changes() []string {
	if r.Decision != ImplicitDeny {
		return nil
	}
	var closest *StatementResult
	fewest := 0
	for i := range r.Statements {
		s := &r.Statements[i]
		if s.Statement.Effect != "Allow" || s.Action == NotHeld {
			continue
		}
		if n := s.misses(); closest == nil || n < fewest {
			closest, fewest = s, n
		}
	}
	if closest == nil {
		return []string{fmt.Sprintf("add a statement that allows %s to the principal %s", r.request.Action, r.request.ProviderARN)}
	}
	return closest.changes(r.request)
}

func (s *StatementResult) misses() int {
	n := 0
	if s.Principal == NotHeld {
		n++
	}
	for _, c := range s.Conditions {
		if c.Outcome == NotHeld {
			n++
		}
	}
	return n
}

func (s *StatementResult) changes(r Request) []string {
	var out []string
	host := providerHost(r.ProviderARN)
	if s.Principal == NotHeld {
		why := ""
		if other := s.Statement.Principals.Federated; len(other) > 0 {
			why = issuerDifference(host, providerHost(other[0]))
		}
		out = append(out, fmt.Sprintf(`set "Federated": %q%s`, r.ProviderARN, why))
	}
	for _, c := range s.Conditions {
		if c.Outcome != NotHeld {
			continue
		}
		issuer, claim, isClaim := cutLast(c.Key)
		values, known := r.lookup(host + ":" + claim)
		switch {
		case len(c.Have) > 0:
			out = append(out, fmt.Sprintf(`in %s, set %q: %q%s`, c.Operator, c.Key, c.Have[0], valueDifference(claim, c)))
		case isClaim && known && len(values) > 0 && !strings.EqualFold(issuer, host):
			// The condition speaks of another issuer than the token's.
			out = append(out, fmt.Sprintf(`in %s, replace the key %q by %q%s`, c.Operator, c.Key, host+":"+claim, issuerDifference(host, issuer)))
			under := c
			under.Have = values
			if c.test("", values, true) == NotHeld.truth() {
				out = append(out, fmt.Sprintf(`in %s, set %q: %q%s`, c.Operator, host+":"+claim, values[0], valueDifference(claim, under)))
			}
		default:
			out = append(out, fmt.Sprintf(`remove the condition %s on %q: the token has no such value`, c.Operator, c.Key))
		}
	}
	return out
}

func (o Outcome) truth() truth {
	switch o {
	case Held:
		return yes
	case NotHeld:
		return no
	}
	return unknown
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
			return " (StringEquals takes * and ? literally; use StringLike)"
		case best == "" || len(differs) == 1:
			best = " (another " + strings.Join(differs, " and ") + ")"
			if len(differs) == 1 && differs[0] != "environment" {
				best = fmt.Sprintf(" (another %s; if it was renamed, keep both names in a list)", differs[0])
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
