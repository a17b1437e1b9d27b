package trustpolicy

import (
	"slices"
	"strings"
)

// Request is what IAM knows of an AssumeRoleWithWebIdentity when it evaluates
// a role's trust policy.
type Request struct {
	// ProviderARN is the account's OIDC provider for the token's issuer; see
	// the function ProviderARN.
	ProviderARN string

	// Action is the action asked for. If empty, sts:AssumeRoleWithWebIdentity.
	Action string

	// Context holds the values of the condition keys, as ConditionContext
	// makes them of a token. Names are compared without regard to case. Keys
	// that begin with "aws:" or "sts:" and are not in it are taken for
	// unknown; all others for missing.
	Context map[string][]string
}

// lookup returns the request's values for a condition key, and whether they are
// known.
func (r Request) lookup(key string) (values []string, known bool) {
	for name, values := range r.Context {
		if strings.EqualFold(name, key) {
			return values, true
		}
	}
	prefix, _, _ := strings.Cut(strings.ToLower(key), ":")
	return nil, prefix != "aws" && prefix != "sts"
}

// Decision is the outcome of an evaluation.
type Decision int

const (
	// ImplicitDeny: no statement allows it.
	ImplicitDeny Decision = iota
	// ExplicitDeny: a statement with the effect Deny applies.
	ExplicitDeny
	// CannotTell: it hangs on an operator, variable or key that this package
	// does not know.
	CannotTell
	// Allowed: a statement allows it, and none denies it.
	Allowed
)

// String returns the decision in words.
func (d Decision) String() string {
	return [...]string{"not allowed", "explicitly denied", "cannot tell", "allowed"}[d]
}

// Result is an evaluation with its reasons.
type Result struct {
	Decision   Decision
	Statements []StatementResult // in the document's order
	request    Request
}

// Allowed reports whether the request is allowed for certain.
func (r Result) Allowed() bool { return r.Decision == Allowed }

// StatementResult is how one statement applies to the request.
type StatementResult struct {
	Statement  Statement
	Principal  Outcome
	Action     Outcome
	Conditions []ConditionResult
	applies    truth
}

// ConditionResult is how one condition turned out.
type ConditionResult struct {
	Condition
	Have    []string // the request's values; nil if it has none
	Outcome Outcome
}

// Outcome is how one test turned out.
type Outcome string

// The outcomes of a test.
const (
	Held    Outcome = "held"
	NotHeld Outcome = "not held"
	Unclear Outcome = "cannot tell"
)

func (t truth) outcome() Outcome { return [...]Outcome{NotHeld, Unclear, Held}[t] }

// Evaluate decides as IAM does: a statement applies if its principal, its
// action and all its conditions match; an applicable Deny wins over every
// Allow; and what no statement allows is denied. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html.
func (d *Document) Evaluate(r Request) Result {
	if r.Action == "" {
		r.Action = Action
	}
	result := Result{request: r}
	allow, deny := no, no
	for _, s := range d.Statements {
		sr := s.evaluate(d.Version, r)
		result.Statements = append(result.Statements, sr)
		if s.Effect == "Allow" {
			allow = anyOf(allow, sr.applies)
		} else {
			deny = anyOf(deny, sr.applies)
		}
	}
	switch {
	case deny == yes:
		result.Decision = ExplicitDeny
	case allow == no:
		result.Decision = ImplicitDeny
	case allow == yes && deny == no:
		result.Decision = Allowed
	default:
		result.Decision = CannotTell
	}
	return result
}

func (s Statement) evaluate(version string, r Request) StatementResult {
	principal := s.Principals.include(r.ProviderARN)
	if s.notPrincipal {
		principal = principal.not()
	}
	action := matchAction(s.Actions, r.Action)
	if len(s.NotActions) > 0 {
		action = !matchAction(s.NotActions, r.Action)
	}
	sr := StatementResult{Statement: s, Principal: principal.outcome(), Action: truthOf(action).outcome()}
	all := []truth{principal, truthOf(action)}
	for _, c := range s.Conditions {
		values, known := r.lookup(c.Key)
		held := c.test(version, values, known)
		sr.Conditions = append(sr.Conditions, ConditionResult{Condition: c, Have: values, Outcome: held.outcome()})
		all = append(all, held)
	}
	sr.applies = allOf(all...)
	return sr
}

func (p Principals) include(providerARN string) truth {
	// IAM compares the ARN as a whole: a principal has no wildcards but "*".
	return truthOf(p.Anyone || slices.Contains(p.Federated, "*") || slices.Contains(p.Federated, providerARN))
}

// matchAction compares as IAM does, without regard to case.
func matchAction(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return like(strings.ToLower(pattern), strings.ToLower(action))
	})
}
