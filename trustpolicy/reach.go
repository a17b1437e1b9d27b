package trustpolicy

import (
	"cmp"
	"slices"
	"strings"
)

// To find out which tokens a policy admits, it is evaluated for many tokens. Their
// names are those in the policy, names that its patterns match, and names that
// are not in it. The form of the conditions does not matter.

// The parts of a subject.
const (
	ownerPart = iota
	projectPart
	environmentPart
)

// subjectForm is the text before each part of a subject.
var subjectForm = []string{"owner:", ":project:", ":environment:"}

// audienceForm is the text before the owner in an audience.
var audienceForm = []string{"https://vercel.com/"}

// anotherEnvironment stands for custom environments that a policy does not
// name.
const anotherEnvironment = "any-custom-environment"

// wellKnown are the environments that each project has, and the example of a
// custom one. See https://vercel.com/docs/deployments/environments.
var wellKnown = []string{"preview", "development", "production", anotherEnvironment}

// Names that no policy has. A policy that admits all of them admits every name.
var (
	anyProjects     = []string{"any-other-project", "q7"}
	anyEnvironments = []string{anotherEnvironment, "q7"}
)

const (
	anyTeam     = "any-other-team"
	anyAudience = "any-audience"
)

// reach says which tokens one Allow statement admits, with every Deny of the
// policy. If it cannot be told whether a token is admitted, it counts as admitted.
type reach struct {
	named        []string // some that get in, of a project and environment that the policy names
	subjects     []string // some others that get in
	environments []string // all that get in, by the first of each

	// A subject each that gets in, or "".
	foreign     string // of an owner whom the policy does not name
	every       string // of any project in any environment
	project     string // of a project that the policy does not name
	environment string // of an environment that it does not name

	everyone  bool     // any owner, project and environment gets in
	vercel    bool     // a token of Vercel gets in
	plain     bool     // one gets in with the audience that Vercel gives
	exchanged []string // audiences that tokens must be exchanged for, to get in
	audience  bool     // one gets in whatever its audience is
	unclear   bool     // there is more to try than the work allows
}

// opening is one Allow statement with every Deny of the policy.
type opening struct {
	document  *Document
	providers []string
	parts     [3]names
	audiences names
	work      *steps

	// What a token says, in place of a map for each.
	keys              map[string]map[string][]string // by provider
	subject, audience []string
}

// opening prepares a statement. A test of sub or aud that depends on more than the
// text, such as a variable, gets an unknown operator, so that it cannot be told
// whether it holds.
func (d *Document) opening(i int, work *steps) *opening {
	s := d.Statements[i]
	o := &opening{document: &Document{Version: d.Version}, work: work, providers: d.providers(s),
		keys: map[string]map[string][]string{}, subject: []string{""}, audience: []string{""}}
	for j, other := range d.Statements {
		if j != i && other.Effect != "Deny" || *work == 0 || !other.covers(Action) {
			continue
		}
		other.Actions, other.NotActions = []string{Action}, nil
		other.Conditions = slices.Clone(other.Conditions)
		for k, c := range other.Conditions {
			claim := claimOf(c.Key)
			if claim != "sub" && claim != "aud" || parseOperator(c.Operator).null() {
				continue
			}
			patterns, ok := d.patterns(c, work)
			if !ok {
				other.Conditions[k].Operator = "" // no operator that is known
			}
			for _, p := range patterns {
				if claim == "sub" {
					o.match(p, p.pattern, subjectForm, ownerPart)
				} else {
					o.match(p, p.pattern, audienceForm, ownerPart)
					o.audiences.add(p)
				}
			}
		}
		o.document.Statements = append(o.document.Statements, other)
	}
	for _, name := range wellKnown {
		o.addEnvironment(name)
	}
	return o
}

// addEnvironment adds to those that are tried an environment that the policy does
// not name.
func (o *opening) addEnvironment(environment string) {
	n := &o.parts[environmentPart]
	n.patterns = append(n.patterns, tracked{appendText(nil, environment), false})
}

// match matches a pattern with the form of a subject in all possible ways, and adds
// the part of the pattern that falls on each name. A name has no colon. A * can
// match several names and the text between them. It reports whether there is a
// match.
func (o *opening) match(p tracked, rest pattern, form []string, part int) bool {
	fits := false
	colon := symbol{char: ':'}
	for _, at := range rest.after(form[0]) {
		if !o.work.spend(len(form[0])) {
			return false
		}
		name := rest[at:]
		if len(form) == 1 {
			if len(name) > 0 && o.work.spend(len(name)) && !slices.Contains(name, colon) {
				o.addName(part, tracked{name, p.fold})
				fits = true
			}
			continue
		}
		for end := range name {
			until := end
			if name[end].kind == anyText {
				until++ // it can end in the name, and reach over what follows
			}
			if until > 0 && o.match(p, name[end:], form[1:], part+1) && o.work.spend(until) {
				o.addName(part, tracked{name[:until], p.fold})
				fits = true
			}
			if name[end] == colon {
				break
			}
		}
	}
	return fits
}

// addName adds the part of a pattern that falls on a name. From a pattern for
// teams or projects it also adds the name in it, such as "acme" from "acme*".
// That name was meant, so a warning should have another one as its example.
func (o *opening) addName(part int, p tracked) {
	o.parts[part].add(p)
	wild := func(s symbol) bool { return s.kind != literal }
	if part != environmentPart && slices.ContainsFunc(p.pattern, wild) {
		if bare := slices.DeleteFunc(slices.Clone(p.pattern), wild); len(bare) > 0 {
			o.parts[part].add(tracked{bare, false})
		}
	}
}

// after returns the places in a pattern that can be reached by matching a text.
func (p pattern) after(text string) []int {
	at := []int{0}
	for i := range len(text) {
		var next []int
		for _, n := range at {
			for n < len(p) && p[n].kind == anyText {
				next = append(next, n)
				n++
			}
			if n < len(p) && (p[n].kind == anyChar || p[n].char == text[i]) {
				next = append(next, n+1)
			}
		}
		slices.Sort(next)
		at = slices.Compact(next)
	}
	return at
}

// patterns returns the patterns of a condition that compares text. It reports
// false if the condition depends on more than the text: on a variable, or as a
// test of another type.
func (d *Document) patterns(c Condition, work *steps) ([]tracked, bool) {
	o := parseOperator(c.Operator)
	e := &evaluation{version: d.Version, work: work}
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
		if !ok || d.variesWith(value) {
			return nil, false
		}
		out = append(out, tracked{slices.Clone(p), fold})
	}
	return out, true
}

// providers are the OIDC providers of a statement. If its principal is everyone,
// they are those of the issuers in the conditions, of the global issuer, and of a
// team that the policy does not name. Their account is that of the policy's other
// providers.
func (d *Document) providers(s Statement) []string {
	if !s.Principals.everyone() {
		return slices.DeleteFunc(slices.Clone(s.Principals.Federated), func(arn string) bool { return providerHost(arn) == "" })
	}
	before := ProviderARN("", "", "")
	out := []string{issuerHost(GlobalIssuer), issuerHost(TeamIssuer(anyTeam))}
	for _, s := range d.Statements {
		for _, arn := range s.Principals.Federated {
			if at, _, ok := strings.Cut(arn, ":oidc-provider/"); ok {
				before = at + ":oidc-provider/"
			}
		}
		for _, c := range s.Conditions {
			if issuer, _, ok := cutLast(c.Key); ok && !notOfToken(c.Key) {
				out = append(out, issuer)
			}
		}
	}
	for i, issuer := range out {
		out[i] = before + issuerHost(issuer)
	}
	return unique(out)
}

// teamOf returns the team whose tokens an issuer issues: "*" for the global
// issuer, and "" if it is not Vercel's. The path is case-sensitive.
func teamOf(issuer string) string {
	global := issuerHost(GlobalIssuer)
	host, team, inTeamMode := strings.Cut(issuer, "/")
	switch {
	case equalFold(host, global) != yes:
		return ""
	case !inTeamMode:
		return "*"
	case !isName(team):
		return ""
	}
	return team
}

// ofTest reports whether a provider is that of a test with an issuer of its own:
// IAM takes no port in a provider's URL. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html.
func ofTest(provider string) bool {
	host := providerHost(provider)
	return strings.Contains(host, ":") && !strings.Contains(host, "://")
}

// isName reports whether s can be the name of a team or project. Their IDs look
// like names, but are in no subject.
func isName(s string) bool {
	return s != "" && !strings.HasPrefix(s, "team_") && !strings.HasPrefix(s, "prj_") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 || !inSlug(byte(r)) })
}

// reach evaluates the statement for the tokens.
func (o *opening) reach() reach {
	var r reach
	list := func(part int, allowed func(byte) bool, more ...string) []string {
		all := append(slices.Clone(more), o.parts[part].all(allowed, o.work)...)
		return unique(slices.DeleteFunc(all, func(name string) bool { return part != environmentPart && !isName(name) }))
	}
	owners := list(ownerPart, inSlug, anyTeam)
	projects := list(projectPart, inSlug, anyProjects...)
	environments := list(environmentPart, inEnvironment, append(slices.Clone(wellKnown), anyEnvironments...)...)
	audiences := append(o.audiences.all(inAudience, o.work), anyAudience)
	for _, provider := range o.providers {
		team, these := teamOf(providerHost(provider)), owners
		if team != "" && team != "*" {
			these = []string{team} // this issuer has no other tokens
		}
		for _, owner := range these {
			every := 0 // of the tokens of any project in any environment
			for _, project := range projects {
				for _, environment := range environments {
					subject := Subject(owner, project, environment)
					if !o.try(&r, provider, team, owner, subject, audiences) {
						continue
					}
					r.vercel = r.vercel || team != "" || ofTest(provider)
					if team == "*" && !o.parts[ownerPart].fixed[owner] {
						r.foreign = cmp.Or(r.foreign, subject)
					}
					if slices.Contains(anyProjects, project) && slices.Contains(anyEnvironments, environment) {
						every++
					}
					if !o.parts[projectPart].fixed[project] {
						r.project = cmp.Or(r.project, subject)
					}
					if !o.parts[environmentPart].fixed[environment] {
						r.environment = cmp.Or(r.environment, subject)
					}
					r.add(subject, environment, o.parts[projectPart].fixed[project] && o.parts[environmentPart].fixed[environment])
				}
			}
			if every == len(anyProjects)*len(anyEnvironments) {
				r.every = cmp.Or(r.every, Subject(owner, anyProjects[0], anyEnvironments[0]))
				r.everyone = r.everyone || owner == anyTeam && team == "*"
			}
		}
	}
	if len(r.environments) == 1 && slices.Contains(wellKnown, r.environments[0]) {
		r.environment = "" // a pattern that leaves one is as good as its name
	}
	r.unclear = *o.work == 0
	return r
}

// mostSubjects bounds how many subjects are returned.
const mostSubjects = 20

func (r *reach) add(subject, environment string, named bool) {
	list := &r.subjects
	if named {
		list = &r.named
	}
	if len(*list) < mostSubjects {
		*list = append(*list, subject)
	}
	if !slices.Contains(r.environments, environment) {
		r.environments = append(r.environments, environment)
	}
}

// try reports whether a token with a subject gets in, or may. Vercel's have the
// audience of their owner; an exchange gives them another, and always the issuer
// of the team. See https://vercel.com/docs/oidc/reference.
func (o *opening) try(r *reach, provider, team, owner, subject string, audiences []string) bool {
	admits := func(audience string) bool { return o.admits(provider, subject, audience) }
	in := admits(Audience(owner))
	r.plain = r.plain || in
	if !in && team != "*" {
		if i := slices.IndexFunc(audiences, admits); i >= 0 {
			in = true
			r.exchanged = unique(append(r.exchanged, audiences[i]))
		}
	}
	r.audience = r.audience || in && admits(anyAudience)
	return in
}

// admits reports whether the policy lets a token in, or may. It is false where no
// work is left.
func (o *opening) admits(provider, subject, audience string) bool {
	if o.keys[provider] == nil {
		host := providerHost(provider)
		o.keys[provider] = map[string][]string{host + ":sub": o.subject, host + ":aud": o.audience}
	}
	o.subject[0], o.audience[0] = subject, audience
	decision := o.document.decide(Request{ProviderARN: provider, Action: Action, Context: o.keys[provider]}, o.work)
	return *o.work > 0 && (decision == Allowed || decision == CannotTell)
}

func unique(all []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(s string) bool {
		twice := seen[s]
		seen[s] = true
		return twice
	})
}
