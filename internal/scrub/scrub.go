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

// Text returns s without the JWT raw and its signed parts, with a space in
// place of each character that does not print, and with at most most bytes and
// an ellipsis. Raw may be empty.
func Text(s, raw string, most int) string {
	if raw != "" {
		s = strings.ReplaceAll(s, raw, "[token]")
		for _, part := range signed(raw) {
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
	return slices.ContainsFunc(signed(raw), func(part string) bool {
		part = part[:min(len(part), telling)]
		return strings.Contains(s, part) || strings.Contains(s, strings.Trim(fmt.Sprint([]byte(part)), "[]"))
	})
}

// signed is the parts of a JWT but for its header, which is the same in all.
func signed(raw string) []string {
	_, rest, _ := strings.Cut(raw, ".")
	return slices.DeleteFunc(strings.Split(rest, "."), func(part string) bool { return part == "" })
}

// prints reports whether r can be seen. What moves the cursor, changes the
// direction of the text or has no width cannot.
func prints(r rune) bool {
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Quote returns s in double quotes, as a Go string literal in ASCII, with at
// most most bytes between the quotes, and an ellipsis after them where that is
// not all. It is for claims and other short text of
// which each character counts; a secret must not be in it.
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
