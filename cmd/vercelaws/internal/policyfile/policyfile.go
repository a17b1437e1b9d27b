// Package policyfile reads a role's trust policy in the forms in which AWS's tools
// print it.
package policyfile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
)

// roleOutput is what `aws iam get-role` prints. See
// https://docs.aws.amazon.com/cli/latest/reference/iam/get-role.html.
type roleOutput struct {
	Role *struct {
		ARN    string          `json:"Arn"`
		Name   string          `json:"RoleName"`
		Policy json.RawMessage `json:"AssumeRolePolicyDocument"`
	}
	Resources json.RawMessage // of a CloudFormation template, which is none
}

// Read finds the trust policy in what was given: the policy itself, the
// whole output of `aws iam get-role`, or either with the policy URL-encoded, as
// IAM's API answers it (https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html).
// The ARN is the role's, where the output says it.
func Read(given []byte) (policy []byte, roleARN string, err error) {
	given = bytes.TrimSpace(decode(given))
	if string(given) == "null" {
		return nil, "", errors.New("it is null: the role, or the --query that printed this, has no trust policy")
	}
	if len(given) == 0 || given[0] == '%' || given[0] == '"' {
		policy, err := plain(given)
		return policy, "", err
	}
	var out roleOutput
	var broken *json.SyntaxError
	switch err := json.Unmarshal(given, &out); {
	case errors.As(err, &broken):
		return nil, "", fmt.Errorf("it is not JSON: %s, at byte %d", broken, broken.Offset)
	case out.Resources != nil:
		return nil, "", errors.New("it is a CloudFormation template; give it the role's AssumeRolePolicyDocument alone, as vercelaws trust-policy --format json prints it, or the output of aws iam get-role")
	case err != nil || out.Role == nil:
		return given, "", nil
	}
	policy = bytes.TrimSpace(out.Role.Policy)
	if len(policy) == 0 || string(policy) == "null" {
		return nil, out.Role.ARN, fmt.Errorf("the role %s in it has no trust policy (AssumeRolePolicyDocument)", failure.Quote(out.Role.Name))
	}
	policy, err = plain(policy)
	return policy, out.Role.ARN, err
}

// plain takes a policy out of a string in JSON, and then out of URL encoding, if it
// is in either.
func plain(policy []byte) ([]byte, error) {
	text := string(policy)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(policy, &text); err != nil {
			return nil, errors.New("it is neither a policy nor the output of aws iam get-role")
		}
		text = strings.TrimSpace(text)
	}
	if text == "" {
		return nil, errors.New("it is empty")
	}
	if text[0] == '%' {
		unescaped, err := url.PathUnescape(text) // RFC 3986: a plus is a plus
		if err != nil {
			return nil, errors.New("it is not a URL-encoded policy")
		}
		text = unescaped
	}
	return []byte(text), nil
}

// decode returns a text in UTF-8. PowerShell writes UTF-16, or a byte order mark.
func decode(text []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte{0xFF, 0xFE}):
		order = binary.LittleEndian
	case bytes.HasPrefix(text, []byte{0xFE, 0xFF}):
		order = binary.BigEndian
	default:
		return bytes.TrimPrefix(text, []byte("\ufeff"))
	}
	units := make([]uint16, len(text)/2-1)
	for i := range units {
		units[i] = order.Uint16(text[2*i+2:])
	}
	return []byte(string(utf16.Decode(units)))
}
