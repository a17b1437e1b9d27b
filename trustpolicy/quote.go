package trustpolicy

import (
	"strconv"
	"strings"
)

// longest is how many bytes of a text from a policy or a token a message
// holds. A subject has at most a few hundred.
const longest = 300

// quoted quotes a text of a policy or token for a message, so that it cannot
// control a terminal or look like a part of the message.
func quoted(s string) string {
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strconv.Quote(s)
}

// plain is quoted, without the quotation marks where the text has only
// characters that stand in names, ARNs and subjects.
func plain(s string) string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	if len(s) > longest || s == "" || strings.ContainsFunc(s, odd) {
		return quoted(s)
	}
	return s
}

// plainAll joins texts as plain makes them.
func plainAll(all []string, separator string) string { return join(all, separator, plain) }

// quotedAll joins texts as quoted makes them.
func quotedAll(all []string, separator string) string { return join(all, separator, quoted) }

func join(all []string, separator string, write func(string) string) string {
	var out []string
	for i, s := range all {
		if i == 20 {
			out = append(out, strconv.Itoa(len(all)-i)+" more")
			break
		}
		out = append(out, write(s))
	}
	return strings.Join(out, separator)
}
