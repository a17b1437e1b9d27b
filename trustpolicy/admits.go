package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// Reach says which of Vercel's tokens a policy admits. If it cannot be told
// whether the policy admits a token, the token counts as admitted.
type Reach struct {
	// Subjects are the subjects of tokens that get in: first those whose project
	// and environment the policy names, then examples of others. There are at
	// most 20.
	Subjects []string

	// Exchanged is set if no token gets in with the audience that Vercel gives
	// it. Then it has the audiences for which a token must be exchanged. See
	// https://vercel.com/docs/oidc/reference.
	Exchanged []string

	// Nobody is empty if a token of Vercel gets in. Otherwise it says why none
	// does, in a warning for each Allow statement, or in one for the policy. The
	// severity is High. An issuer with a port, as tests have, counts as Vercel's.
	Nobody []Warning
}

// Reach evaluates the policy for many tokens of Vercel. Their names are those in
// the policy, names that its patterns match, and names that are not in it.
func (d *Document) Reach() Reach {
	var out Reach
	work := budget
	plain, in := false, false
	var named, others []string
	for i, s := range d.Statements {
		if !s.allows(Action) {
			continue
		}
		r := d.opening(i, &work).reach()
		in = in || r.vercel || r.unclear
		plain = plain || r.plain
		out.Exchanged = unique(append(out.Exchanged, r.exchanged...))
		if r.vercel {
			named, others = append(named, r.named...), append(others, r.subjects...)
		}
	}
	out.Subjects = unique(append(named, others...))
	out.Subjects = out.Subjects[:min(len(out.Subjects), mostSubjects)]
	if plain {
		out.Exchanged = nil
	}
	if !in {
		out.Nobody = d.nobody()
	}
	return out
}

// nobody says for each Allow statement why it lets no token of Vercel in.
func (d *Document) nobody() (out []Warning) {
	for i, s := range d.Statements {
		if s.Effect == "Allow" && (len(s.Principals.Federated) > 0 || s.Principals.everyone()) {
			out = append(out, Warning{i + 1, d.whyNobody(i), High})
		}
	}
	if out == nil {
		out = []Warning{{0, "no Allow statement has an identity provider as principal", High}}
	}
	return out
}

func (d *Document) whyNobody(i int) string {
	s := d.Statements[i]
	o := d.opening(i, fullBudget())
	team, host := "", ""
	for _, arn := range o.providers {
		host = providerHost(arn)
		if team = teamOf(host); team != "" {
			break
		}
	}
	switch {
	case !s.covers(Action):
		return fmt.Sprintf("its %s is %s, and a token is exchanged by %s", s.actionElement(), quotedAll(slices.Concat(s.Actions, s.NotActions), " or "), Action)
	case team == "" && !s.Principals.everyone() && !slices.ContainsFunc(o.providers, ofTest):
		return fmt.Sprintf("its provider %s is not Vercel's%s: the URL is %s/<team>, or %s in global mode", quoted(host), placeholder(host), issuerHost(GlobalIssuer), issuerHost(GlobalIssuer))
	}
	alone := func(s Statement) bool {
		one := *o
		one.work = fullBudget()
		one.document = &Document{Version: d.Version, Statements: []Statement{s}}
		r := one.reach()
		return r.vercel || r.unclear
	}
	only := o.document.Statements[slices.IndexFunc(o.document.Statements, func(s Statement) bool { return s.Effect == "Allow" })]
	if alone(only) {
		return "a Deny takes all that it allows"
	}
	var all []string
	for k, c := range s.Conditions {
		one := only
		one.Conditions = only.Conditions[k : k+1]
		if !alone(one) {
			return c.whyNever(host, team)
		}
		all = append(all, fmt.Sprintf("%s of %s", plain(c.Operator), quoted(c.Key)))
	}
	return "its conditions exclude each other: " + strings.Join(all, ", ")
}

// whyNever says why a condition holds for no token of an issuer.
func (c Condition) whyNever(host, team string) string {
	test := fmt.Sprintf("%s of %s wants %s", plain(c.Operator), quoted(c.Key), quotedAll(c.Values, " or "))
	if why := c.wrongKey(host); why != "" {
		return why
	}
	o, claim := parseOperator(c.Operator), claimOf(c.Key)
	switch {
	case o.null():
		return test + ", and every token has it"
	case claim == "aud" && o.isString() && !o.negated:
		return fmt.Sprintf("%s, and tokens have %s", test, quoted(Audience(strings.Replace(team, "*", "<team>", 1))))
	case claim != "sub" || !o.isString() || o.negated || len(c.Values) == 0:
		return test + ", and no token has that"
	}
	var why []string
	for _, value := range c.Values[:min(len(c.Values), 5)] {
		why = append(why, fmt.Sprintf("%s %s", quoted(value), notASubject(value, o, team)))
	}
	return strings.Join(why, "; ")
}

// notASubject says why a value of a test of sub admits no subject of Vercel.
func notASubject(value string, o operator, team string) string {
	const form = "owner:<team>:project:<project>:environment:<environment>"
	rest, ok := strings.CutPrefix(value, subjectForm[ownerPart])
	owner, _, _ := strings.Cut(rest, ":")
	parts, whole := splitSubject(value)
	upper := func(s string) bool { return s != strings.ToLower(s) }
	switch {
	case strings.HasPrefix(value, "repo:"):
		return "is of GitHub's form; Vercel's subjects are " + form
	case placeholder(value) != "":
		return "is no subject" + placeholder(value)
	case o.base == "StringEquals" && strings.ContainsAny(value, "*?"):
		return "is taken literally by " + o.base + "; use StringLike for a pattern"
	case strings.HasPrefix(owner, "team_"), strings.HasPrefix(parts[projectPart], "prj_"):
		return "has an ID where Vercel's subjects have the name"
	case ok && upper(owner), upper(parts[projectPart]):
		return "has upper case, and names of teams and projects are in lower case"
	case ok && team != "*" && !like(owner, team):
		return fmt.Sprintf("is of another owner than the provider's team, %s", quoted(team))
	case !whole:
		return "is not of the form of Vercel's subjects, " + form
	}
	return "names no project and environment that can be"
}

// placeholder says that a text still has the placeholder of an example.
func placeholder(s string) string {
	if strings.ContainsAny(s, "[]<>{}") || strings.Contains(s, "TEAM_") || strings.Contains(s, "YOUR") {
		return ": it has a placeholder of an example"
	}
	return ""
}
