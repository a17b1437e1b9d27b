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
	sid = regexp.MustCompile(`^[A-Za-z0-9]*$`)

	// actionName is a service and an action. See
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html.
	actionName = regexp.MustCompile(`^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$`)
)

// Parse reads a trust policy in JSON. It takes every form that IAM takes
// (single values or lists, one statement or many), and refuses what IAM
// refuses, saying where: what the grammar of policies does not have, and what
// cannot stand in a role's trust policy, such as NotPrincipal. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html.
// Operators that it does not know pass: Evaluate says that it cannot tell what
// they mean.
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

// decode reads one JSON value. In contrast to json.Unmarshal it refuses an
// object that has a name twice, of which IAM and a reader may see different
// ones.
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
			name, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			key := name.(string) // the decoder lets nothing else through
			if !inPolicy(key) {
				return nil, fmt.Errorf("%s has a character that a policy cannot have", quoted(key))
			}
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
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var out []Statement
	sids := map[string]bool{}
	for i, value := range list {
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
			if err == nil && !sid.MatchString(s.SID) {
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
		p.Anyone = true
		return p, nil
	}
	object, ok := value.(map[string]any)
	if !ok || len(object) == 0 {
		return p, errors.New(`it is neither "*" nor an object such as {"Federated": "arn:…"}`)
	}
	for _, kind := range slices.Sorted(maps.Keys(object)) {
		list, err := texts(object[kind])
		if err != nil {
			return p, at(kind, err)
		}
		switch kind {
		case "Federated":
			if slices.Contains(list, "*") {
				return p, at(kind, errors.New(`"*" is not an identity provider; name its ARN`))
			}
			p.Federated = list
		case "AWS", "Service", "CanonicalUser":
			for _, value := range list {
				p.Others = append(p.Others, kind+": "+value)
			}
		default:
			return p, at(kind, errors.New("there is no such kind of principal"))
		}
	}
	return p, nil
}

func actions(value any) ([]string, error) {
	list, err := texts(value)
	if err != nil {
		return nil, err
	}
	for _, action := range list {
		if !actionName.MatchString(action) {
			return nil, fmt.Errorf("%s is not an action such as %s, with wildcards only after the colon", quoted(action), Action)
		}
	}
	return list, nil
}

func parseConditions(value any) ([]Condition, error) {
	operators, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	var out []Condition
	for _, operator := range slices.Sorted(maps.Keys(operators)) {
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

func text(value any) (string, error) {
	s, ok := value.(string)
	if !ok {
		return "", errors.New("it is not a string")
	}
	return s, nil
}

// texts reads a string or a list of them.
func texts(value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var out []string
	for _, value := range list {
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
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	out := []string{}
	for _, value := range list {
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
