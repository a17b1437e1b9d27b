package oidc

import (
	"errors"
	"fmt"
	"time"

	"github.com/vercelaws/vercelaws/internal/jwtjson"
)

// readPart reads one part of a JWT.
func readPart(part string) (text string, members map[string]jwtjson.Value, err error) {
	if text, err = jwtjson.Part(part); err == nil {
		members, err = jwtjson.Object(text)
	}
	return text, members, err
}

// label reads a claim that only Vercel defines: a string, or a number as its
// digits. Any other value counts as missing. STS does not read these claims, so
// none of them makes a token unusable.
func label(v jwtjson.Value) string {
	if _, ok := v.Number(); ok {
		return string(v)
	}
	s, _ := v.Text()
	return s
}

// setText reads a claim that must be there.
func setText(to *string, name string, claims map[string]jwtjson.Value) error {
	v := claims[name]
	s, isText := v.Text()
	switch *to = s; {
	case s != "":
		return nil
	case isText, v == "", v == "null":
		return fmt.Errorf("it has no %s claim", name)
	}
	return fmt.Errorf("the claim %s has the wrong type", name)
}

// setAudience reads the claim aud: one string or a list of them (RFC 7519, section
// 4.1.3).
func setAudience(to *[]string, v jwtjson.Value) error {
	items, ok := v.List()
	if !ok && v != "" {
		items = []jwtjson.Value{v}
	}
	for _, item := range items {
		s, ok := item.Text()
		if !ok {
			return errors.New("the claim aud is neither a string nor a list of strings")
		}
		*to = append(*to, s)
	}
	return nil
}

// latestTime bounds a NumericDate so that arithmetic on it cannot overflow.
const latestTime = 1 << 38 // the year 10680

// setTime reads a time claim, if it is there: seconds since 1970, perhaps with a
// fraction (RFC 7519, section 2).
func setTime(to *time.Time, v jwtjson.Value) error {
	seconds, ok := v.Number()
	switch {
	case v == "":
		return nil
	case !ok:
		return errors.New("a time claim (exp, iat or nbf) is not a number")
	case seconds < 0 || seconds >= latestTime:
		return errors.New("a time claim (exp, iat or nbf) is out of range")
	}
	*to = time.Unix(int64(seconds), 0)
	return nil
}
