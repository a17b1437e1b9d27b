package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// anotherEnvironment stands for custom environments that a policy does not
// name.
const anotherEnvironment = "any-custom-environment"

// ExpectEnvironments returns a warning for each Allow statement that lets in
// tokens of other environments than the given ones, or may. A Deny that keeps
// them out counts.
func (d *Document) ExpectEnvironments(expected ...string) []Warning {
	var out []Warning
	work := budget
	for i := range d.Statements {
		var others []string
		for _, name := range d.environments(i, &work) {
			if !slices.Contains(expected, name) {
				others = append(others, environmentWords(name))
			}
		}
		if len(others) > 0 {
			out = append(out, Warning{i + 1, fmt.Sprintf("it admits other environments than %s: %s", quotedAll(expected, " and "), strings.Join(others, ", ")), High})
		}
	}
	return out
}

func environmentWords(name string) string {
	if name == anotherEnvironment {
		return "custom ones"
	}
	return quoted(name)
}

// mixesEnvironments warns of a role that serves production and environments
// where code runs that nobody has approved.
func (d *Document) mixesEnvironments() []Warning {
	production, other, name := false, 0, ""
	work := budget
	for i := range d.Statements {
		admitted := d.environments(i, &work)
		production = production || slices.Contains(admitted, "production")
		for _, e := range []string{"preview", "development"} {
			if other == 0 && slices.Contains(admitted, e) {
				other, name = i+1, e
			}
		}
	}
	if !production || other == 0 {
		return nil
	}
	return []Warning{{other, fmt.Sprintf("production and %s share this role: a branch that nobody has approved can do what production can", name), Low}}
}

// environments returns the environments whose tokens statement i lets in, or
// may. It tries tokens made from the statement's own values.
func (d *Document) environments(i int, work *int) []string {
	s := d.Statements[i]
	if !s.allows(Action) {
		return nil
	}
	alone := &Document{Version: d.Version}
	for j, other := range d.Statements {
		if j == i || other.Effect == "Deny" {
			alone.Statements = append(alone.Statements, other)
		}
	}
	names := []string{"production", "preview", "development", anotherEnvironment}
	var subjects []string
	audiences := []string{""}
	for _, c := range s.Conditions {
		for _, value := range c.Values {
			value = strings.NewReplacer("${*}", "*", "${?}", "?", "${$}", "$").Replace(value)
			switch claimOf(c.Key) {
			case "sub":
				subjects = append(subjects, value)
				if _, environment, ok := strings.Cut(value, ":environment:"); ok && !strings.ContainsAny(environment, "*?$") && !slices.Contains(names, environment) {
					names = append(names, environment)
				}
			case "aud":
				audiences = append(audiences, example(value, ""))
			}
		}
	}
	subjects = append(subjects, "*")
	var out []string
	for _, name := range names {
		if alone.admitsEnvironment(s, name, subjects, audiences, work) {
			out = append(out, name)
		}
	}
	return out
}

// admitsEnvironment reports whether a token of an environment passes, or may.
// What would take too much work may.
func (d *Document) admitsEnvironment(s Statement, name string, subjects, audiences []string, work *int) bool {
	for _, provider := range s.providers() {
		for _, pattern := range subjects {
			issuer := providerHost(provider)
			subject := exampleSubject(pattern, issuer, name)
			for _, audience := range audiences {
				if audience == "" {
					parts, _ := splitSubject(subject)
					audience = Audience(parts[0])
				}
				result := d.evaluate(Request{ProviderARN: provider, Context: ConditionContext(issuer, subject, []string{audience})}, work)
				if result.Decision == Allowed || result.Decision == CannotTell || *work == 0 {
					return true
				}
			}
		}
	}
	return false
}

// providers are the OIDC providers of a statement; for everyone, those that
// its conditions are about.
func (s Statement) providers() []string {
	if !s.Principals.everyone() {
		return s.Principals.Federated
	}
	out := []string{ProviderARN("", "", GlobalIssuer)}
	for _, c := range s.Conditions {
		if issuer, _, ok := cutLast(c.Key); ok && claimOf(c.Key) == "sub" {
			out = append(out, ProviderARN("", "", issuer))
		}
	}
	return out
}

// exampleSubject makes a subject of an environment that a pattern might admit.
func exampleSubject(pattern, issuer, environment string) string {
	before, _, _ := strings.Cut(pattern, ":environment:")
	owner, project, _ := strings.Cut(strings.TrimPrefix(before, "owner:"), ":project:")
	owner, _, _ = strings.Cut(owner, ":")
	_, team, _ := strings.Cut(issuer, "/")
	if strings.Trim(owner, "*?") == "" {
		owner = team
	}
	return Subject(example(owner, "any-team"), example(project, "any-project"), environment)
}

// example replaces wildcards by a text that they match.
func example(pattern, otherwise string) string {
	if strings.Trim(pattern, "*?") == "" {
		return otherwise
	}
	return strings.NewReplacer("*", "x", "?", "x").Replace(pattern)
}
