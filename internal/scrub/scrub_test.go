package scrub

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"

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
		"right\u202eto left":       "right to left",
		"no\u200bwidth\ufeff":      "no width ",
		"a\u2028b\u2066c\u3164d":   "a b c d",
		"variation\ufe0f":          "variation ",
		"Zoë in 東京":                "Zoë in 東京",
	} {
		assert.Equal(t, want, Text(in, raw, 100))
	}
	const payload, signature = "the payload, which is long", "the signature, which is long too"
	for in, want := range map[string]string{
		"cut: " + signature[:20]:                             "cut: [token]",
		"twice: " + signature[:16] + " " + signature + "...": "twice: [token] [token]...",
		"both: " + payload + "." + signature[:17] + "x":      "both: [token].[token]x",
		"no more than " + signature[:15]:                     "no more than " + signature[:15],
	} {
		assert.Equal(t, want, Text(in, "head."+payload+"."+signature, 100))
	}
	assert.Equal(t, "ab…", Text("abcdef", "", 2))
	assert.Equal(t, "é…", Text("éé", "", 3), "no half characters")
	assert.Equal(t, "x", Text("x", "..", 10), "empty parts")
	long := Text(strings.Repeat("x", 90)+raw, raw, 95)
	assert.NotContains(t, long, "head", "the token is taken out before the text is cut")
}

func TestShows(t *testing.T) {
	const raw = "head.payload.signature"
	for _, s := range []string{raw, "a payload.", "signature", fmt.Sprint([]byte(raw)), fmt.Sprintf("{%d}", []byte("x signature x"))} {
		assert.True(t, Shows(s, raw), s)
		assert.False(t, Shows(s, ""), s)
		assert.False(t, Shows(s, ".."), s)
	}
	for _, s := range []string{"", "head", "pay load", fmt.Sprint([]byte("payloa"))} {
		assert.False(t, Shows(s, raw), s)
	}
}

func TestShowsTheBeginningOfAPart(t *testing.T) {
	const signature = "a signature that is long"
	for n := range len(signature) {
		assert.Equal(t, n >= 16, Shows("cut: "+signature[:n], "head.payload."+signature), n)
		assert.Equal(t, n >= 16, Shows(fmt.Sprint([]byte("cut: "+signature[:n])), "head.payload."+signature), n)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":                           `""`,
		"https://oidc.vercel.com/a":  `"https://oidc.vercel.com/a"`,
		"a\nlevel=INFO \x1b[0m":      `"a\nlevel=INFO \x1b[0m"`,
		`say "x"\`:                   `"say \"x\"\\"`,
		"\u202e\u200b\xff":           `"\u202e\u200b\xff"`,
		strings.Repeat("x", 31):      `"` + strings.Repeat("x", 30) + `"…`,
		strings.Repeat("\u202e", 10): `"` + strings.Repeat(`\u202e`, 5) + `"…`,
	} {
		assert.Equal(t, want, Quote(in, 30))
	}
}

func FuzzText(f *testing.F) {
	f.Add("bad token a.b.c", "a.b.c", 10)
	f.Add("\u202e\xff\xc3", "", 2)
	f.Fuzz(func(t *testing.T, s, raw string, most int) {
		most = int(uint16(most))
		if len(raw) > 100 {
			raw = raw[:100]
		}
		out := Text(s, raw, most)
		if len(out) > most+len("…") {
			t.Fatalf("%d bytes of at most %d", len(out), most)
		}
		for _, r := range out {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q is in %q", r, out)
			}
		}
		if q := Quote(s, most); len(q) > most+len(`""…`) {
			t.Fatalf("%d bytes of at most %d", len(q), most)
		} else if back, err := strconv.Unquote(strings.TrimSuffix(q, "…")); err != nil || !strings.HasPrefix(s, back) {
			t.Fatalf("%q was quoted as %s: %v", s, q, err)
		}
	})
}
