package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// anotherEnvironment stands for custom environments that a policy does not
// name.
const anotherEnvironment = "any-custom-environment"

// wellKnown are the environments that each project has, and the example of a
// custom one. See https://vercel.com/docs/deployments/environments.
var wellKnown = []string{"production", "preview", "development", anotherEnvironment}

// ExpectEnvironments returns a warning for each Allow statement that lets in
// tokens of other environments than the given ones, or may. All that its
// patterns admit counts, such as "nonproduction" for "*production", and names
// differ by case. A Deny that keeps them out counts.
func (d *Document) ExpectEnvironments(expected ...string) []Warning {
	var out []Warning
	work := budget
	for i := range d.Statements {
		o := d.opening(i, &work)
		others := o.others(expected)
		switch than := quotedAll(expected, " and "); {
		case o.document == nil:
		case work == 0:
			out = append(out, Warning{i + 1, fmt.Sprintf("it may admit other environments than %s: there are too many patterns to tell", than), High})
		case len(others) > 0:
			out = append(out, Warning{i + 1, fmt.Sprintf("it admits other environments than %s: %s", than, strings.Join(others, ", ")), High})
		}
	}
	return out
}

// mixesEnvironments warns of a role that serves production and environments
// where code runs that nobody has approved.
func (d *Document) mixesEnvironments() []Warning {
	production, other, name := false, 0, ""
	work := budget
	for i := range d.Statements {
		o := d.opening(i, &work)
		production = production || o.admits("production")
		for _, e := range []string{"preview", "development"} {
			if other == 0 && o.admits(e) {
				other, name = i+1, e
			}
		}
	}
	if !production || other == 0 {
		return nil
	}
	return []Warning{{other, fmt.Sprintf("production and %s share this role: a branch that nobody has approved can do what production can", name), Low}}
}

// opening is one Allow statement with every Deny of the policy.
type opening struct {
	document  *Document // nil if it lets no token in
	providers []string
	subjects  []tracked // all patterns that a subject is compared to
	named     []string  // the values of the statement's tests of sub
	audiences []string  // one for each way that a token's aud can be tested
	work      *int
}

// opening takes a statement apart. Tests of sub and aud that texts alone do not
// decide become such that nobody can tell.
func (d *Document) opening(i int, work *int) *opening {
	s := d.Statements[i]
	o := &opening{work: work}
	if !s.allows(Action) {
		return o
	}
	o.document = &Document{Version: d.Version}
	var audiences []tracked
	for j, other := range d.Statements {
		if j != i && other.Effect != "Deny" || *work == 0 {
			continue
		}
		other.Conditions = slices.Clone(other.Conditions)
		for k, c := range other.Conditions {
			claim := claimOf(c.Key)
			if claim != "sub" && claim != "aud" || parseOperator(c.Operator).null() {
				continue
			}
			patterns, ok := d.patterns(c, work)
			switch {
			case !ok:
				other.Conditions[k].Operator = "" // no operator that is known
			case claim == "sub":
				o.subjects = append(o.subjects, patterns...)
			default:
				audiences = append(audiences, patterns...)
			}
			if j == i && claim == "sub" {
				o.named = append(o.named, c.Values...)
			}
		}
		o.document.Statements = append(o.document.Statements, other)
	}
	o.providers = o.document.providers(s)
	(&search{audiences, work}).texts([]part{{name: inAudience}}, func(text string) bool {
		o.audiences = append(o.audiences, text)
		return true
	})
	return o
}

// patterns returns what a condition compares a text to. It reports false where
// that takes more than the text: a variable, or another type.
func (d *Document) patterns(c Condition, work *int) ([]tracked, bool) {
	o := parseOperator(c.Operator)
	e := &evaluation{version: d.Version, work: *work}
	defer func() { *work = e.work }()
	if o.compare == nil || !o.isString() {
		return nil, false
	}
	var out []tracked
	for _, value := range c.Values {
		fold := o.base == "StringEqualsIgnoreCase"
		if fold {
			value = lowerASCII(value)
		}
		p, ok := e.expand(value, o.base == "StringLike")
		if !ok || d.hasVariables() && variesWith(value) {
			return nil, false
		}
		out = append(out, tracked{p, fold})
	}
	return out, true
}

// providers are the OIDC providers of a statement; for everyone, the issuers
// that the conditions are about, the global one, and one that nothing names.
func (d *Document) providers(s Statement) []string {
	if !s.Principals.everyone() {
		return slices.DeleteFunc(slices.Clone(s.Principals.Federated), func(arn string) bool { return providerHost(arn) == "" })
	}
	out := []string{ProviderARN("", "", GlobalIssuer), ProviderARN("", "", TeamIssuer("any-team"))}
	for _, s := range d.Statements {
		for _, c := range s.Conditions {
			issuer, _, ok := cutLast(c.Key)
			if arn := ProviderARN("", "", issuer); ok && !notOfToken(c.Key) && !slices.Contains(out, arn) {
				out = append(out, arn)
			}
		}
	}
	return out
}

// others names the environments that come in beside the expected ones, as long
// as there is work left.
func (o *opening) others(expected []string) []string {
	if o.document == nil {
		return nil
	}
	var out []string
	custom := "" // an example of those that the policy does not name
	for _, name := range wellKnown {
		if slices.Contains(expected, name) || !o.admits(name) {
			continue
		}
		if name == anotherEnvironment {
			custom = name
			continue
		}
		out = append(out, quoted(name))
	}
	except := append(slices.Clone(wellKnown), expected...)
	minded := slices.Clone(o.subjects)
	for _, name := range except {
		p := pattern{{kind: anyText}}
		for _, c := range []byte(":environment:" + name) {
			p = append(p, symbol{char: c})
		}
		minded = append(minded, tracked{p, false})
	}
	(&search{minded, o.work}).texts(subjectOf(part{name: inName}), func(subject string) bool {
		_, environment, _ := cutLast(subject)
		named := slices.ContainsFunc(o.named, func(value string) bool { return strings.HasSuffix(value, ":environment:"+environment) })
		if slices.Contains(except, environment) || !named && custom != "" || !o.admitsSubject(subject) {
			return true
		}
		if !named {
			custom = environment
		} else if name := quoted(environment); !slices.Contains(out, name) {
			out = append(out, name)
		}
		return true
	})
	// No name has a colon. A policy that names one is told of all the same.
	for _, value := range o.named {
		parts, ok := splitSubject(value)
		if ok && strings.Contains(parts[2], ":") && !slices.Contains(expected, parts[2]) && o.admitsSubject(value) {
			out = append(out, quoted(parts[2]))
		}
	}
	switch custom {
	case "":
	case anotherEnvironment:
		out = append(out, "custom ones")
	default:
		out = append(out, "custom ones such as "+quoted(custom))
	}
	return out
}

// subjectOf is the form of all subjects of an environment.
func subjectOf(environment part) []part {
	return []part{{fixed: "owner:"}, {name: inName}, {fixed: ":project:"}, {name: inName}, {fixed: ":environment:"}, environment}
}

// admits reports whether a token of an environment passes, or may. What would
// take too much work may.
func (o *opening) admits(environment string) bool {
	if o.document == nil {
		return false
	}
	admitted := false
	(&search{o.subjects, o.work}).texts(subjectOf(part{fixed: environment}), func(subject string) bool {
		admitted = o.admitsSubject(subject)
		return !admitted
	})
	return admitted || *o.work == 0
}

// admitsSubject reports whether a token with a subject passes, or may.
func (o *opening) admitsSubject(subject string) bool {
	for _, provider := range o.providers {
		for _, audience := range o.audiences {
			request := Request{ProviderARN: provider, Context: ConditionContext(providerHost(provider), subject, []string{audience})}
			decision := o.document.evaluate(request, o.work).Decision
			if decision == Allowed || decision == CannotTell {
				return true
			}
		}
	}
	return *o.work == 0
}
