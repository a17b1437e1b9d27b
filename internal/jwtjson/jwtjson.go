// Package jwtjson reads the parts of JSON Web Tokens, and the JSON documents of
// their issuers. It refuses text that two readers could understand differently.
//
// It is stricter than package encoding/json. A member's name must be exact: "Exp"
// is not "exp" (RFC 7519, section 10.1.1). A name that an object has twice is an
// error (RFC 7515, section 4), and so is text that is not Unicode. It is stricter
// than package encoding/base64, too: a part of a token has only one encoding. The
// size of a document is bounded.
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

// Limits of a document. Vercel's tokens have 16 members and one level.
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
// line ends or white space). Unused bits must be zero, so that a token has only one
// text.
func Part(s string) (string, error) {
	b, err := Bytes(s)
	return string(b), err
}

// Bytes is [Part] for a part that is no text.
func Bytes(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // encoding/base64 skips them
		return nil, errNotBase64
	}
	b, err := base64url.DecodeString(s)
	if err != nil {
		return nil, errNotBase64
	}
	return b, nil
}

// Value is the JSON text of a value in an object that [Object] has read. It is empty
// for a member that the object does not have.
type Value string

// Object reads document, which must be one JSON object and nothing else.
func Object(document string) (map[string]Value, error) {
	document = trim(document)
	switch {
	case !utf8.ValidString(document), !json.Valid([]byte(document)):
		return nil, errNotJSON
	case document[0] != '{':
		return nil, errNotObject
	}
	members, _, _, err := readContainer(document, 0)
	return members, err
}

// Text returns v as a string, and reports whether it is one.
func (v Value) Text() (string, bool) {
	if !strings.HasPrefix(string(v), `"`) {
		return "", false
	}
	if !strings.Contains(string(v), `\`) {
		return string(v[1 : len(v)-1]), true
	}
	var s string
	if json.Unmarshal([]byte(v), &s) != nil || strings.ContainsRune(s, utf8.RuneError) {
		return "", false // encoding/json replaces half a surrogate pair by utf8.RuneError
	}
	return s, true
}

// Number returns v as a number, and reports whether it is one that fits a float64.
func (v Value) Number() (float64, bool) {
	if v == "" || v[0] != '-' && (v[0] < '0' || v[0] > '9') { // strconv's error would cost two allocations
		return 0, false
	}
	n, err := strconv.ParseFloat(string(v), 64)
	return n, err == nil
}

// List returns the items of v, and reports whether it is a list.
func (v Value) List() ([]Value, bool) {
	if !strings.HasPrefix(string(v), "[") {
		return nil, false
	}
	_, items, _, err := readContainer(string(v), 0)
	return items, err == nil
}

// read reads the value that text begins with, and returns the text after it. Text
// is a part of valid JSON, and so is that of the functions below.
func read(text string, depth int) (v Value, rest string, err error) {
	switch text[0] {
	case '{', '[':
		_, _, rest, err = readContainer(text, depth)
	case '"':
		end := 1
		for text[end] != '"' {
			if text[end] == '\\' {
				end++
			}
			end++
		}
		rest = text[end+1:]
	default: // it is in an object or list, so something follows
		rest = text[strings.IndexAny(text, ",]} \t\r\n"):]
	}
	return Value(text[:len(text)-len(rest)]), rest, err
}

// readContainer reads the object or list that text begins with, and returns the
// text after it. A list's items are returned only at depth 0.
func readContainer(text string, depth int) (members map[string]Value, items []Value, rest string, err error) {
	if depth == maxDepth {
		return nil, nil, "", errTooDeep
	}
	if text[0] == '{' {
		members = make(map[string]Value, min(16, len(text)/16)) // Vercel's tokens have some 16
	}
	rest = trim(text[1:])
	for n := 0; rest[0] != '}' && rest[0] != ']'; n++ {
		if n == maxItems {
			return nil, nil, "", errTooMany
		}
		var name string
		if members != nil {
			if name, rest, err = readName(rest); err != nil {
				return nil, nil, "", err
			}
			if _, twice := members[name]; twice {
				return nil, nil, "", fmt.Errorf("it has the name %s twice", scrub.Quote(name, maxName))
			}
		}
		var v Value
		if v, rest, err = read(rest, depth+1); err != nil {
			return nil, nil, "", err
		}
		switch {
		case members != nil:
			members[name] = v
		case depth == 0:
			items = append(items, v)
		}
		if rest = trim(rest); rest[0] == ',' {
			rest = trim(rest[1:])
		}
	}
	return members, items, rest[1:], nil
}

// readName reads a member's name and the colon after it.
func readName(text string) (name, rest string, err error) {
	v, rest, _ := read(text, 0)
	name, isText := v.Text()
	if !isText {
		return "", "", errNotJSON
	}
	return name, trim(trim(rest)[1:]), nil
}

// trim returns text without the white space before it (RFC 8259, section 2).
func trim(text string) string { return strings.TrimLeft(text, " \t\r\n") }
