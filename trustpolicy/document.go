// Package trustpolicy is the AWS side of Vercel's OIDC federation: the names
// that IAM needs (provider URL, audience, subject), and trust policies, which
// it builds, parses and evaluates for a token as IAM would.
//
// Build makes the policy of a role that a Vercel project may assume. Parse and
// Evaluate explain why a token is refused: AWS itself says no more than "Not
// authorized to perform sts:AssumeRoleWithWebIdentity".
package trustpolicy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Action is the STS action with which a token is exchanged for credentials.
const Action = "sts:AssumeRoleWithWebIdentity"

// Document is a trust policy: the policy of a role that says who may assume
// it. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html.
type Document struct {
	Version    string // "2012-10-17"; the older "2008-10-17" has no policy variables
	ID         string // optional
	Statements []Statement
}

// Statement is one permission or prohibition.
type Statement struct {
	SID        string // optional
	Effect     string // "Allow" or "Deny"
	Principals Principals
	Actions    []string // may hold * and ?
	NotActions []string // in place of Actions: all but these
	Conditions []Condition
}

// Principals are whom a statement speaks of.
type Principals struct {
	Anyone    bool     // {"AWS": "*"}
	Federated []string // ARNs of identity providers
	Others    []string // other kinds of principals, as "AWS: arn:…"
}

// Condition is one test of a condition key. Values are alternatives.
type Condition struct {
	Operator string // such as "StringEquals" or "ForAnyValue:StringLikeIfExists"
	Key      string // such as "oidc.vercel.com/acme:sub"
	Values   []string
}

// MarshalJSON writes the policy as IAM takes it. Lists of one are written as
// the value alone. It is an error if the policy cannot be written so that it
// still decides the same: with more conditions of one operator on one key than
// JSON has names for.
func (d *Document) MarshalJSON() ([]byte, error) {
	type document struct {
		Version   string           `json:",omitempty"`
		ID        string           `json:"Id,omitempty"`
		Statement []map[string]any `json:""`
	}
	out := document{Version: d.Version, ID: d.ID, Statement: []map[string]any{}}
	for _, s := range d.Statements {
		fields, err := s.fields()
		if err != nil {
			return nil, err
		}
		out.Statement = append(out.Statement, fields)
	}
	return json.Marshal(out)
}

// String returns the policy as indented JSON, or the error of MarshalJSON.
func (d *Document) String() string {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (s Statement) fields() (map[string]any, error) {
	out := map[string]any{"Effect": s.Effect}
	if s.SID != "" {
		out["Sid"] = s.SID
	}
	out["Principal"] = s.Principals.json()
	if len(s.Actions) > 0 {
		out["Action"] = oneOrMany(s.Actions)
	}
	if len(s.NotActions) > 0 {
		out["NotAction"] = oneOrMany(s.NotActions)
	}
	if len(s.Conditions) > 0 {
		written := map[string]map[string]Condition{} // by operator, then by key without regard to case
		conditions := map[string]map[string]any{}
		for _, c := range s.Conditions {
			operator, err := freeOperator(written, c)
			if err != nil {
				return nil, err
			}
			if written[operator] == nil {
				written[operator] = map[string]Condition{}
				conditions[operator] = map[string]any{}
			}
			written[operator][lowerASCII(c.Key)] = c
			conditions[operator][c.Key] = oneOrMany(c.Values)
		}
		out["Condition"] = conditions
	}
	return out, nil
}

// freeOperator returns the operator under which a condition can be written
// beside those that stand already. An object has each name once, so a second
// condition of one operator and key becomes one with IfExists: where the key is
// there they are the same, and where it is missing the first decides.
func freeOperator(written map[string]map[string]Condition, c Condition) (string, error) {
	for _, operator := range []string{c.Operator, c.Operator + "IfExists"} {
		other, taken := written[operator][lowerASCII(c.Key)]
		if !taken || other.Key == c.Key && slices.Equal(other.Values, c.Values) {
			return operator, nil
		}
		if o := parseOperator(c.Operator); o.compare == nil || o.ifExists {
			break
		}
	}
	return "", fmt.Errorf("trustpolicy: a statement has more conditions of %s on %s than can be written", quoted(c.Operator), quoted(c.Key))
}

func (p Principals) json() any {
	out := map[string][]string{}
	if p.Anyone {
		out["AWS"] = []string{"*"} // IAM refuses "*" without a kind
	}
	if len(p.Federated) > 0 {
		out["Federated"] = p.Federated
	}
	for _, other := range p.Others {
		kind, value, _ := strings.Cut(other, ": ")
		out[kind] = append(out[kind], value)
	}
	values := map[string]any{}
	for kind, list := range out {
		values[kind] = oneOrMany(list)
	}
	return values
}

func oneOrMany(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return append([]string{}, values...)
}
