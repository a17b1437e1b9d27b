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
	SID          string // optional
	Effect       string // "Allow" or "Deny"
	Principals   Principals
	Actions      []string // may hold * and ?
	NotActions   []string // in place of Actions: all but these
	Conditions   []Condition
	notPrincipal bool // the statement has NotPrincipal, which Principals then holds
}

// Principals are whom a statement speaks of.
type Principals struct {
	Anyone    bool     // "*"
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
// the value alone.
func (d *Document) MarshalJSON() ([]byte, error) {
	type document struct {
		Version   string           `json:",omitempty"`
		ID        string           `json:"Id,omitempty"`
		Statement []map[string]any `json:""`
	}
	out := document{Version: d.Version, ID: d.ID, Statement: []map[string]any{}}
	for _, s := range d.Statements {
		out.Statement = append(out.Statement, s.fields())
	}
	return json.Marshal(out)
}

// String returns the policy as indented JSON.
func (d *Document) String() string {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err.Error() // strings and lists always marshal
	}
	return string(b)
}

func (s Statement) fields() map[string]any {
	out := map[string]any{"Effect": s.Effect}
	if s.SID != "" {
		out["Sid"] = s.SID
	}
	if s.notPrincipal {
		out["NotPrincipal"] = s.Principals.json()
	} else {
		out["Principal"] = s.Principals.json()
	}
	if len(s.Actions) > 0 {
		out["Action"] = oneOrMany(s.Actions)
	}
	if len(s.NotActions) > 0 {
		out["NotAction"] = oneOrMany(s.NotActions)
	}
	if len(s.Conditions) > 0 {
		conditions := map[string]map[string]any{}
		for _, c := range s.Conditions {
			if conditions[c.Operator] == nil {
				conditions[c.Operator] = map[string]any{}
			}
			conditions[c.Operator][c.Key] = oneOrMany(c.Values)
		}
		out["Condition"] = conditions
	}
	return out
}

func (p Principals) json() any {
	if p.Anyone {
		return "*"
	}
	out := map[string][]string{}
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
