package ststest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// validatePolicies checks the session policies of a call for a role of the
// account. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session
// and https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
func validatePolicies(form url.Values, partition, account string) error {
	policy, arns := form.Get("Policy"), members(form, "PolicyArns.member.%d.arn")
	if len(arns) > 10 {
		return invalid("policyArns", "Member must have length less than or equal to 10")
	}
	for _, arn := range arns {
		managed := strings.HasPrefix(arn, "arn:"+partition+":iam::aws:policy/")
		if own := strings.HasPrefix(arn, "arn:"+partition+":iam::"+account+":policy/"); !managed && !own || strings.HasSuffix(arn, "/") {
			return refuse("ValidationError", "The specified policy ARN %s is invalid: it must be that of a managed policy of AWS or of the role's account", arn)
		}
	}
	if utf8.RuneCountInString(policy)+len(strings.Join(arns, "")) > 2048 {
		return refuse("PackedPolicyTooLarge", "the session policies have more than 2048 characters")
	}
	if !form.Has("Policy") {
		return nil
	}
	return sessionPolicy(policy)
}

// sessionPolicy checks the form of a policy that is not attached to a resource.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html.
// Whether the actions and condition operators exist, it does not know.
func sessionPolicy(text string) error {
	var document map[string]json.RawMessage // its names are exact, unlike a struct's
	if json.Unmarshal([]byte(text), &document) != nil {
		return refuse("MalformedPolicyDocument", "This policy contains invalid Json")
	}
	var version string
	if said := document["Version"]; said != nil && (json.Unmarshal(said, &version) != nil || version != "2012-10-17" && version != "2008-10-17") {
		return refuse("MalformedPolicyDocument", "The policy must contain a valid version string")
	}
	var statements []map[string]json.RawMessage
	if json.Unmarshal(document["Statement"], &statements) != nil {
		statements = make([]map[string]json.RawMessage, 1)
		_ = json.Unmarshal(document["Statement"], &statements[0]) // without elements it is refused below
	}
	syntax := refuse("MalformedPolicyDocument", "Syntax errors in policy.")
	if len(statements) == 0 || !only(document, "Version", "Id", "Statement") {
		return syntax
	}
	for _, statement := range statements {
		var effect string
		var condition map[string]map[string]any
		actions := oneOf(statement, "Action", "NotAction")
		resources := oneOf(statement, "Resource", "NotResource")
		switch {
		case statement["Principal"] != nil || statement["NotPrincipal"] != nil:
			return refuse("MalformedPolicyDocument", "Policy document should not specify a principal.")
		case !only(statement, "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"),
			json.Unmarshal(statement["Effect"], &effect) != nil || effect != "Allow" && effect != "Deny",
			statement["Condition"] != nil && json.Unmarshal(statement["Condition"], &condition) != nil,
			len(actions) == 0 || len(resources) == 0:
			return syntax
		case slices.ContainsFunc(actions, func(a string) bool { return a != "*" && !strings.Contains(a, ":") }):
			return refuse("MalformedPolicyDocument", "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		case slices.ContainsFunc(resources, func(r string) bool { return r != "*" && !strings.HasPrefix(r, "arn:") }):
			return refuse("MalformedPolicyDocument", `Resources must be in ARN format or "*".`)
		}
	}
	return nil
}

func only(object map[string]json.RawMessage, names ...string) bool {
	for name := range object {
		if !slices.Contains(names, name) {
			return false
		}
	}
	return true
}

// oneOf is the list of strings, or the one string, in one of the elements. It
// is empty if there are both.
func oneOf(statement map[string]json.RawMessage, name, not string) []string {
	if statement[name] != nil && statement[not] != nil {
		return nil
	}
	value := slices.Concat(statement[name], statement[not])
	var many []string
	if json.Unmarshal(value, &many) == nil {
		return many
	}
	var one string
	if json.Unmarshal(value, &one) != nil {
		return nil
	}
	return []string{one}
}
