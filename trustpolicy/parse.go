package trustpolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const (
	// maxDocument is the most characters that CreateRole takes, with white
	// space. See
	// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html.
	maxDocument = 131_072
	maxDepth    = 16 // a policy needs 6
)

var (
	// sid is a statement's ID. Consoles write an empty one. See
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html.
	sid = whenUsed(`^[A-Za-z0-9]*$`)

	// actionName is a service and an action. See
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html.
	actionName = whenUsed(`^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$`)

	// identityProvider is what Federated can be: an OIDC or SAML provider of an
	// account, or one that IAM knows by name. See
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-federated-web-identity.
	identityProvider = whenUsed(`^(arn:[a-z0-9-]+:iam::[0-9]{12}:(oidc-provider|saml-provider)/[^*?]+` +
		`|accounts\.google\.com|cognito-identity\.amazonaws\.com|graph\.facebook\.com|www\.amazon\.com)$`)

	// awsPrincipal is what AWS can be, beside "*": an account, or a user, role or
	// session of one. The ID of a principal that was deleted stands in its place.
	// See
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html.
	awsPrincipal = whenUsed(`^([0-9]{12}|arn:[a-z0-9-]+:(iam|sts)::[0-9]{12}:[^*?]+|A[A-Z0-9]{15,})$`)
)

// whenUsed is a regular expression that is made when it is first used, so that
// a program which imports this package pays nothing at its start.
func whenUsed(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// trustActions are the actions that a role's trust policy can have; IAM refuses
// others ("AssumeRole policy may only specify STS AssumeRole actions"). See
// https://github.com/hashicorp/terraform-provider-aws/issues/32872 and
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html.
var trustActions = []string{"sts:AssumeRole", "sts:AssumeRoleWithSAML", Action, "sts:TagSession", "sts:SetSourceIdentity", "sts:SetContext"}

// Parse reads a trust policy in JSON. It takes every form that IAM takes: single
// values or lists, one statement or many. It refuses a policy that IAM refuses, and
// says where the fault is. These are policies that do not follow the grammar
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html),
// and those with elements that a role's trust policy cannot have, such as
// NotPrincipal, actions that are not for assuming a role, or "Principal": "*" (see
// https://github.com/aws/aws-cdk/issues/5732).
//
// It does not check the quota for the length, since an account can have it raised.
// Warnings does.
func Parse(data []byte) (*Document, error) {
	d, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("trustpolicy: %w", err)
	}
	return d, nil
}

func parse(data []byte) (*Document, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("the document has %d bytes; no policy has more than %d", len(data), maxDocument)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	value, err := decode(decoder, 0)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the JSON ends too early")
		}
		return nil, fmt.Errorf("near byte %d: %w", decoder.InputOffset(), err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("near byte %d: something follows the document", decoder.InputOffset())
	}
	document, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("the document is not a JSON object")
	}
	return parseDocument(document)
}

// decode reads one JSON value. Unlike json.Unmarshal it refuses an object that has
// a name twice: IAM may use one of the two, and a reader see the other.
func decode(decoder *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("the JSON is nested too deeply for a policy")
	}
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	if s, ok := token.(string); ok && !inPolicy(s) {
		return nil, fmt.Errorf("%s has a character that a policy cannot have", quoted(s))
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for decoder.More() {
			name, err := decode(decoder, depth)
			if err != nil {
				return nil, err
			}
			key := name.(string) // the decoder lets nothing else through
			if _, twice := object[key]; twice {
				return nil, fmt.Errorf("%s stands twice in one object", quoted(key))
			}
			if object[key], err = decode(decoder, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := decoder.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			value, err := decode(decoder, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := decoder.Token()
		return list, err
	}
	return token, nil
}

// inPolicy reports whether a text has only characters that IAM takes. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-names.
func inPolicy(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r > 0xFF || r < ' ' && r != '\t' && r != '\n' && r != '\r'
	})
}

func parseDocument(in map[string]any) (*Document, error) {
	d := &Document{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		var err error
		switch value := in[name]; name {
		case "Version":
			d.Version, err = text(value)
			if err == nil && d.Version != "2012-10-17" && d.Version != "2008-10-17" {
				err = fmt.Errorf("%s is neither 2012-10-17 nor 2008-10-17", quoted(d.Version))
			}
		case "Id":
			d.ID, err = text(value)
		case "Statement":
			d.Statements, err = parseStatements(value)
		default:
			err = errors.New("a policy has no such element")
		}
		if err != nil {
			return nil, at(name, err)
		}
	}
	if len(d.Statements) == 0 {
		return nil, errors.New("Statement: the policy has none")
	}
	return d, nil
}

func parseStatements(value any) ([]Statement, error) {
	var out []Statement
	sids := map[string]bool{}
	for i, value := range items(value) {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, at(fmt.Sprint(i), errors.New("it is not an object"))
		}
		s, err := parseStatement(object)
		if err != nil {
			return nil, at(fmt.Sprint(i), err)
		}
		if s.SID != "" && sids[s.SID] {
			return nil, at(fmt.Sprint(i), at("Sid", fmt.Errorf("%s is that of another statement too", quoted(s.SID))))
		}
		sids[s.SID] = true
		out = append(out, s)
	}
	return out, nil
}

func parseStatement(in map[string]any) (Statement, error) {
	var s Statement
	for _, name := range slices.Sorted(maps.Keys(in)) {
		var err error
		switch value := in[name]; name {
		case "Sid":
			s.SID, err = text(value)
			if err == nil && !sid().MatchString(s.SID) {
				err = fmt.Errorf("%s has a character other than letters and digits", quoted(s.SID))
			}
		case "Effect":
			s.Effect, err = text(value)
			if err == nil && s.Effect != "Allow" && s.Effect != "Deny" {
				err = fmt.Errorf("%s is neither Allow nor Deny", quoted(s.Effect))
			}
		case "Principal":
			s.Principals, err = parsePrincipals(value)
		case "NotPrincipal":
			err = errors.New("a role's trust policy cannot have it; name the principals, and use a condition to leave some out")
		case "Action":
			s.Actions, err = actions(value)
		case "NotAction":
			s.NotActions, err = actions(value)
		case "Condition":
			s.Conditions, err = parseConditions(value)
		case "Resource", "NotResource":
			err = errors.New("a trust policy has no such element: its resource is the role itself")
		default:
			err = errors.New("a statement has no such element")
		}
		if err != nil {
			return s, at(name, err)
		}
	}
	_, principal := in["Principal"]
	_, action := in["Action"]
	_, notAction := in["NotAction"]
	switch {
	case s.Effect == "":
		return s, at("Effect", errors.New("the statement has none"))
	case !principal:
		return s, at("Principal", errors.New("the statement has none"))
	case action == notAction:
		return s, at("Action", errors.New("the statement needs one of Action and NotAction"))
	}
	return s, nil
}

func parsePrincipals(value any) (Principals, error) {
	var p Principals
	if value == "*" {
		return p, errors.New(`IAM refuses "*" in a trust policy; {"AWS": "*"} is everyone, and {"Federated": "arn:…"} an identity provider`)
	}
	object, ok := value.(map[string]any)
	if !ok || len(object) == 0 {
		return p, errors.New(`it is not an object such as {"Federated": "arn:…"}`)
	}
	for _, kind := range slices.Sorted(maps.Keys(object)) {
		list, err := texts(object[kind])
		if err != nil {
			return p, at(kind, err)
		}
		for _, value := range list {
			if err := p.add(kind, value); err != nil {
				return p, at(kind, err)
			}
		}
	}
	return p, nil
}

// add adds a principal of a kind. No kind takes a wildcard for a part of a name.
func (p *Principals) add(kind, value string) error {
	switch {
	case kind == "AWS" && value == "*":
		p.Anyone = true
		return nil
	case kind == "Federated" && !identityProvider().MatchString(value):
		return fmt.Errorf("%s is not an identity provider; name its ARN, such as %s", quoted(value), ProviderARN("", "123456789012", TeamIssuer("acme")))
	case kind == "Federated":
		p.Federated = append(p.Federated, value)
		return nil
	case kind == "AWS" && !awsPrincipal().MatchString(value):
		return fmt.Errorf("%s is not an account, or the ARN of a user or role without wildcards", quoted(value))
	case kind != "AWS" && kind != "Service" && kind != "CanonicalUser":
		return errors.New("there is no such kind of principal")
	case strings.ContainsAny(value, "*?"):
		return fmt.Errorf("%s has a wildcard, which only \"AWS\": \"*\" can be", quoted(value))
	}
	p.Others = append(p.Others, kind+": "+value)
	return nil
}

func actions(value any) ([]string, error) {
	list, err := texts(value)
	if err != nil {
		return nil, err
	}
	for _, action := range list {
		if !actionName().MatchString(action) {
			return nil, fmt.Errorf("%s is not an action such as %s, with wildcards only after the colon", quoted(action), Action)
		}
		if !slices.ContainsFunc(trustActions, func(known string) bool { return like(lowerASCII(action), lowerASCII(known)) }) {
			return nil, fmt.Errorf("a trust policy cannot have the action %s%s", quoted(action), meant(action, trustActions))
		}
	}
	return list, nil
}

// meant asks whether one of the known names was meant: the one that has the
// longest beginning in common with name, if that is more than half of name.
func meant(name string, known []string) string {
	best, most := "", len(name)/2
	for _, other := range known {
		n := 0
		for n < min(len(name), len(other)) && equalFold(name[n:n+1], other[n:n+1]) == yes {
			n++
		}
		if n > most {
			best, most = other, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

func parseConditions(value any) ([]Condition, error) {
	operators, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	var out []Condition
	for _, operator := range slices.Sorted(maps.Keys(operators)) {
		if !operatorExists(operator) {
			return nil, at(operator, fmt.Errorf("IAM has no such operator%s", meant(operator, operatorNames())))
		}
		keys, ok := operators[operator].(map[string]any)
		if !ok {
			return nil, at(operator, errors.New("it is not an object of condition keys"))
		}
		seen := map[string]string{} // key names are compared without regard to case
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			values, err := scalars(keys[key])
			if err != nil {
				return nil, at(operator, at(key, err))
			}
			if other, twice := seen[lowerASCII(key)]; twice {
				return nil, at(operator, at(key, fmt.Errorf("it is the same key as %s, and a key can stand once", quoted(other))))
			}
			seen[lowerASCII(key)] = key
			out = append(out, Condition{Operator: operator, Key: key, Values: values})
		}
	}
	return out, nil
}

// items returns the items of a list. A single value may stand for a list of one.
func items(value any) []any {
	if list, ok := value.([]any); ok {
		return list
	}
	return []any{value}
}

func text(value any) (string, error) {
	s, ok := value.(string)
	if !ok {
		return "", errors.New("it is not a string")
	}
	return s, nil
}

// texts reads a string or a list of them.
func texts(value any) ([]string, error) {
	var out []string
	for _, value := range items(value) {
		s, err := text(value)
		if err != nil {
			return nil, errors.New("it is neither a string nor a list of strings")
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, errors.New("the list is empty")
	}
	return out, nil
}

// scalars reads condition values, where IAM takes numbers and booleans for
// strings too.
func scalars(value any) ([]string, error) {
	out := []string{}
	for _, value := range items(value) {
		switch v := value.(type) {
		case string:
			out = append(out, v)
		case json.Number:
			out = append(out, v.String())
		case bool:
			out = append(out, fmt.Sprint(v))
		default:
			return nil, errors.New("a value is not a string, number or boolean")
		}
	}
	return out, nil
}

// pathError is an error with the place in the document where it is.
type pathError struct {
	path string
	err  error
}

// Error is the place and the reason.
func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }

// Unwrap returns the reason.
func (e *pathError) Unwrap() error { return e.err }

func at(name string, err error) error {
	name = plain(name)
	if inner, ok := err.(*pathError); ok {
		return &pathError{name + "." + inner.path, inner.err}
	}
	return &pathError{name, err}
}
