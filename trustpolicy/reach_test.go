package trustpolicy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wide makes policies whose patterns reach over the parts of a subject.
type wide struct {
	generator
	values []string // of the last policy
}

func (w *wide) subject() string {
	return Subject(w.one("acme", "apex", "acme-corp"), w.one("web", "shop", "api"), w.one("production", "preview", "staging"))
}

func (w *wide) blur(text string) string {
	for range 1 + w.IntN(3) {
		from := w.IntN(len(text))
		to := min(len(text), from+w.IntN(14))
		switch w.IntN(5) {
		case 0:
			text = text[:from] + "?" + text[min(len(text), from+1):]
		case 1:
			text = text[:from] + "*"
		case 2:
			text = "*" + text[to:]
		default:
			text = text[:from] + "*" + text[to:]
		}
	}
	return text
}

func (w *wide) condition(host string) Condition {
	c := Condition{Key: host + ":sub"}
	if w.chance(35) {
		c.Operator = w.one("StringEquals", "StringEquals", "StringLike", "ForAnyValue:StringEquals", "StringNotEquals", "StringEqualsIfExists")
		c.Key = host + ":aud"
		c.Values = []string{w.one(Audience("acme"), Audience("acme"), Audience("apex"), "*", "https://vercel.com/*", "https://vercel.com/acme*", "https://sts.amazonaws.com", "${"+host+":aud}")}
	} else {
		c.Operator = w.one("StringLike", "StringLike", "StringLike", "StringEquals", "StringEquals", "StringNotLike", "StringNotEquals", "ForAnyValue:StringLike", "StringLikeIfExists", "StringEqualsIgnoreCase", "Null")
		for range 1 + w.IntN(3) {
			value := w.subject()
			if strings.Contains(c.Operator, "Like") && w.chance(85) {
				value = w.blur(value)
			}
			if w.chance(3) {
				value = w.one("${"+host+":sub}", "*", "owner:*", "repo:acme/web:*")
			}
			c.Values = append(c.Values, value)
		}
		if c.Operator == "Null" {
			c.Values = []string{w.one("true", "false", "false")}
		}
	}
	w.values = append(w.values, c.Values...)
	return c
}

func (w *wide) policy(host string) *Document {
	w.values = nil
	d := &Document{Version: w.one("2012-10-17", "2012-10-17", "2008-10-17")}
	for i := range 1 + w.IntN(3) {
		s := Statement{Effect: w.one("Allow", "Allow", "Deny"), Principals: Principals{Federated: []string{ProviderARN("", account, host)}}, Actions: []string{w.one(Action, Action, "sts:*")}}
		if i == 0 {
			s.Effect = "Allow"
		}
		if w.chance(8) {
			s.Principals = Principals{Anyone: true}
		}
		for range w.IntN(4) {
			s.Conditions = append(s.Conditions, w.condition(host))
		}
		d.Statements = append(d.Statements, s)
	}
	return d
}

// token is a subject that the policy's patterns may fit.
func (w *wide) token() (owner, project, environment string) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[w.IntN(len(letters))]
		}
		return string(b)
	}
	owner = w.one("evil", "corp", "xcorp", "acmex", "acme", "apex", word(1+w.IntN(6)))
	project = w.one("web", "shop", "api", word(1+w.IntN(3)))
	environment = w.one("production", "preview", "staging", "development", word(1+w.IntN(4)))
	if len(w.values) == 0 || w.chance(40) {
		return owner, project, environment
	}
	var b strings.Builder
	for _, c := range []byte(w.values[w.IntN(len(w.values))]) {
		switch c {
		case '*':
			b.WriteString(word(w.IntN(5)))
		case '?':
			b.WriteString(word(1))
		default:
			b.WriteByte(c)
		}
	}
	if parts, ok := splitSubject(b.String()); ok && isName(parts[0]) && isName(parts[1]) && isName(strings.ToLower(parts[2])) {
		return parts[0], parts[1], parts[2]
	}
	return owner, project, environment
}

// names reports whether a value of the policy has a name as a whole part, when
// its wildcards are left out, or are colons.
func (w *wide) names(part, name string) bool {
	return slices.ContainsFunc(w.values, func(value string) bool {
		value = strings.ToLower(value)
		bare, apart := strings.NewReplacer("*", "", "?", "").Replace(value), strings.NewReplacer("*", ":", "?", ":").Replace(value)
		return strings.Contains(":"+bare+":"+apart+":", ":"+name+":") || part == "owner" && bare == Audience(name)
	})
}

// TestWhatGetsInIsTold holds Warnings and Reach to Evaluate, which the reference
// holds to IAM's pages: another customer's token that gets in is critical, and a
// policy of which they say that it admits nobody admits none of the tokens. No
// alarm is without a token that it names.
func TestWhatGetsInIsTold(t *testing.T) {
	t.Parallel()
	w := &wide{generator: generator{rand.New(rand.NewPCG(7, 21))}}
	seen := map[string]int{}
	for range 1_500 {
		issuer := w.one(GlobalIssuer, GlobalIssuer, TeamIssuer("acme"))
		d := w.policy(issuerHost(issuer))
		warnings, reach := d.Warnings(), d.Reach()
		worst := Severity(-1)
		for _, warning := range warnings {
			worst = max(worst, warning.Severity)
		}
		decide := func(owner, subject, audience string) Decision {
			return d.Evaluate(Request{ProviderARN: ProviderARN("", account, issuer), Context: ConditionContext(issuer, subject, []string{audience})}).Decision
		}
		foreign, unnamed := false, false
		for range 80 {
			owner, project, environment := w.token()
			if issuer != GlobalIssuer {
				owner = "acme"
			}
			subject := Subject(owner, project, environment)
			if decide(owner, subject, Audience(owner)) != Allowed {
				continue
			}
			require.Empty(t, reach.Nobody, "%s gets in\n%s", subject, d)
			foreign = foreign || issuer == GlobalIssuer && !w.names("owner", owner)
			unnamed = unnamed || !w.names("project", project)
			if foreign {
				require.Equal(t, Critical, worst, "%s gets in\n%s\n%v", subject, d, warnings)
			}
			if unnamed {
				require.GreaterOrEqual(t, worst, Medium, "%s gets in\n%s\n%v", subject, d, warnings)
			}
		}
		for _, warning := range warnings {
			_, example, ok := strings.Cut(warning.Message, "customers of Vercel can assume the role, such as ")
			if !ok {
				continue
			}
			example = strings.Trim(example, `"`)
			parts, _ := splitSubject(example)
			require.False(t, w.names("owner", parts[0]), "%s\n%s", warning, d)
			if !strings.Contains(fmt.Sprint(w.values), "${") {
				require.Equal(t, Allowed, decide(parts[0], example, Audience(parts[0])), "%s\n%s", warning, d)
			}
			seen["an example that gets in"]++
		}
		switch {
		case len(reach.Nobody) > 0:
			seen["nobody"]++
		case foreign:
			seen["foreign"]++
		case unnamed:
			seen["unnamed"]++
		default:
			seen["other"]++
		}
	}
	t.Log(seen)
	for _, what := range []string{"nobody", "foreign", "unnamed", "other", "an example that gets in"} {
		require.Greater(t, seen[what], 80, what)
	}
}

// TestSameReachSameSeverity compares policies that admit the same of each
// other's probes and witnesses: whatever their form, they are as severe.
func TestSameReachSameSeverity(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(7, 22))}
	sub := func(host string) []Condition {
		var out []Condition
		for range 1 + g.IntN(2) {
			switch g.IntN(7) {
			case 0:
				out = append(out, Condition{g.one("StringLike", "ForAnyValue:StringLike"), host + ":sub", []string{g.one("*", "owner:*", "owner:acme:*", "owner:acme*", "owner:*:project:*:environment:*", "owner:acme:project:*", "owner:*:environment:*", "*:project:*")}})
			case 1:
				out = append(out, Condition{"StringLike", host + ":sub", []string{g.one("owner:acme:project:web:*", "owner:acme:project:web:environment:*", "owner:*:project:web:*", "*:project:web:environment:*")}})
			case 2:
				out = append(out, Condition{"StringLike", host + ":sub", []string{g.one("owner:acme:*:production", "owner:acme:project:*:environment:production", "*:environment:production", "owner:acme*:environment:production")}})
			case 3:
				out = append(out, Condition{"StringLike", host + ":sub", []string{g.one("*:project:web:environment:production", "owner:*:project:web:environment:production", webProd)}})
			case 4:
				out = append(out, Condition{g.one("StringEquals", "ForAnyValue:StringEquals"), host + ":sub", []string{webProd}})
			case 5:
				out = append(out, Condition{"StringNotLike", host + ":sub", []string{g.one("owner:evil:*", "repo:*")}})
			}
		}
		return out
	}
	policies := map[string][]*Document{}
	for range 1_200 {
		host := g.one("oidc.vercel.com", "oidc.vercel.com/acme")
		s := Statement{Effect: "Allow", Principals: Principals{Federated: []string{ProviderARN("", account, host)}}, Actions: []string{Action}, Conditions: sub(host)}
		if g.chance(70) {
			s.Conditions = append(s.Conditions, Condition{"StringLike", host + ":aud", []string{g.one(Audience("acme"), Audience("acme"), "https://vercel.com/*")}})
		}
		policies[host] = append(policies[host], &Document{Version: "2012-10-17", Statements: []Statement{s}})
	}
	admits := func(host string, owners, projects, environments []string, d *Document) string {
		work := 100 * budget
		o := d.opening(0, &work)
		var b strings.Builder
		for _, owner := range owners {
			for _, project := range projects {
				for _, environment := range environments {
					for _, audience := range []string{Audience(owner), anyAudience, "https://sts.amazonaws.com"} {
						fmt.Fprint(&b, o.admits(ProviderARN("", account, host), Subject(owner, project, environment), audience), " ")
					}
				}
			}
		}
		return b.String()
	}
	witnesses := func(d *Document, part int) []string {
		work := budget
		return d.opening(0, &work).parts[part].all(inSlug, &work)
	}
	alike, forms := 0, map[string]bool{}
	for host, list := range policies {
		groups := map[string][]*Document{}
		for _, d := range list {
			key := admits(host, []string{"acme", anyTeam}, append(slices.Clone(anyProjects), "web"), wellKnown, d)
			groups[key] = append(groups[key], d)
		}
		for _, group := range groups {
			for i, d := range group[1:] {
				other := group[i]
				both := func(part int, more ...string) []string {
					return unique(append(append(more, witnesses(d, part)...), witnesses(other, part)...))
				}
				owners := both(ownerPart, "acme", anyTeam)
				if host != "oidc.vercel.com" {
					owners = []string{"acme"}
				}
				projects, environments := both(projectPart, anyProjects...), both(environmentPart, append(slices.Clone(wellKnown), anyEnvironments...)...)
				if admits(host, owners, projects, environments, d) != admits(host, owners, projects, environments, other) {
					continue
				}
				worst := func(d *Document) string {
					if all := d.Warnings(); len(all) > 0 {
						return all[0].Severity.String()
					}
					return "ok"
				}
				require.Equal(t, worst(d), worst(other), "%s\n%s", d, other)
				if d.String() != other.String() {
					alike++
					forms[worst(d)] = true
				}
			}
		}
	}
	t.Log(alike, "pairs of two forms that admit the same, of severities", forms)
	assert.Greater(t, alike, 300)
	assert.GreaterOrEqual(t, len(forms), 4)
}

// What a policy of a kilobyte costs in memory is bounded, however its patterns
// are made.
func TestReachTakesLittleMemory(t *testing.T) {
	repeat := func(n int, format string, of func(i int) []any) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf(format, of(i)...))
		}
		return out
	}
	for name, values := range map[string][]string{
		"stars":         {"owner:acme:*a*b*c*d*e*f*g*h*i*j*k*l*m*n*o*p*q*r*s*t*u*v*w*x*y*z*"},
		"marks":         {"*a????????????????????????:environment:production"},
		"marks in both": {"*a?????????????????????:environment:*a?????????????????????", "owner:*b?????????????????????:environment:*b?????????????????????"},
		"many":          repeat(18, "owner:acme:project:*%c*%c*:environment:*%c*", func(i int) []any { return []any{'a' + i, 'b' + i, 'c' + i} }),
		"lots":          repeat(18, "owner:acme:project:w%d*:environment:*%c*", func(i int) []any { return []any{i, 'c' + i} }),
		"exact":         repeat(18, "owner:acme:project:w%d:environment:production", func(i int) []any { return []any{i} }),
	} {
		text, err := json.Marshal(values)
		require.NoError(t, err)
		d := mustParse(t, allowIf(`"StringLike":{"oidc.vercel.com/acme:sub":`+string(text)+`}`))
		for what, f := range map[string]func(){
			"ExpectEnvironments": func() { d.ExpectEnvironments("production") },
			"Warnings":           func() { d.Warnings() },
			"Reach":              func() { d.Reach() },
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f()
			runtime.ReadMemStats(&after)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(12<<20), "%s of %s", what, name)
		}
	}
}

// What fits IAM's largest quota can be told, however its subjects are written.
func TestWhatIAMTakesCanBeTold(t *testing.T) {
	for name, format := range map[string]string{
		"exact": "owner:acme:project:project-%02d:environment:production", "environments": "owner:acme:project:project-%02d:environment:*",
		"projects": "owner:acme:project:project-%02d-*:environment:production", "both": "owner:acme:project:p%02d-*:environment:prod*", "any owner": "*:project:project-%02d:environment:*",
	} {
		for _, operator := range []string{"StringLike", "ForAnyValue:StringLike"} {
			var subjects, statements []string
			for i := range 60 {
				subjects = append(subjects, fmt.Sprintf(format, i))
			}
			for i := range 10 {
				statements = append(statements, statement("Allow", fmt.Sprintf(`%q:{"oidc.vercel.com/acme:sub":["%s"]},"StringEquals":{"oidc.vercel.com/acme:aud":"https://vercel.com/acme"}`, operator, strings.Join(subjects[6*i:6*i+6], `","`))))
			}
			for _, text := range []string{policy(statements...), allowIf(fmt.Sprintf(`%q:{"oidc.vercel.com/acme:sub":["%s"]}`, operator, strings.Join(subjects, `","`)))} {
				d := mustParse(t, text)
				told := fmt.Sprint(d.Warnings(), d.ExpectEnvironments("production"), d.Reach().Nobody)
				assert.NotContains(t, told, "too many", "%s %s", name, operator)
			}
		}
	}
}

// Advice and String take work in proportion to a policy's statements.
func TestAdviceIsLinearInStatements(t *testing.T) {
	allocations := func(statements int) float64 {
		d := mustParse(t, policy(strings.Repeat(statement("Allow", `"StringEquals":{"oidc.vercel.com/acme:sub":"x"}`)+",", statements)+statement("Deny", `"StringEquals":{"oidc.vercel.com/acme:sub":"x"}`)))
		result := d.Evaluate(request())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		result.Advice()
		_ = result.String()
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc - before.TotalAlloc)
	}
	few, many := allocations(40), allocations(400)
	assert.Less(t, many, 20*few, "ten times the statements")
}

// One statement for tokens as they come is enough: then none has to be exchanged.
func TestReachNeedsNoExchange(t *testing.T) {
	conditions := func(audience string) string {
		return `"StringEquals":{"oidc.vercel.com/acme:sub":"` + webProd + `","oidc.vercel.com/acme:aud":"` + audience + `"}`
	}
	exchanged := statement("Allow", conditions("https://sts.amazonaws.com"))
	assert.Equal(t, []string{"https://sts.amazonaws.com"}, mustParse(t, policy(exchanged)).Reach().Exchanged)
	assert.Empty(t, mustParse(t, policy(exchanged, statement("Allow", conditions(Audience("acme"))))).Reach().Exchanged)
}
