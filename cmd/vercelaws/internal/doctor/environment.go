package doctor

import (
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// The tokens of two environments differ only in their subject. So a policy can be
// evaluated for an environment without a token of it. A developer has a token of
// development, and asks about production.

// environmentMark is the text before the environment's name in a subject. See
// https://vercel.com/docs/oidc/reference.
const environmentMark = ":environment:"

// inEnvironment returns the subject in an environment.
func inEnvironment(subject, environment string) string {
	i := strings.LastIndex(subject, environmentMark)
	if i < 0 {
		return subject
	}
	return subject[:i+len(environmentMark)] + environment
}

// environmentOf returns the environment that a subject names.
func environmentOf(subject string) (string, bool) {
	i := strings.LastIndex(subject, environmentMark)
	if i < 0 {
		return "", false
	}
	return subject[i+len(environmentMark):], true
}

// purposes are the environments that a policy is for. They come from the subjects
// in its Allow statements, whatever their key, since a key can be mistyped. Subjects
// of other projects are used only if there is none of the token's project: one
// role can serve several. A pattern for any environment gives the token's. Of these
// environments purposes returns those in which the policy admits the token's
// project, or all if it admits it in none.
func (e *examination) purposes(policy *trustpolicy.Document) []string {
	_, subject, _ := e.claims()
	var named, ofOthers []string
	for _, s := range policy.Statements {
		if s.Effect != "Allow" {
			continue
		}
		for _, c := range s.Conditions {
			if negated(c.Operator) || strings.Contains(c.Operator, "Null") {
				continue
			}
			pattern := strings.Contains(c.Operator, "Like")
			for _, value := range c.Values {
				name, ok := environmentOf(value)
				everyName := strings.Trim(name, "*") == ""
				own := sameProject(value, subject, pattern)
				switch {
				case !ok, everyName && !own:
					continue
				case everyName:
					name = e.own()
				case pattern:
					// One that the pattern takes.
					name = strings.NewReplacer("*", "", "?", "x").Replace(name)
				}
				list := &ofOthers
				if own {
					list = &named
				}
				if !slices.Contains(*list, name) {
					*list = append(*list, name)
				}
			}
		}
	}
	if named == nil {
		named = ofOthers
	}
	var admitted []string
	for _, name := range named {
		if e.evaluate(policy, inEnvironment(subject, name)).Allowed() {
			admitted = append(admitted, name)
		}
	}
	if len(admitted) > 0 {
		return admitted
	}
	return named
}

// sameProject reports whether the subject in a policy may be of the project of a
// token's.
func sameProject(value, subject string, pattern bool) bool {
	value, _, _ = strings.Cut(value, environmentMark)
	subject, _, _ = strings.Cut(subject, environmentMark)
	if i := strings.IndexAny(value, "*?"); pattern && i >= 0 {
		return strings.HasPrefix(subject, value[:i])
	}
	return value == subject
}

// shutsOut reports whether an Allow statement excludes the environment by name.
func (e *examination) shutsOut(policy *trustpolicy.Document, environment string) bool {
	_, subject, _ := e.claims()
	for _, s := range policy.Statements {
		for _, c := range s.Conditions {
			if s.Effect != "Allow" || !negated(c.Operator) {
				continue
			}
			for _, value := range c.Values {
				pattern := strings.Contains(c.Operator, "Like")
				name, ok := environmentOf(value)
				if !ok || !sameProject(value, subject, pattern) {
					continue
				}
				fixed, _, open := strings.Cut(name, "*")
				if name == environment || pattern && open && strings.HasPrefix(environment, fixed) {
					return true
				}
			}
		}
	}
	return false
}

// negated reports whether a condition operator holds if its values do not match.
func negated(operator string) bool { return strings.Contains(operator, "Not") }

// own is the environment of the token at hand.
func (e *examination) own() string {
	name, ok := environmentOf(e.token.Subject)
	if !ok {
		return e.token.Environment
	}
	return name
}
