package jwtjson

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPartHasOneEncoding(t *testing.T) {
	for _, good := range []string{"", "e30", "YQ", "-_-_"} {
		_, err := Part(good)
		assert.NoError(t, err, good)
	}
	for name, bad := range map[string]string{
		"unused bits set":       "YR", // YQ is the one text of "a"
		"unused bits set, more": "e31",
		"padding":               "YQ==",
		"line end inside":       "e3\n0",
		"line end behind":       "e30\r\n",
		"space":                 "e30 ",
		"standard alphabet":     "++//",
		"one character":         "e",
		"not ASCII":             "é",
	} {
		_, err := Part(bad)
		assert.ErrorIs(t, err, errNotBase64, name)
	}
}

func TestObject(t *testing.T) {
	got, err := Object(" {\"a\" : 1 ,\t\"\\u0062\":[1, {\"x\":{}}],\r\n\"A\":\"\\\"}\", \"\": null,\"t\":true,\"n\":-0.5e+7}\n")
	require.NoError(t, err)
	assert.Equal(t, map[string]Value{"a": "1", "b": `[1, {"x":{}}]`, "A": `"\"}"`, "": "null", "t": "true", "n": "-0.5e+7"}, got)

	nested := func(n int) string { return strings.Repeat(`{"a":[`, n/2) + strings.Repeat(`]}`, n/2) }
	many := func(n int, one string) string { return strings.Repeat(one+",", n-1) + one }
	object := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%d":1`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	for name, good := range map[string]string{
		"no members":         "{}",
		"as deep as may be":  nested(maxDepth),
		"as many as may be":  object(maxItems),
		"items":              `{"a":[` + many(maxItems, `""`) + `]}`,
		"names by case":      `{"exp":1,"Exp":2}`,
		"one name, two ways": `{"a":{"x":1},"b":{"x":1},"c":[{"x":1},{"x":1}]}`,
		"a pair":             `{"a":"\ud83d\ude00"}`,
	} {
		_, err := Object(good)
		assert.NoError(t, err, name)
	}
	for name, c := range map[string]struct {
		document string
		want     error
	}{
		"nothing":              {"", errNotJSON},
		"a list":               {"[]", errNotObject},
		"a string":             {`"x"`, errNotObject},
		"null":                 {"null", errNotObject},
		"two":                  {"{}{}", errNotJSON},
		"more behind":          {"{}x", errNotJSON},
		"a NUL behind":         {"{}\x00", errNotJSON},
		"open":                 {"{", errNotJSON},
		"open, with a name":    {`{"a"`, errNotJSON},
		"open string":          {`{"a":"`, errNotJSON},
		"open escape":          {`{"a":"\`, errNotJSON},
		"closed by another":    {`{"a":1]`, errNotJSON},
		"comma at the end":     {`{"a":1,}`, errNotJSON},
		"comma at the start":   {`{,"a":1}`, errNotJSON},
		"list with a comma":    {`{"a":[1,]}`, errNotJSON},
		"no comma":             {`{"a":1 "b":2}`, errNotJSON},
		"no colon":             {`{"a" 1}`, errNotJSON},
		"no value":             {`{"a":}`, errNotJSON},
		"no quotes":            {`{a:1}`, errNotJSON},
		"name that is a list":  {`{[]:1}`, errNotJSON},
		"a comment":            {`{/**/}`, errNotJSON},
		"line end in a string": {"{\"a\":\"\n\"}", errNotJSON},
		"not UTF-8":            {"{\"a\":\"\xff\"}", errNotJSON},
		"byte order mark":      {"\ufeff{}", errNotJSON},
		"no-break space":       {"{\u00a0}", errNotJSON},
		"unknown escape":       {`{"a":"\x"}`, errNotJSON},
		"half a pair as name":  {`{"\ud800":1}`, errNotJSON},
		"number: plus":         {`{"a":+1}`, errNotJSON},
		"number: leading zero": {`{"a":01}`, errNotJSON},
		"number: hexadecimal":  {`{"a":0x1}`, errNotJSON},
		"number: point":        {`{"a":1.}`, errNotJSON},
		"NaN":                  {`{"a":NaN}`, errNotJSON},
		"word in capitals":     {`{"a":True}`, errNotJSON},
		"half a word":          {`{"a":nul}`, errNotJSON},
		"too deep":             {nested(maxDepth + 2), errTooDeep},
		"much too deep":        {nested(9000), errTooDeep},
		"deep and open":        {strings.Repeat(`{"a":`, 1<<20), errNotJSON},
		"names in names":       {strings.Repeat("{", 1<<20), errNotJSON},
		"too many members":     {object(maxItems + 1), errTooMany},
		"too many items":       {`{"a":[` + many(maxItems+1, "1") + `]}`, errTooMany},
	} {
		_, err := Object(c.document)
		assert.ErrorIs(t, err, c.want, name)
	}
	for name, c := range map[string]struct{ document, says string }{
		"twice":                    {`{"a":1,"a":1}`, `it has the name "a" twice`},
		"twice, once escaped":      {`{"a":1,"\u0061":2}`, `the name "a" twice`},
		"twice, further in":        {`{"a":[{"b":{"c":1,"d":2,"c":3}}]}`, `the name "c" twice`},
		"twice, with much between": {strings.TrimSuffix(object(50), "}") + `,"0":2}`, `the name "0" twice`},
		"a name unfit for a log":   {`{"a\nb":1,"a\nb":2}`, `the name "a\nb" twice`},
		"a long name":              {`{"` + strings.Repeat("x", 99) + `":1,"` + strings.Repeat("x", 99) + `":2}`, strings.Repeat("x", maxName) + `"… twice`},
	} {
		_, err := Object(c.document)
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestValues(t *testing.T) {
	for v, want := range map[Value]string{`"x"`: "x", `""`: "", `"\u0041\/\""`: `A/"`, `"\ud83d\ude00"`: "😀"} {
		got, ok := v.Text()
		assert.True(t, ok, v)
		assert.Equal(t, want, got)
	}
	for _, v := range []Value{`1`, `null`, `["x"]`, ``, `"\ud800"`, `"\ude00x"`} {
		got, ok := v.Text()
		assert.False(t, ok, v)
		assert.Empty(t, got, v)
	}
	for v, want := range map[Value]float64{`0`: 0, `-1.5`: -1.5, `1e3`: 1000} {
		got, ok := v.Number()
		assert.True(t, ok, v)
		assert.Equal(t, want, got)
	}
	for _, v := range []Value{`"1"`, `null`, `[1]`, `true`, ``, `1e999`} {
		_, ok := v.Number()
		assert.False(t, ok, v)
	}
	items, ok := Value(`[1, "a",{"b":[]}]`).List()
	assert.True(t, ok)
	assert.Equal(t, []Value{`1`, `"a"`, `{"b":[]}`}, items)
	for _, v := range []Value{`{}`, `"[]"`, `null`, ``} {
		_, ok = v.List()
		assert.False(t, ok, v)
	}
}

// FuzzObject compares the reader with encoding/json. A document that the reader
// accepts has the same names and values there. A document that only the reader
// refuses breaks one of its stricter rules.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":{"b":[1,"x\u00e9",null,true]},"a ":-0.1e5}`, `{"a":1,"a":2}`, `{"\ud800":1}`, `[1]`, ` {} `, `{"a":"\"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, document string) {
		got, err := Object(document)
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal([]byte(document), &want)
		if err != nil {
			if wantErr == nil && want != nil && err == errNotJSON && utf8.ValidString(document) && !strings.Contains(document, `\u`) {
				t.Fatalf("refused: %q", document)
			}
			return
		}
		if wantErr != nil || len(want) != len(got) {
			t.Fatalf("taken: %q as %q, %v", document, got, wantErr)
		}
		for name, v := range want {
			if string(got[name]) != string(v) {
				t.Fatalf("%q is %q, not %q", name, got[name], v)
			}
		}
	})
}
