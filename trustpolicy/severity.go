package trustpolicy

import "fmt"

// Severity is how bad a warning is.
type Severity int

// The severities, from the least.
const (
	// Low: a mistake that keeps the policy from doing what was meant, or a
	// role for environments that are better apart.
	Low Severity = iota
	// Medium: more tokens pass than have to: any project of the team, any
	// audience, a Deny that does not deny, or everyone as principal where a
	// condition says who.
	Medium
	// High: every project and environment of the team passes.
	High
	// Critical: others than the team pass, with tokens or without.
	Critical
)

var severities = [...]string{"low", "medium", "high", "critical"}

// String returns the severity in lower case.
func (s Severity) String() string {
	if s < 0 || int(s) >= len(severities) {
		return fmt.Sprintf("Severity(%d)", int(s))
	}
	return severities[s]
}

// MarshalText returns the severity in lower case.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Severity) UnmarshalText(text []byte) error {
	for i, name := range severities {
		if name == string(text) {
			*s = Severity(i)
			return nil
		}
	}
	return fmt.Errorf("trustpolicy: %s is not a severity: low, medium, high or critical", quoted(string(text)))
}

// Warning is something in a policy that is wider than it looks, or can never
// do what was meant.
type Warning struct {
	Statement int    // counted from 1; 0 for the policy as a whole
	Message   string // one sentence; what it holds of the policy is quoted
	Severity  Severity
}

// String returns the warning with the number of its statement, if it is of one.
func (w Warning) String() string {
	if w.Statement == 0 {
		return w.Message
	}
	return fmt.Sprintf("statement %d: %s", w.Statement, w.Message)
}
