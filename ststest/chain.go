package ststest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vercelaws/vercelaws/trustpolicy"
)

// longestChained is how long credentials live at most that were obtained with a
// role's credentials, whatever the role allows. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining.
const longestChained = time.Hour

var (
	externalID = lazy(`^[\w+=,.@:/-]*$`)
	tagText    = lazy(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// unknown are parameters that a trust policy can demand and that this server does
// not support.
var unknown = []string{"ProvidedContexts.member.1.ProviderArn", "SerialNumber", "SourceIdentity", "TokenCode"}

// assumeRole is AssumeRole by a session of the server. See
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html.
//
// The server has no policies but trust policies, so each session may call it,
// whatever its role is allowed to do.
func (s *Server) assumeRole(r *http.Request, form url.Values, fault Fault) (*roleAnswer, error) {
	caller, err := s.verify(r, "sts")
	if err != nil {
		return nil, err
	}
	if err := validate(form); err != nil {
		return nil, err
	}
	if id := form.Get("ExternalId"); form.Has("ExternalId") && (len(id) < 2 || len(id) > 1224 || !externalID().MatchString(id)) {
		return nil, invalid("externalId", `Member must satisfy regular expression pattern: [\w+=,.@:\/-]* and have length between 2 and 1224`)
	}
	for _, name := range unknown {
		if form.Has(name) {
			return nil, refuse("InvalidParameterValue", "ststest does not know the parameter %s", name)
		}
	}
	tags, err := readTags(form, caller)
	if err != nil {
		return nil, err
	}
	target, err := s.trustedBy(form, caller, tags)
	if err != nil {
		return nil, err
	}
	if seconds(form) > longestChained {
		return nil, refuse("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	life, err := lifetime(form, target, fault)
	if err != nil {
		return nil, err
	}
	session := s.open(target, form.Get("RoleSessionName"), life, Session{
		SourceARN:         caller.AssumedRoleARN,
		ExternalID:        form.Get("ExternalId"),
		Tags:              tags.all,
		TransitiveTagKeys: tags.transitive,
	})
	return session.answer("AssumeRole", fault, roleResult{}), nil
}

// trustedBy returns the role that is asked for if its trust policy admits the
// caller, with the tags. A role that does not exist is refused in the same
// words, as by AWS.
func (s *Server) trustedBy(form url.Values, caller Session, tags sessionTags) (*role, error) {
	arn := form.Get("RoleArn")
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.roles[arn]
	actions := []string{"sts:AssumeRole"}
	if len(tags.all) > 0 {
		actions = append(actions, "sts:TagSession") // https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
	}
	for _, action := range actions {
		if target == nil || !admits(target.policy, action, form, caller, tags) {
			return nil, forbidden("AccessDenied", "User: %s is not authorized to perform: %s on resource: %s", caller.AssumedRoleARN, action, arn)
		}
	}
	return target, nil
}

// admits evaluates a trust policy for an AWS principal. Package trustpolicy
// evaluates policies for federated principals only. So in a copy of the policy, the
// caller becomes the federated principal of each statement that names it.
func admits(policy *trustpolicy.Document, action string, form url.Values, caller Session, tags sessionTags) bool {
	partition, _, _, _ := roleParts(caller.RoleARN)
	names := []string{caller.RoleARN, caller.AssumedRoleARN, caller.Account, "arn:" + partition + ":iam::" + caller.Account + ":root"}
	keys := map[string][]string{
		"aws:PrincipalAccount":  {caller.Account},
		"aws:PrincipalArn":      {caller.RoleARN},
		"aws:PrincipalType":     {"AssumedRole"},
		"aws:TagKeys":           tags.passed,
		"aws:userid":            {caller.userID()},
		"sts:ExternalId":        form["ExternalId"],
		"sts:RoleSessionName":   form["RoleSessionName"],
		"sts:SourceIdentity":    nil,
		"sts:TransitiveTagKeys": members(form, "TransitiveTagKeys.member.%d"),
	}
	const requestTag, principalTag = "aws:requesttag/", "aws:principaltag/"
	for _, key := range tags.passed {
		keys[requestTag+strings.ToLower(key)] = []string{tags.all[key]}
	}
	for key, value := range caller.Tags {
		keys[principalTag+strings.ToLower(key)] = []string{value}
	}
	seen := &trustpolicy.Document{Version: policy.Version}
	for _, statement := range policy.Statements {
		statement.Principals.Federated = nil
		if slices.ContainsFunc(names, func(name string) bool { return slices.Contains(statement.Principals.Others, "AWS: "+name) }) {
			statement.Principals.Federated = []string{caller.AssumedRoleARN}
		}
		for _, condition := range statement.Conditions {
			// Of tags that start with these, the request has all there are.
			key := strings.ToLower(condition.Key)
			if _, there := keys[key]; !there && (strings.HasPrefix(key, requestTag) || strings.HasPrefix(key, principalTag)) {
				keys[key] = nil
			}
		}
		seen.Statements = append(seen.Statements, statement)
	}
	return seen.Evaluate(trustpolicy.Request{ProviderARN: caller.AssumedRoleARN, Action: action, Context: keys}).Allowed()
}

// sessionTags are the tags of a session that is to be opened.
type sessionTags struct {
	passed     []string          // the keys in the request
	all        map[string]string // those, and the transitive ones of the calling session
	transitive []string          // the keys of the tags that are passed on to the next session
}

// readTags reads the tags of a request, to which the caller's transitive ones
// are added. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_role-chaining.
func readTags(form url.Values, caller Session) (sessionTags, error) {
	tags := sessionTags{all: map[string]string{}, transitive: slices.Clone(caller.TransitiveTagKeys)}
	taken := map[string]string{} // by key in lower case, why it cannot be passed
	for _, key := range caller.TransitiveTagKeys {
		taken[strings.ToLower(key)] = "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."
		tags.all[key] = caller.Tags[key]
	}
	for i, key := range members(form, "Tags.member.%d.Key") {
		value := form.Get(fmt.Sprintf("Tags.member.%d.Value", i+1))
		lower := strings.ToLower(key)
		switch {
		case key == "" || utf8.RuneCountInString(key) > 128 || utf8.RuneCountInString(value) > 256 || !tagText().MatchString(key) || !tagText().MatchString(value):
			return tags, invalid(fmt.Sprintf("tags.%d.member", i+1), "Member must have a key of 1 to 128 and a value of up to 256 characters of letters, digits, white space and _.:/=+-@")
		case strings.HasPrefix(lower, "aws:"), strings.HasPrefix(strings.ToLower(value), "aws:"): // https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html
			return tags, refuse("InvalidParameterValue", "A tag key or value cannot begin with aws:, which is reserved")
		case i >= 50:
			return tags, invalid("tags", "Member must have length less than or equal to 50")
		case taken[lower] != "":
			return tags, refuse("InvalidParameterValue", "%s", taken[lower])
		}
		taken[lower] = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
		tags.passed = append(tags.passed, key)
		tags.all[key] = value
	}
	for _, key := range members(form, "TransitiveTagKeys.member.%d") {
		if !slices.Contains(tags.passed, key) {
			return tags, refuse("InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.")
		}
		tags.transitive = append(tags.transitive, key)
	}
	return tags, nil
}

// members reads a list in the AWS query protocol. The format is that of the
// items' names, such as "Tags.member.%d.Key".
func members(form url.Values, format string) []string {
	var out []string
	for i := 1; ; i++ {
		name := fmt.Sprintf(format, i)
		if !form.Has(name) {
			return out
		}
		out = append(out, form.Get(name))
	}
}
