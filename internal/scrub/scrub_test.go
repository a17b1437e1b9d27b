package scrub

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestText(t *testing.T) {
	const raw = "head.payload.signature"
	for in, want := range map[string]string{
		"":                         "",
		"plain":                    "plain",
		"bad token " + raw + "!":   "bad token [token]!",
		"parts signature, payload": "parts [token], [token]",
		"a\nb\x1b[31m\x00":         "a b [31m ",
	} {
		assert.Equal(t, want, Text(in, raw, 100))
	}
	assert.Equal(t, "ab…", Text("abcdef", "", 2))
	assert.Equal(t, "é…", Text("éé", "", 3), "no half characters")
	assert.Equal(t, "x", Text("x", "..", 10), "empty parts")
	long := Text(strings.Repeat("x", 90)+raw, raw, 95)
	assert.NotContains(t, long, "head", "the token is taken out before the text is cut")
}
