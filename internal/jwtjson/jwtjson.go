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
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

// What a document may have. Vercel's tokens have 16 members and one level.
const (
	maxDepth   = 32   // objects and lists in one another
	maxMembers = 100  // of an object; each is compared with those before it
	maxItems   = 1000 // of a list
	maxName    = 40   // bytes of a name that an error shows
)

var (
	errNotBase64 = errors.New("it is not base64url")
	errNotJSON   = errors.New("it is not JSON")
	errNotObject = errors.New("it is not a JSON object")
	errTooDeep   = fmt.Errorf("it has more than %d objects and lists in one another", maxDepth)
	errTooMany   = fmt.Errorf("it has an object of more than %d members or a list of more than %d items", maxMembers, maxItems)
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

// Value is the JSON text of one value.
type Value string

// Members reads document, which must be one JSON object and nothing else. It
// calls member, if that is not nil, for each of the object's members in their
// order, and ends with its first error.
//
// A member may be seen before an error further on in the document: what was read
// counts only if Members returns nil.
func Members(document string, member func(name string, value Value) error) error {
	if !utf8.ValidString(document) {
		return errNotJSON
	}
	document = trim(document)
	if first(document) != '{' {
		if json.Valid([]byte(document)) {
			return errNotObject
		}
		return errNotJSON
	}
	_, rest, err := read(document, 0, member)
	if err == nil && trim(rest) != "" {
		err = errNotJSON
	}
	return err
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

// Items calls item for each item of a list, ends with its first error, and
// reports whether v is a list.
func (v Value) Items(item func(Value) error) (bool, error) {
	if first(string(v)) != '[' {
		return false, nil
	}
	_, _, err := read(string(v), 0, func(_ string, value Value) error { return item(value) })
	return true, err
}

// read reads the value that text begins with, and returns what follows it. It
// calls element, if that is not nil, for each member of an object or, without a
// name, each item of a list.
func read(text string, depth int, element func(name string, value Value) error) (v Value, rest string, err error) {
	n := 0
	switch first(text) {
	case '{', '[':
		return readContainer(text, depth, element)
	case '"':
		if n, err = stringLength(text); err != nil {
			return "", "", err
		}
	case 't', 'f', 'n':
		for n < len(text) && 'a' <= text[n] && text[n] <= 'z' {
			n++
		}
		if word := text[:n]; word != "true" && word != "false" && word != "null" {
			return "", "", errNotJSON
		}
	default:
		for n < len(text) && strings.IndexByte("+-.0123456789Ee", text[n]) >= 0 {
			n++
		}
		if !json.Valid([]byte(text[:n])) {
			return "", "", errNotJSON
		}
	}
	return Value(text[:n]), text[n:], nil
}

// readContainer is read for an object or a list.
func readContainer(text string, depth int, element func(name string, value Value) error) (v Value, rest string, err error) {
	closing, most := byte('}'), maxMembers
	if text[0] == '[' {
		closing, most = ']', maxItems
	}
	if depth == maxDepth {
		return "", "", errTooDeep
	}
	var some [16]string
	names := some[:0]
	rest = trim(text[1:])
	for n := 0; n > 0 || first(rest) != closing; n++ {
		if n == most {
			return "", "", errTooMany
		}
		var name string
		if closing == '}' {
			if name, rest, err = readName(rest); err != nil {
				return "", "", err
			}
			if slices.Contains(names, name) {
				return "", "", fmt.Errorf("it has the name %s twice", scrub.Quote(name, maxName))
			}
			names = append(names, name)
		}
		if v, rest, err = read(rest, depth+1, nil); err != nil {
			return "", "", err
		}
		if element != nil {
			if err := element(name, v); err != nil {
				return "", "", err
			}
		}
		if rest = trim(rest); first(rest) != ',' {
			break
		}
		rest = trim(rest[1:])
	}
	if first(rest) != closing {
		return "", "", errNotJSON
	}
	rest = rest[1:]
	return Value(text[:len(text)-len(rest)]), rest, nil
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
