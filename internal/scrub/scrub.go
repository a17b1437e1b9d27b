// Package scrub makes text that a server, a token or a program wrote fit for an
// error message.
package scrub

import (
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
		_, signed, _ := strings.Cut(raw, ".") // the header is the same in all tokens
		for part := range strings.SplitSeq(signed, ".") {
			if part != "" {
				s = strings.ReplaceAll(s, part, "[token]")
			}
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
