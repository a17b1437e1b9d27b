package trustpolicy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// This file is a second evaluator, written from the pages of the IAM user guide
// and for reading only: it works on the JSON itself and takes no code from the
// package. Answers are "yes", "no" and "maybe".

func refNot(a string) string {
	return map[string]string{"yes": "no", "no": "yes", "maybe": "maybe"}[a]
}

func refAll(answers []string) string {
	for _, wanted := range []string{"no", "maybe"} {
		if slices.Contains(answers, wanted) {
			return wanted
		}
	}
	return "yes"
}

func refAny(answers []string) string {
	for _, wanted := range []string{"yes", "maybe"} {
		if slices.Contains(answers, wanted) {
			return wanted
		}
	}
	return "no"
}

func refBool(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func refList(v any) []string {
	switch v := v.(type) {
	case []any:
		out := []string{}
		for _, one := range v {
			out = append(out, fmt.Sprint(one))
		}
		return out
	case nil:
		return nil
	}
	return []string{fmt.Sprint(v)}
}

func refDecide(policy map[string]any, r Request) Decision {
	version, _ := policy["Version"].(string)
	statements, ok := policy["Statement"].([]any)
	if !ok {
		statements = []any{policy["Statement"]}
	}
	allow, deny := []string{}, []string{}
	for _, s := range statements {
		s := s.(map[string]any)
		answer := refStatement(version, s, r)
		if s["Effect"] == "Allow" {
			allow = append(allow, answer)
		} else {
			deny = append(deny, answer)
		}
	}
	switch {
	case refAny(deny) == "yes":
		return ExplicitDeny
	case refAny(allow) == "no":
		return ImplicitDeny
	case refAny(allow) == "yes" && refAny(deny) == "no":
		return Allowed
	}
	return CannotTell
}

func refStatement(version string, s map[string]any, r Request) string {
	var answers []string
	switch p := s["Principal"].(type) {
	case string:
		answers = append(answers, "yes") // "*"
	case map[string]any:
		answers = append(answers, refBool(slices.Contains(refList(p["AWS"]), "*") || slices.Contains(refList(p["Federated"]), r.ProviderARN)))
	}
	matches := func(patterns any) bool {
		for _, p := range refList(patterns) {
			if refGlob(strings.ToLower(p)).MatchString("sts:assumerolewithwebidentity") {
				return true
			}
		}
		return false
	}
	if s["Action"] != nil {
		answers = append(answers, refBool(matches(s["Action"])))
	} else {
		answers = append(answers, refBool(!matches(s["NotAction"])))
	}
	conditions, _ := s["Condition"].(map[string]any)
	for operator, keys := range conditions {
		for key, wants := range keys.(map[string]any) {
			have, known := refHave(r, key)
			if !known {
				answers = append(answers, "maybe")
				continue
			}
			answers = append(answers, refCondition(version, operator, refList(wants), have, r))
		}
	}
	return refAll(answers)
}

func refHave(r Request, key string) ([]string, bool) {
	for name, values := range r.Context {
		if strings.EqualFold(name, key) {
			return values, true
		}
	}
	lower := strings.ToLower(key)
	return nil, !strings.HasPrefix(lower, "aws:") && !strings.HasPrefix(lower, "sts:")
}

var refGlobs sync.Map // of *regexp.Regexp by pattern

func refGlob(pattern string) *regexp.Regexp {
	if known, ok := refGlobs.Load(pattern); ok {
		return known.(*regexp.Regexp)
	}
	glob := regexp.MustCompile(`(?s)\A` + strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern)) + `\z`)
	refGlobs.Store(pattern, glob)
	return glob
}

var refOperators = map[string]func(want, have string) string{
	"StringEquals":           func(want, have string) string { return refBool(want == have) },
	"StringEqualsIgnoreCase": func(want, have string) string { return refBool(strings.EqualFold(want, have)) },
	"StringLike":             func(want, have string) string { return refBool(refGlob(want).MatchString(have)) },
	"ArnLike":                refARN,
	"ArnEquals":              refARN,
	"Bool": func(want, have string) string {
		w, werr := strconv.ParseBool(strings.ToLower(want))
		h, herr := strconv.ParseBool(strings.ToLower(have))
		if werr != nil || herr != nil || len(want) < 4 || len(have) < 4 {
			return "maybe"
		}
		return refBool(w == h)
	},
	"IpAddress": func(want, have string) string {
		if !strings.Contains(want, "/") {
			want += map[bool]string{true: "/128", false: "/32"}[strings.Contains(want, ":")]
		}
		_, network, err := net.ParseCIDR(want)
		address := net.ParseIP(have)
		if err != nil || address == nil {
			return "maybe"
		}
		return refBool(network.Contains(address))
	},
	"NumericEquals":            func(w, h string) string { return refNumber(w, h, "=") },
	"NumericLessThan":          func(w, h string) string { return refNumber(w, h, "<") },
	"NumericLessThanEquals":    func(w, h string) string { return refNumber(w, h, "<=") },
	"NumericGreaterThan":       func(w, h string) string { return refNumber(w, h, ">") },
	"NumericGreaterThanEquals": func(w, h string) string { return refNumber(w, h, ">=") },
	"DateEquals":               func(w, h string) string { return refDate(w, h, "=") },
	"DateLessThan":             func(w, h string) string { return refDate(w, h, "<") },
	"DateLessThanEquals":       func(w, h string) string { return refDate(w, h, "<=") },
	"DateGreaterThan":          func(w, h string) string { return refDate(w, h, ">") },
	"DateGreaterThanEquals":    func(w, h string) string { return refDate(w, h, ">=") },
	"BinaryEquals":             func(string, string) string { return "maybe" },
}

func refSign(sign int, relation string) string {
	return refBool(sign == 0 && strings.Contains(relation, "=") || sign < 0 && strings.Contains(relation, "<") || sign > 0 && strings.Contains(relation, ">"))
}

func refNumber(want, have, relation string) string {
	w, werr := strconv.ParseFloat(want, 64)
	h, herr := strconv.ParseFloat(have, 64)
	if werr != nil || herr != nil {
		return "maybe"
	}
	sign := 0
	if h < w {
		sign = -1
	} else if h > w {
		sign = 1
	}
	return refSign(sign, relation)
}

func refTime(s string) (time.Time, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return time.Unix(int64(n), 0), n > 9999
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04:05Z"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func refDate(want, have, relation string) string {
	w, wok := refTime(want)
	h, hok := refTime(have)
	if !wok || !hok {
		return "maybe"
	}
	return refSign(int(h.Unix()-w.Unix()), relation)
}

func refARN(want, have string) string {
	w, h := strings.SplitN(want, ":", 6), strings.SplitN(have, ":", 6)
	if len(w) < 6 || len(h) < 6 || w[0] != "arn" || h[0] != "arn" {
		return "maybe"
	}
	for i := range w {
		if !refGlob(w[i]).MatchString(h[i]) {
			return "no"
		}
	}
	return "yes"
}

// refLiteral is what an escape stands for; * and ? as characters no text has.
var refLiteral = map[string]string{"${*}": "\x01", "${?}": "\x02", "${$}": "$"}

func refCondition(version, operator string, wants, have []string, r Request) string {
	if len(wants) == 0 {
		return "maybe"
	}
	set, name, _ := strings.Cut(operator, ":")
	if name == "" {
		set, name = "", set
	}
	if set != "" && set != "ForAnyValue" && set != "ForAllValues" {
		return "maybe"
	}
	if operator == "Null" {
		var answers []string
		for _, want := range wants {
			switch strings.ToLower(want) {
			case "true":
				answers = append(answers, refBool(len(have) == 0))
			case "false":
				answers = append(answers, refBool(len(have) > 0))
			default:
				answers = append(answers, "maybe")
			}
		}
		return refAny(answers)
	}
	ifExists := strings.HasSuffix(name, "IfExists")
	name = strings.TrimSuffix(name, "IfExists")
	negated := strings.Contains(name, "Not")
	compare := refOperators[strings.Replace(name, "Not", "", 1)]
	if compare == nil || negated && (name == "BoolNot" || name == "NotStringEquals" || name == "BinaryNotEquals") {
		return "maybe"
	}
	if len(have) == 0 {
		switch {
		case set == "ForAnyValue":
			return "no"
		case set == "ForAllValues" || ifExists:
			return "yes"
		}
		return refBool(negated)
	}
	if len(have) > 1 && set == "" {
		return "maybe"
	}
	var perValue []string
	for _, value := range have {
		var answers []string
		for _, want := range wants {
			answers = append(answers, refOne(version, name, want, value, compare, r))
		}
		answer := refAny(answers)
		if negated {
			answer = refNot(answer)
		}
		perValue = append(perValue, answer)
	}
	if set == "ForAnyValue" {
		return refAny(perValue)
	}
	return refAll(perValue)
}

// refOne resolves the variables of one value and compares it.
func refOne(version, name, want, have string, compare func(want, have string) string, r Request) string {
	text := strings.HasPrefix(name, "String") || strings.HasPrefix(name, "Arn")
	wild := strings.HasSuffix(name, "Like") || strings.HasPrefix(name, "Arn")
	if version != "2012-10-17" || !text {
		return compare(want, have)
	}
	bad := false
	want = regexp.MustCompile(`\$\{[^}]*\}|\$\{`).ReplaceAllStringFunc(want, func(v string) string {
		if literal, ok := refLiteral[v]; ok {
			return literal
		}
		if !strings.HasSuffix(v, "}") {
			bad = true
			return v
		}
		inner := v[2 : len(v)-1]
		key, fallback, hasFallback := strings.Cut(inner, ", ")
		values, known := refHave(r, key)
		var value string
		switch {
		case !known || len(values) > 1 || key == "" || strings.Contains(key, " "):
			bad = true
		case len(values) == 1:
			value = values[0]
		case hasFallback:
			value = strings.Trim(fallback, "'")
		default:
			bad = true
		}
		if wild && strings.ContainsAny(value, "*?") {
			bad = true
		}
		return value
	})
	if bad {
		return "maybe"
	}
	if wild {
		have = strings.NewReplacer("*", "\x01", "?", "\x02").Replace(have)
	} else {
		want = strings.NewReplacer("\x01", "*", "\x02", "?").Replace(want)
	}
	return compare(want, have)
}

// generator makes policies and requests of few words, so that they meet.
type generator struct{ *rand.Rand }

func (g generator) one(all ...string) string { return all[g.IntN(len(all))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g generator) values(value func() string) any {
	if g.chance(60) {
		return value()
	}
	list := []any{}
	for range g.IntN(4) {
		list = append(list, value())
	}
	return list
}

func (g generator) key() string {
	return g.one("oidc.vercel.com/acme:sub", "oidc.vercel.com/acme:aud", "OIDC.vercel.com/acme:SUB", "oidc.vercel.com:sub", "oidc.vercel.com/acme:n", "aws:x", "sts:RoleSessionName")
}

func (g generator) text(variables bool) string {
	words := []string{"a", "b", "ab", "A", "a*", "*", "?", "a?b", "aXb", "", "owner:a", "true", "False", "no", "1", "2", "2.0", "10", "-1.5", "203.0.113.7", "203.0.113.0/24",
		"2001:db8::/32", "2001:db8::1", "2026-11-24", "2026-11-24T10:00:00Z", "1790000000", "2026", "arn:aws:iam::1:role/x", "arn:aws:iam:*:1:role/*", "arn:aws:iam::1:role:x", "arn:*:*::?:role*"}
	if variables {
		words = append(words, "${*}", "a${?}b", "${$}{x}", "${oidc.vercel.com/acme:sub}", "a${oidc.vercel.com/acme:n, 'b'}", "${aws:x}", "${aws:x, 'a'}", "${oidc.vercel.com:sub}", "${open", "${}", "${oidc.vercel.com/acme:aud}*")
	}
	return g.one(words...)
}

func (g generator) operator() string {
	base := g.one("StringEquals", "StringLike", "StringNotEquals", "StringNotLike", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase",
		"StringEquals", "StringLike", "ArnLike", "ArnEquals", "ArnNotLike", "ArnNotEquals", "Bool", "IpAddress", "NotIpAddress", "BinaryEquals",
		"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals",
		"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals", "Null", "stringlike", "stringequals")
	if base == "Null" {
		return base
	}
	if g.chance(25) {
		base += "IfExists"
	}
	if g.chance(25) {
		base = g.one("ForAnyValue:", "ForAllValues:", "ForAnyValue:") + base
	}
	return base
}

func (g generator) policy() map[string]any {
	var statements []any
	for i := range 1 + g.IntN(3) {
		s := map[string]any{"Effect": g.one("Allow", "Allow", "Deny")}
		arn := func() string {
			return g.one("arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme", "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com")
		}
		switch g.IntN(8) {
		case 0:
			s["Principal"] = map[string]any{"AWS": "*"}
		case 1:
			s["Principal"] = map[string]any{"AWS": []any{g.one("*", "arn:aws:iam::123456789012:root"), "210987654321"}, "Federated": arn()}
		case 2:
			s["Principal"] = map[string]any{"Service": "ec2.amazonaws.com"}
		default:
			s["Principal"] = map[string]any{"Federated": arn()}
		}
		s[g.one("Action", "Action", "Action", "NotAction")] = g.one(Action, "sts:*", "*", "STS:assumeRoleWith*", "sts:AssumeRole", "sts:AssumeRoleWithWebIdentit?")
		if g.chance(30) {
			s["Sid"] = "S" + strconv.Itoa(i)
		}
		conditions := map[string]any{}
		for range g.IntN(4) {
			keys := map[string]any{}
			for range 1 + g.IntN(2) {
				key := g.key()
				for other := range keys {
					if strings.EqualFold(key, other) {
						key = other
					}
				}
				keys[key] = g.values(func() string { return g.text(true) })
			}
			conditions[g.operator()] = keys
		}
		if len(conditions) > 0 {
			s["Condition"] = conditions
		}
		statements = append(statements, s)
	}
	out := map[string]any{"Statement": statements}
	if len(statements) == 1 && g.chance(50) {
		out["Statement"] = statements[0]
	}
	switch g.IntN(5) {
	case 0:
		out["Version"] = "2008-10-17"
	case 1:
	default:
		out["Version"] = "2012-10-17"
	}
	return out
}

func (g generator) request() Request {
	r := Request{ProviderARN: "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme", Context: map[string][]string{}}
	for _, key := range []string{"oidc.vercel.com/acme:sub", "oidc.vercel.com/acme:aud", "oidc.vercel.com/acme:n", "sts:RoleSessionName", "aws:x"} {
		if g.chance(70) {
			var values []string
			for range max(1, g.IntN(4)-1) {
				values = append(values, g.text(false))
			}
			r.Context[key] = values
		}
	}
	if g.chance(5) {
		r.Context["aws:x"] = nil // known to be missing
	}
	return r
}

// TestAgainstReference holds Parse, Evaluate and MarshalJSON to the reference
// over generated policies and requests.
func TestAgainstReference(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(2026, 12))}
	seen := map[Decision]int{}
	for range 15_000 {
		made := g.policy()
		text, err := json.Marshal(made)
		require.NoError(t, err)
		d, err := Parse(text)
		require.NoError(t, err, string(text))
		written, err := json.Marshal(d)
		require.NoError(t, err)
		again, err := Parse(written)
		require.NoError(t, err, string(written))
		require.Equal(t, d, again)
		for range 7 {
			r := g.request()
			want, got := refDecide(made, r), d.Evaluate(r).Decision
			if want != got {
				t.Fatalf("the reference says %q, Evaluate says %q\n%s\n%q", want, got, text, r.Context)
			}
			seen[got]++
		}
	}
	t.Log(seen)
	for d := ImplicitDeny; d <= Allowed; d++ {
		require.Greater(t, seen[d], 5_000, d.String())
	}
}

// TestBuildAgainstReference holds Build to what a Spec says, by the reference.
func TestBuildAgainstReference(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(2026, 13))}
	some := func(all ...string) []string {
		g.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all[:1+g.IntN(len(all))]
	}
	in := func(list []string, name string) bool {
		return slices.Contains(list, name) || slices.Contains(list, "*")
	}
	allowed := 0
	for range 5_000 {
		s := Spec{AccountID: account, Global: g.chance(30), Teams: some("acme", "apex"), Projects: some("web", "shop"), Environments: some("production", "preview")}
		if g.chance(20) {
			s.Projects = []string{"*"}
		}
		if g.chance(20) {
			s.Environments = []string{"*"}
		}
		if g.chance(20) {
			s.Audience = "https://sts.amazonaws.com"
		}
		d, err := Build(s)
		require.NoError(t, err)
		var made map[string]any
		require.NoError(t, json.Unmarshal([]byte(d.String()), &made))
		for range 4 {
			team, project, environment := g.one("acme", "apex", "evil"), g.one("web", "shop", "api"), g.one("production", "preview", "staging")
			issuer := g.one(GlobalIssuer, TeamIssuer(team), TeamIssuer("acme"))
			audience := g.one(Audience(team), "https://sts.amazonaws.com", Audience("acme"))
			want := in(s.Teams, team) && in(s.Projects, project) && in(s.Environments, environment)
			if s.Audience != "" {
				want = want && audience == s.Audience
			} else if s.Global {
				want = want && slices.ContainsFunc(s.Teams, func(team string) bool { return audience == Audience(team) })
			} else {
				want = want && audience == Audience(team)
			}
			if s.Global && s.Audience == "" {
				want = want && issuer == GlobalIssuer
			} else {
				want = want && issuer == TeamIssuer(team)
			}
			r := Request{ProviderARN: ProviderARN("", account, issuer), Context: ConditionContext(issuer, Subject(team, project, environment), []string{audience})}
			require.Equal(t, want, d.Evaluate(r).Allowed(), "%+v %v", s, r)
			require.Equal(t, want, refDecide(made, r) == Allowed, "%+v %v", s, r)
			if want {
				allowed++
			}
		}
	}
	require.Greater(t, allowed, 500)
}
