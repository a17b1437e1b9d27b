package trustpolicy

import (
	"fmt"
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

// evaluation is one evaluation under way.
type evaluation struct {
	version string
	request Request
	work    *steps
	scratch pattern
}

// decide is Evaluate without the reasons. It takes its steps from work, and skips
// the other conditions of a statement once one does not hold.
func (d *Document) decide(r Request, work *steps) Decision {
	e := &evaluation{version: d.Version, request: r, work: work}
	allow, deny := no, no
	for _, s := range d.Statements {
		applies := allOf(s.Principals.include(r.ProviderARN), e.acts(s))
		for _, c := range s.Conditions {
			if applies == no {
				break
			}
			values, known := e.lookup(c.Key)
			applies = allOf(applies, e.test(c, values, known))
		}
		allow, deny = s.counts(applies, allow, deny)
	}
	return decision(allow, deny)
}

// counts returns allow and deny after one more statement.
func (s Statement) counts(applies, allow, deny truth) (truth, truth) {
	if s.Effect == "Allow" {
		return anyOf(allow, applies), deny
	}
	return allow, anyOf(deny, applies)
}

func decision(allow, deny truth) Decision {
	switch {
	case deny == yes:
		return ExplicitDeny
	case allow == no:
		return ImplicitDeny
	case allow == yes && deny == no:
		return Allowed
	}
	return CannotTell
}

// acts reports whether a statement is about the request's action.
func (e *evaluation) acts(s Statement) truth {
	if len(s.NotActions) > 0 {
		return e.action(s.NotActions).not()
	}
	return e.action(s.Actions)
}

// lookup returns the request's values for a condition key, and whether they are
// known.
func (e *evaluation) lookup(key string) (values []string, known bool) {
	found := false
	for name, held := range e.request.Context {
		if !e.work.spend(1 + len(key)) {
			return nil, false
		}
		switch equalFold(name, key) {
		case unknown:
			return nil, false
		case yes:
			if found && !slices.Equal(values, held) {
				return nil, false // one name in two spellings
			}
			found, values = true, held
		}
	}
	if found {
		return values, true
	}
	prefix, _, _ := strings.Cut(lowerASCII(key), ":")
	return nil, prefix != "aws" && prefix != "sts"
}

// Decision is the outcome of an evaluation.
type Decision int

const (
	// ImplicitDeny: no statement allows it.
	ImplicitDeny Decision = iota
	// ExplicitDeny: a statement with the effect Deny applies.
	ExplicitDeny
	// CannotTell: it depends on an operator, variable or key that this package
	// does not know.
	CannotTell
	// Allowed: a statement allows it, and none denies it.
	Allowed
)

var decisions = [...]string{"not allowed", "explicitly denied", "cannot tell", "allowed"}

// String returns the decision in words.
func (d Decision) String() string {
	if d < 0 || int(d) >= len(decisions) {
		return fmt.Sprintf("Decision(%d)", int(d))
	}
	return decisions[d]
}

// Result is an evaluation with its reasons.
type Result struct {
	Decision   Decision
	Statements []StatementResult // in the document's order
	request    Request
	document   *Document
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
//
// If the result depends on something that the request does not have or that this
// package does not know, it is CannotTell and never Allowed. The same holds for an
// evaluation that would take too many steps; policies within IAM's limits do not.
func (d *Document) Evaluate(r Request) Result {
	if r.Action == "" {
		r.Action = Action
	}
	e := &evaluation{version: d.Version, request: r, work: fullBudget()}
	result := Result{request: r, document: d}
	allow, deny := no, no
	for _, s := range d.Statements {
		sr := e.statement(s)
		result.Statements = append(result.Statements, sr)
		allow, deny = s.counts(sr.applies, allow, deny)
	}
	result.Decision = decision(allow, deny)
	return result
}

func (e *evaluation) statement(s Statement) StatementResult {
	principal, action := s.Principals.include(e.request.ProviderARN), e.acts(s)
	sr := StatementResult{Statement: s, Principal: principal.outcome(), Action: action.outcome()}
	all := []truth{principal, action}
	for _, c := range s.Conditions {
		values, known := e.lookup(c.Key)
		held := e.test(c, values, known)
		sr.Conditions = append(sr.Conditions, ConditionResult{Condition: c, Have: values, Outcome: held.outcome()})
		all = append(all, held)
	}
	sr.applies = allOf(all...)
	return sr
}

// include compares the ARN as a whole: a principal has no wildcards but "*".
// See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-anonymous.
func (p Principals) include(providerARN string) truth {
	switch {
	case p.everyone(), slices.Contains(p.Federated, providerARN):
		return yes
	case slices.Contains(p.Federated, "*"):
		return unknown // Parse refuses it, as IAM does
	}
	return no
}

// everyone reports whether p is "*" or {"AWS": "*"}, which are the same.
func (p Principals) everyone() bool { return p.Anyone || slices.Contains(p.Others, "AWS: *") }

// action compares as IAM does, without regard to case.
func (e *evaluation) action(patterns []string) truth {
	result := no
	for _, text := range patterns {
		if text == e.request.Action {
			return yes
		}
		// Actions have wildcards, and no variables.
		plain := &evaluation{work: e.work}
		p, ok := plain.expand(lowerASCII(text), true)
		if !ok {
			return unknown
		}
		result = anyOf(result, plain.matches(p, lowerASCII(e.request.Action)))
	}
	return result
}
