// Package jwtjson reads the parts of JSON Web Tokens, and the JSON documents of
// their issuers, so that no two readers find different meanings in one text.
//
// In contrast to package encoding/json, a member's name must be exact (RFC 7519,
// section 10.1.1, has names compared character by character): "Exp" is not "exp".
// A name that stands twice in one object is an error (RFC 7515, section 4), and so
// is text that is not Unicode. In contrast to package encoding/base64, a part of
// a token has one encoding. What a document may cost is bounded.
//
// No error holds a value. A name in an error is quoted and shortened.
package jwtjson

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

// What a document may have. Vercel's tokens have 16 members and one level.
const (
	maxDepth = 32   // objects and lists in one another
	maxItems = 1000 // members of an object, or items of a list
	maxName  = 40   // bytes of a name that an error shows
)

var (
	errNotBase64 = errors.New("it is not base64url")
	errNotJSON   = errors.New("it is not JSON")
	errNotObject = errors.New("it is not a JSON object")
	errTooDeep   = fmt.Errorf("it has more than %d objects and lists in one another", maxDepth)
	errTooMany   = fmt.Errorf("it has an object or list of more than %d items", maxItems)
)

var base64url = base64.RawURLEncoding.Strict()

// Part decodes a part of a JWT (RFC 7515, section 2: base64url without padding,
// line ends or white space). Bits that encode nothing must be zero, so that no
// two texts are one token.
func Part(s string) (string, error) {
	if strings.ContainsAny(s, "\r\n") { // encoding/base64 skips them
		return "", errNotBase64
	}
	b, err := base64url.DecodeString(s)
	if err != nil {
		return "", errNotBase64
	}
	return string(b), nil
}

// Value is the JSON text of one value, which is valid; empty if there is none.
type Value string

// Object reads document, which must be one JSON object and nothing else.
func Object(document string) (map[string]Value, error) {
	document = trim(document)
	if first(document) != '{' {
		if json.Valid([]byte(document)) {
			return nil, errNotObject
		}
		return nil, errNotJSON
	}
	members, _, rest, err := readContainer(document, 0)
	switch {
	case err != nil:
		return nil, err
	case trim(rest) != "", !utf8.ValidString(document):
		return nil, errNotJSON
	}
	return members, nil
}

// Text returns v as a string, and whether it is one.
func (v Value) Text() (string, bool) {
	if first(string(v)) != '"' {
		return "", false
	}
	if !strings.Contains(string(v), `\`) {
		return string(v[1 : len(v)-1]), true
	}
	var s string
	if json.Unmarshal([]byte(v), &s) != nil || strings.ContainsRune(s, utf8.RuneError) {
		return "", false // half of a surrogate pair, in whose place encoding/json puts that
	}
	return s, true
}

// Number returns v as a number, and whether it is one that a float64 holds.
func (v Value) Number() (float64, bool) {
	if v == "" || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(v), 64)
	return n, err == nil
}

// List returns the items of v, and whether it is a list.
func (v Value) List() ([]Value, bool) {
	if first(string(v)) != '[' {
		return nil, false
	}
	_, items, _, err := readContainer(string(v), 0)
	return items, err == nil
}

// read reads the value that text begins with, and returns what follows it.
func read(text string, depth int) (v Value, rest string, err error) {
	n := 0
	switch first(text) {
	case '{', '[':
		_, _, rest, err = readContainer(text, depth)
		n = len(text) - len(rest)
	case '"':
		n, err = stringLength(text)
	case 't', 'f', 'n':
		for n < len(text) && 'a' <= text[n] && text[n] <= 'z' {
			n++
		}
		if word := text[:n]; word != "true" && word != "false" && word != "null" {
			err = errNotJSON
		}
	default:
		for n < len(text) && strings.IndexByte("+-.0123456789Ee", text[n]) >= 0 {
			n++
		}
		if !json.Valid([]byte(text[:n])) {
			err = errNotJSON
		}
	}
	return Value(text[:n]), text[n:], err
}

// readContainer reads the object or list that text begins with, and returns what
// follows it. A list's items are returned only at depth 0.
func readContainer(text string, depth int) (members map[string]Value, items []Value, rest string, err error) {
	closing := byte(']')
	if text[0] == '{' {
		closing, members = '}', make(map[string]Value, min(16, len(text)/16)) // some 16 in a token of Vercel's
	}
	if depth == maxDepth {
		return nil, nil, "", errTooDeep
	}
	rest = trim(text[1:])
	for n := 0; n > 0 || first(rest) != closing; n++ {
		var name string
		var v Value
		if members != nil {
			if name, rest, err = readName(rest); err != nil {
				return nil, nil, "", err
			}
		}
		if v, rest, err = read(rest, depth+1); err != nil {
			return nil, nil, "", err
		}
		_, twice := members[name]
		switch {
		case n == maxItems:
			return nil, nil, "", errTooMany
		case twice:
			return nil, nil, "", fmt.Errorf("it has the name %s twice", scrub.Quote(name, maxName))
		case members != nil:
			members[name] = v
		case depth == 0:
			items = append(items, v)
		}
		if rest = trim(rest); first(rest) != ',' {
			break
		}
		rest = trim(rest[1:])
	}
	if first(rest) != closing {
		return nil, nil, "", errNotJSON
	}
	return members, items, rest[1:], nil
}

// readName reads a member's name and the colon behind it.
func readName(text string) (name, rest string, err error) {
	if first(text) != '"' {
		return "", "", errNotJSON
	}
	n, err := stringLength(text)
	if err != nil {
		return "", "", err
	}
	name, ok := Value(text[:n]).Text()
	if rest = trim(text[n:]); !ok || first(rest) != ':' {
		return "", "", errNotJSON
	}
	return name, trim(rest[1:]), nil
}

// stringLength returns the length of the string that text begins with, the
// quotation marks included.
func stringLength(text string) (int, error) {
	escaped := false
	for n := 1; n < len(text); n++ {
		switch c := text[n]; {
		case c == '\\':
			escaped = true
			n++
		case c < ' ':
			return 0, errNotJSON
		case c == '"':
			if escaped && !json.Valid([]byte(text[:n+1])) {
				return 0, errNotJSON
			}
			return n + 1, nil
		}
	}
	return 0, errNotJSON
}

// first returns the first byte of text, or 0.
func first(text string) byte {
	if text == "" {
		return 0
	}
	return text[0]
}

// trim returns text without the white space before it (RFC 8259, section 2).
func trim(text string) string { return strings.TrimLeft(text, " \t\r\n") }
