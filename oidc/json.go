package oidc

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

var errNotBase64 = errors.New("it is not base64url")

// decodePart reads one part of a JWT into v.
func decodePart(part string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return errNotBase64
	}
	if err := json.Unmarshal(b, v); err != nil {
		return describeJSON(err)
	}
	return nil
}

// describeJSON keeps the claim's name and drops its value: encoding/json
// quotes input in some of its errors, and the input is part of a token.
func describeJSON(err error) error {
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) {
		if typeErr.Field == "" {
			return errors.New("it is not a JSON object")
		}
		return fmt.Errorf("the claim %s has the wrong type", typeErr.Field)
	}
	var claimErr *claimError
	if errors.As(err, &claimErr) {
		return claimErr
	}
	return errors.New("it is not JSON")
}

// claimError is a claim that has the right JSON type and no meaning.
type claimError struct{ msg string }

// Error names the claim and not its value.
func (e *claimError) Error() string { return e.msg }

// audience is one string or a list of them (RFC 7519, section 4.1.3).
type audience []string

// UnmarshalJSON takes both forms.
func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(a))
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return &claimError{"the claim aud is neither a string nor a list of strings"}
	}
	*a = audience{one}
	return nil
}

// unixTime is a NumericDate: seconds since 1970, perhaps with a fraction (RFC
// 7519, section 2).
type unixTime struct{ time.Time }

// latestTime bounds a NumericDate so that arithmetic on it cannot overflow.
const latestTime = 1 << 38 // the year 10680

// UnmarshalJSON takes a number of seconds.
func (t *unixTime) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return &claimError{"a time claim (exp, iat or nbf) is not a number"}
	}
	if seconds <= 0 || seconds >= latestTime {
		return &claimError{"a time claim (exp, iat or nbf) is out of range"}
	}
	t.Time = time.Unix(int64(seconds), 0)
	return nil
}
