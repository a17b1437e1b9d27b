package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vercelaws/vercelaws/internal/jwtjson"
)

// readPart reads one part of a JWT and calls member for each of its members.
func readPart(part string, member func(name string, v jwtjson.Value) error) error {
	text, err := jwtjson.Part(part)
	if err != nil {
		return err
	}
	return jwtjson.Members(text, member)
}

// setClaim puts a claim into its field. STS needs iss, sub, aud and the times, so
// those must have their types; null is no text. The others must not make a token
// unusable that STS would take.
func (t *Token) setClaim(name string, v jwtjson.Value) (err error) {
	switch name {
	case "iss":
		t.Issuer, err = text(name, v)
	case "sub":
		t.Subject, err = text(name, v)
	case "aud":
		t.Audience, err = audience(v)
	case "exp":
		t.Expiry, err = numericDate(v)
	case "iat":
		t.IssuedAt, err = numericDate(v)
	case "nbf":
		t.NotBefore, err = numericDate(v)
	case "owner":
		t.Owner = label(v)
	case "owner_id":
		t.OwnerID = label(v)
	case "project":
		t.Project = label(v)
	case "project_id":
		t.ProjectID = label(v)
	case "environment":
		t.Environment = label(v)
	case "plan":
		t.Plan = label(v)
	case "user_id":
		t.UserID = label(v)
	}
	return err
}

func text(name string, v jwtjson.Value) (string, error) {
	s, ok := v.Text()
	if !ok && v != "null" {
		return "", fmt.Errorf("the claim %s has the wrong type", name)
	}
	return s, nil
}

// label returns a claim of Vercel's: text, or a number as it is written.
func label(v jwtjson.Value) string {
	if _, ok := v.Number(); ok {
		return string(v)
	}
	s, _ := v.Text()
	return s
}

// audience returns the claim aud: one string or a list of them (RFC 7519, section
// 4.1.3).
func audience(v jwtjson.Value) ([]string, error) {
	var all []string
	add := func(v jwtjson.Value) error {
		s, ok := v.Text()
		if !ok {
			return errors.New("the claim aud is neither a string nor a list of strings")
		}
		all = append(all, s)
		return nil
	}
	list, err := v.Items(add)
	if !list {
		err = add(v)
	}
	return all, err
}

// latestTime bounds a NumericDate so that arithmetic on it cannot overflow.
const latestTime = 1 << 38 // the year 10680

// numericDate returns a time claim: seconds since 1970, perhaps with a fraction
// (RFC 7519, section 2).
func numericDate(v jwtjson.Value) (time.Time, error) {
	seconds, ok := v.Number()
	if !ok {
		return time.Time{}, errors.New("a time claim (exp, iat or nbf) is not a number")
	}
	if seconds < 0 || seconds >= latestTime {
		return time.Time{}, errors.New("a time claim (exp, iat or nbf) is out of range")
	}
	return time.Unix(int64(seconds), 0), nil
}

// describeJSON keeps the member's name and drops its value: encoding/json
// quotes input in some of its errors, and the input may hold a token.
func describeJSON(err error) error {
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) {
		if typeErr.Field == "" {
			return errors.New("it is not a JSON object")
		}
		return fmt.Errorf("the claim %s has the wrong type", typeErr.Field)
	}
	var timeErr *timeError
	if errors.As(err, &timeErr) {
		return timeErr
	}
	return errors.New("it is not JSON")
}

// unixTime is a NumericDate in a document that package encoding/json reads.
type unixTime struct{ time.Time }

// UnmarshalJSON takes a number of seconds.
func (t *unixTime) UnmarshalJSON(b []byte) (err error) {
	if t.Time, err = numericDate(jwtjson.Value(b)); err != nil {
		return &timeError{err}
	}
	return nil
}

// timeError is a time that has no meaning.
type timeError struct{ error }
