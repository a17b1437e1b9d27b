// Package scrub makes text that a server, a token or a program wrote fit for an
// error message.
package scrub

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s without the JWT raw and its parts, with a space in place of each
// character that is not printable. If that is longer than most bytes, it is cut
// and ends with an ellipsis. Raw may be empty.
func Text(s, raw string, most int) string {
	if raw != "" {
		s = strings.ReplaceAll(s, raw, "[token]")
		for _, part := range parts(raw) {
			s = without(s, part)
		}
	}
	s = strings.Map(func(r rune) rune {
		if !prints(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// telling is how many bytes of a part of a JWT tell that it is one: whoever
// quotes a token may have cut it.
const telling = 16

// without returns s without part, also where only the beginning of that is in s.
func without(s, part string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, part[:min(len(part), telling)])
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("[token]")
		rest := part[min(len(part), telling):]
		for after != "" && rest != "" && after[0] == rest[0] {
			after, rest = after[1:], rest[1:]
		}
		s = after
	}
}

// Shows reports whether s holds a signed part of the JWT raw, or the beginning of
// one, as text or as package fmt prints bytes in decimal. Raw may be empty.
func Shows(s, raw string) bool {
	return slices.ContainsFunc(parts(raw), func(part string) bool {
		part = part[:min(len(part), telling)]
		return strings.Contains(s, part) || strings.Contains(s, strings.Trim(fmt.Sprint([]byte(part)), "[]"))
	})
}

// parts returns the parts of a JWT without its header, which is no secret.
func parts(raw string) []string {
	_, rest, _ := strings.Cut(raw, ".")
	return slices.DeleteFunc(strings.Split(rest, "."), func(part string) bool { return part == "" })
}

// prints reports whether r is printable. Characters that move the cursor, change
// the direction of the text or have no width are not.
func prints(r rune) bool {
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Quote returns s as a Go string literal in ASCII. If it is longer than most bytes
// between the quotes, it is cut, and an ellipsis follows the quotes. It is for
// claims and other short text in which each character matters. It removes no
// secrets.
func Quote(s string, most int) string {
	var b strings.Builder
	b.WriteByte('"')
	for s != "" {
		_, size := utf8.DecodeRuneInString(s)
		quoted := strconv.QuoteToASCII(s[:size])
		quoted = quoted[1 : len(quoted)-1]
		if b.Len()+len(quoted) > most+1 {
			return b.String() + `"…`
		}
		b.WriteString(quoted)
		s = s[size:]
	}
	return b.String() + `"`
}
