package policyfile

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// What people have at hand is read; what holds no policy is named.
func TestRead(t *testing.T) {
	const policy = `{"Version":"2012-10-17","Statement":[]}`
	const encoded = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D"
	for given, says := range map[string]string{
		policy:                    "",
		"\ufeff " + policy + "\n": "",
		encoded + "\n":            "",
		`"` + encoded + `"`:       "",
		`{"Role": {"RoleName": "web", "AssumeRolePolicyDocument": ` + policy + `}}`:           "",
		`{"Role": {"RoleName": "web", "AssumeRolePolicyDocument": "` + encoded + `"}}`:        "",
		`{"Role": {"RoleName": "web", "AssumeRolePolicyDocument": "  {\"Version\"...` + `"}}`: "?",
		`{"Version": "2012-10-17"`:       "it is not JSON: unexpected end of JSON input, at byte 24",
		"Version: \"2012-10-17\"":        "it is not JSON: invalid character 'V'",
		`{"Resources": {}}`:              "it is a CloudFormation template",
		"\xff\xfe{\x00}\x00":             "?",
		"\xfe\xff\x00[\x00]":             "?",
		"\xff\xfe":                       "it is empty",
		"\xff\xfe\x00":                   "it is empty", // cut short
		"":                               "it is empty",
		" \n":                            "it is empty",
		`""`:                             "it is empty",
		"null\n":                         "it is null",
		`"`:                              "neither a policy",
		`{"Role": {"RoleName": "a\nb"}}`: `the role "a b" in it has no trust policy`,
		`{"Role": {"RoleName": "web", "AssumeRolePolicyDocument": null}}`: `the role "web" in it has no trust policy`,
		"%zz": "not a URL-encoded policy",
	} {
		got, _, err := Read([]byte(given))
		switch says {
		case "":
			require.NoError(t, err, given)
			assert.JSONEq(t, policy, string(got), given)
		case "?": // left for the parser to refuse
			require.NoError(t, err)
			_, err = trustpolicy.Parse(got)
			assert.Error(t, err)
		default:
			assert.ErrorContains(t, err, says, given)
		}
	}
}
