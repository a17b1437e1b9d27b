package trustpolicy

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// budget bounds the work of one evaluation, in steps of about a byte compared.
// A policy within IAM's quota and a token within STS's limit stay far below.
const budget steps = 1 << 22

// steps are what is left of a budget.
type steps int

func fullBudget() *steps {
	left := budget
	return &left
}

// spend takes n steps. It reports false if fewer are left, and leaves none: then
// it cannot be told what the work would have shown.
func (left *steps) spend(n int) bool {
	if *left < steps(n) {
		*left = 0
		return false
	}
	*left -= steps(n)
	return true
}

// pattern is a condition value taken apart, with its variables in place.
type pattern []symbol

// symbol is one byte of a pattern, or a wildcard.
type symbol struct {
	char byte
	kind symbolKind
}

type symbolKind byte

const (
	literal symbolKind = iota
	anyChar            // ?
	anyText            // *
)

// variable is what stands between ${ and }: a key, and a default value that is
// not empty. What IAM makes of an empty one is not documented. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-default-values.
var variable = whenUsed(`^([^\s,'{}]+)(?:, '([^']+)')?$`)

// expand turns a condition value into a pattern. It reports false if it cannot be
// told what the value means: it has a variable that does not have exactly one
// known value, or whose value has wildcards.
func (e *evaluation) expand(text string, wildcards bool) (pattern, bool) {
	out := e.scratch[:0]
	defer func() { e.scratch = out }()
	variables := e.version == "2012-10-17"
	for i := 0; i < len(text); {
		if variables && strings.HasPrefix(text[i:], "${") {
			inner, _, closed := strings.Cut(text[i+2:], "}")
			if !closed {
				return nil, false
			}
			i += len("${}") + len(inner)
			value, ok := e.variable(inner, wildcards)
			if !ok || !e.work.spend(len(value)) {
				return nil, false
			}
			out = appendText(out, value)
			continue
		}
		s := symbol{char: text[i]}
		if wildcards && s.char == '*' {
			s.kind = anyText
		} else if wildcards && s.char == '?' {
			s.kind = anyChar
		}
		out = append(out, s)
		i++
	}
	return out, e.work.spend(len(text))
}

// appendText adds a text to a pattern, each character as itself.
func appendText(p pattern, text string) pattern {
	for i := range len(text) {
		p = append(p, symbol{char: text[i]})
	}
	return p
}

// variable returns the value of a policy variable.
func (e *evaluation) variable(inner string, wildcards bool) (string, bool) {
	if inner == "*" || inner == "?" || inner == "$" {
		return inner, true // escapes
	}
	parts := variable().FindStringSubmatch(inner)
	if parts == nil {
		return "", false
	}
	values, known := e.lookup(parts[1])
	value := parts[2]
	switch {
	case !known || len(values) > 1:
		return "", false
	case len(values) == 1:
		value = values[0]
	case !strings.Contains(inner, ","):
		return "", false // the docs: the statement may be invalid
	}
	return value, !wildcards || !strings.ContainsAny(value, "*?")
}

// literal returns the text of a pattern without wildcards.
func (p pattern) literal() (string, bool) {
	var b strings.Builder
	for _, s := range p {
		if s.kind != literal {
			return "", false
		}
		b.WriteByte(s.char)
	}
	return b.String(), true
}

// matches compares a pattern with a value. It is case-sensitive; * matches any
// characters and ? one. The parts between the stars are looked for one after the
// other, each at the first place where it fits, without going back.
func (e *evaluation) matches(p pattern, value string) truth {
	if slices.ContainsFunc(p, func(s symbol) bool { return s.kind == anyChar }) && !isASCII(value) {
		return unknown // what counts as one character
	}
	if !e.work.spend(len(p) + len(value) + 1) {
		return unknown
	}
	parts := split(p, func(s symbol) bool { return s.kind == anyText })
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	first, last := parts[0], parts[len(parts)-1]
	switch {
	case length > len(value), len(parts) == 1 && length != len(value):
		return no
	case !first.fits(value), !last.fits(value[len(value)-len(last):]):
		return no
	case len(parts) == 1:
		return yes
	}
	value = value[len(first) : len(value)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		at, ok := e.find(part, value)
		if !ok {
			return unknown
		}
		if at < 0 {
			return no
		}
		value = value[at+len(part):]
	}
	return yes
}

// fits reports whether a value begins with p, which has no *.
func (p pattern) fits(value string) bool {
	if len(p) > len(value) {
		return false
	}
	for i, s := range p {
		if s.kind == literal && s.char != value[i] {
			return false
		}
	}
	return true
}

// find returns the first place in value where p, which has no *, fits, or -1.
// It reports false if the work is too much.
func (e *evaluation) find(p pattern, value string) (at int, ok bool) {
	if text, plain := p.literal(); plain {
		return strings.Index(value, text), e.work.spend(len(text) + 1)
	}
	for at := range len(value) - len(p) + 1 {
		if !e.work.spend(len(p)) {
			return -1, false
		}
		if p.fits(value[at:]) {
			return at, true
		}
	}
	return -1, true
}

// split cuts a pattern at the symbols that cut names.
func split(p pattern, cut func(symbol) bool) []pattern {
	var out []pattern
	for {
		i := slices.IndexFunc(p, cut)
		if i < 0 {
			return append(out, p)
		}
		out = append(out, p[:i])
		p = p[i+1:]
	}
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// equalFold compares without regard to case. It cannot tell where letters
// outside ASCII would decide: how IAM folds them is not documented.
func equalFold(a, b string) truth {
	switch {
	case lowerASCII(a) == lowerASCII(b):
		return yes
	case (!isASCII(a) || !isASCII(b)) && strings.EqualFold(a, b):
		return unknown
	}
	return no
}

func lowerASCII(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' }) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// like matches a pattern that has no variables, as StringLike does. It is
// false where the match is not certain.
func like(text, value string) bool {
	e := &evaluation{work: fullBudget()}
	p, ok := e.expand(text, true)
	return ok && e.matches(p, value) == yes
}

func (d *Document) hasVariables() bool { return d.Version == "2012-10-17" }

// variesWith reports whether a value has a variable that is not an escape, so that
// it can differ between tokens.
func (d *Document) variesWith(value string) bool {
	for _, escape := range []string{"${*}", "${?}", "${$}"} {
		value = strings.ReplaceAll(value, escape, "")
	}
	return d.hasVariables() && strings.Contains(value, "${")
}
