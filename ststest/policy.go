package ststest

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json" // its names are exact, and none may come twice
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
// It does not check whether the actions and condition operators exist.
func sessionPolicy(text string) error {
	malformed := func(why string) error { return refuse("MalformedPolicyDocument", "%s", why) }
	var document map[string]json.RawMessage
	var statements oneOrMore[map[string]json.RawMessage]
	version := "2008-10-17"
	if json.Unmarshal([]byte(text), &document) != nil {
		return malformed("This policy contains invalid Json")
	}
	if said := document["Version"]; said != nil && (json.Unmarshal(said, &version) != nil || version != "2012-10-17" && version != "2008-10-17") {
		return malformed("The policy must contain a valid version string")
	}
	if json.Unmarshal(document["Statement"], &statements) != nil || len(statements) == 0 || !only(document, "Version", "Id", "Statement") {
		return malformed("Syntax errors in policy.")
	}
	for _, statement := range statements {
		var effect string
		var condition map[string]map[string]any
		var actions, resources oneOrMore[string]
		either := func(name string, into *oneOrMore[string]) bool { // the element or its opposite, not both
			is, isNot := statement[name], statement["Not"+name]
			return (is == nil) != (isNot == nil) && json.Unmarshal(slices.Concat(is, isNot), into) == nil && len(*into) > 0
		}
		switch {
		case statement["Principal"] != nil || statement["NotPrincipal"] != nil:
			return malformed("Policy document should not specify a principal.")
		case !only(statement, "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"),
			json.Unmarshal(statement["Effect"], &effect) != nil || effect != "Allow" && effect != "Deny",
			statement["Condition"] != nil && json.Unmarshal(statement["Condition"], &condition) != nil,
			!either("Action", &actions) || !either("Resource", &resources):
			return malformed("Syntax errors in policy.")
		case slices.ContainsFunc(actions, func(a string) bool { return a != "*" && !strings.Contains(a, ":") }):
			return malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		case slices.ContainsFunc(resources, func(r string) bool { return r != "*" && !strings.HasPrefix(r, "arn:") }):
			return malformed(`Resources must be in ARN format or "*".`)
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

// oneOrMore is a list in JSON, or its only item.
type oneOrMore[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (o *oneOrMore[T]) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, (*[]T)(o)) == nil {
		return nil
	}
	*o = make([]T, 1)
	return json.Unmarshal(b, &(*o)[0])
}
