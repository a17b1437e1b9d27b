// Package scrub makes text that a server or a program wrote fit for an error
// message.
package scrub

import (
	"strings"
	"unicode"
)

// Text returns s without the JWT raw and its signed parts, without control
// characters, and with at most most bytes. Raw may be empty.
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
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
