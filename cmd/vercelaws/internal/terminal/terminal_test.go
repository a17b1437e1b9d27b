package terminal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWidth(t *testing.T) {
	for columns, want := range map[string]int{"": 80, "0": 80, "-1": 80, "many": 80, "40": 40, "200": 200} {
		t.Setenv("COLUMNS", columns)
		assert.Equal(t, want, Width(&strings.Builder{}), columns)
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text   string
		indent int
		want   string
	}{
		{"", 0, ""},
		{"one two three", 0, "one two three"},
		{"one two three four five six seven", 0, "one two three four five\nsix seven"},
		{"one two three four five six seven", 3, "one two three four\n   five six seven"},
		{"one\ntwo", 2, "one\n  two"},
		{"  one two three four five six seven", 0, "  one two three four\n  five six seven"},
		{"\tone two three four five six seven", 0, "one two three four five six seven"},
		{"x https://vercel.com/docs/oidc/reference y", 0, "x\nhttps://vercel.com/docs/oidc/reference\ny"},
		{"https://vercel.com/docs/oidc/reference", 0, "https://vercel.com/docs/oidc/reference"},
		{"subject   \"owner:acme:project:web\"", 0, "subject\n\"owner:acme:project:web\""},
		{"one two three four five six seven", 70, "one two three four\n" + strings.Repeat(" ", 70) + "five six seven"}, // no room at all
	} {
		assert.Equal(t, test.want, Wrap(test.text, 24, test.indent), test.text)
	}
}

func TestFlow(t *testing.T) {
	assert.Equal(t, "usage\n\n  an example\n  of two lines\n\none paragraph of two lines\n\nand another", Flow("usage\n\n  an example\n  of two lines\n\none paragraph\nof two lines\n\nand another"))
	assert.Equal(t, "", Flow(""))
}

func FuzzWrap(f *testing.F) {
	f.Add("one two  three", 10, 3)
	f.Add("\t a\n  b c", -1, 0)
	f.Fuzz(func(t *testing.T, text string, width, indent int) {
		if indent < 0 || indent > 100 {
			return
		}
		// Nothing but white space is added or taken out.
		assert.Equal(t, strings.Join(strings.FieldsFunc(text, space), ""), strings.Join(strings.FieldsFunc(Wrap(text, width, indent), space), ""))
	})
}

func space(r rune) bool { return r == ' ' || r == '\n' || r == '\t' }
