package trustpolicy

import "fmt"

// Severity is how bad a warning is.
type Severity int

// The severities, from the least.
const (
	// Low: a mistake because of which the policy admits less than was meant, a
	// length for which the account needs a raised quota, or a role that
	// production shares with another environment.
	Low Severity = iota
	// Medium: more tokens get in than need to, such as those of projects or
	// environments that the policy does not name, or of any audience; a Deny never
	// denies; or everyone is a principal, and a condition names the callers.
	Medium
	// High: one of these.
	//   - Every project and environment of the team gets in.
	//   - Environments get in that ExpectEnvironments was not told.
	//   - No token of Vercel gets in, or there are too many patterns to tell.
	//   - Everyone is a principal, and only a test of claims or of the network
	//     restricts the callers.
	//   - IAM refuses a change of the policy, since it is too long, or has no test
	//     of aud for a provider that many share.
	High
	// Critical: tokens of other customers of Vercel get in, or may, or everyone.
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

// Warning is about tokens that a policy should not admit, or about a mistake in it.
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
