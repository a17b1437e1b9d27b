package trustpolicy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Edit is a kind of change to the JSON of a policy.
type Edit string

// The kinds of change.
const (
	AddValue     Edit = "add value"     // add Value to the text or list at Path
	SetValue     Edit = "set value"     // replace the value at Path by Value
	RenameKey    Edit = "rename key"    // rename the last name of Path to Value
	AddCondition Edit = "add condition" // add Value at Path, which does not exist yet
	AddStatement Edit = "add statement" // add New to the policy's statements
	NoEdit       Edit = ""              // nothing to apply: Text says what refuses the request
)

// Advice is one change with which a policy allows a request, or the reason why
// no change is advised.
type Advice struct {
	// Statement is the statement to change, counted from 1, or 0.
	Statement int

	// Edit, Path, Value and New are the change in a form to apply. Path leads
	// to its place in the JSON, with the policy's Statement taken for a list:
	// "Statement", "0", "Condition", "StringEquals", "oidc.vercel.com/acme:sub".
	Edit  Edit
	Path  []string
	Value string
	New   *Statement

	// Mechanical says that a program may apply the advice. If all advice for a
	// result is applied in order, the policy allows this request and others with
	// the same subject, and no further ones. It is the same for all advice of a
	// result.
	Mechanical bool

	// Text is the advice in one sentence, with what comes from the token and
	// the policy quoted.
	Text string
}

// Advice returns the changes with which a refused request is allowed. It changes
// the Allow statement that is closest to the request, if the change lets in no
// other subject. Otherwise it adds a statement. If a Deny, a negated operator or
// a test of another kind refuses the request, the advice says so and has no
// change: a person must decide. It is empty if the decision is Allowed or
// CannotTell.
func (r Result) Advice() []Advice {
	switch r.Decision {
	case ExplicitDeny:
		return r.denials(Held)
	case ImplicitDeny:
		if r.document == nil { // the zero Result is of no evaluation
			return nil
		}
		e := &evaluation{version: r.document.Version, request: r.request, work: fullBudget()}
		return (&adviser{r, e, providerHost(r.request.ProviderARN)}).admit()
	}
	return nil
}

// denials is the advice about the Deny statements with the outcome.
func (r Result) denials(o Outcome) (out []Advice) {
	for i, s := range r.Statements {
		if s.Statement.Effect != "Deny" || s.applies.outcome() != o {
			continue
		}
		does := "applies, and wins over every Allow"
		if o == Unclear {
			does = "may apply, which cannot be told from here"
		}
		text := fmt.Sprintf("statement %d is a Deny that %s%s; change it if it is not meant for this token", i+1, does, s.tests())
		out = append(out, Advice{Statement: i + 1, Text: text})
	}
	return out
}

// tests are the conditions of a statement, in words.
func (s StatementResult) tests() string {
	var all []string
	for _, c := range s.Conditions {
		all = append(all, c.words())
	}
	if all == nil {
		return ""
	}
	return " (" + strings.Join(all, "; ") + ")"
}

func (c ConditionResult) words() string {
	have := "nothing"
	if len(c.Have) > 0 {
		have = quotedAll(c.Have, ", ")
	}
	return fmt.Sprintf("%s of %s wants %s, the request has %s", plain(c.Operator), quoted(c.Key), quotedAll(c.Values, " or "), have)
}

// adviser looks for changes that allow a request.
type adviser struct {
	Result
	*evaluation        // bounds the work
	host        string // the issuer of the request's provider, as keys name it
}

// admit is the advice where no statement allows the request.
func (r *adviser) admit() []Advice {
	i, fix := r.closest()
	switch {
	case len(fix.blocked) > 0:
		return fix.blocked
	case fix.narrow:
		if advice, ok := r.verified(fix.advice); ok {
			return advice
		}
	}
	own, ok := r.ownStatement(i)
	if !ok {
		return []Advice{{Text: "the request has not one subject, so no statement can be made for it"}}
	}
	own.Text += fix.why(i + 1)
	advice, _ := r.verified([]Advice{own})
	return advice
}

// verified applies the advice to a copy of the policy. If the copy does not allow
// the request, it adds the possible reasons, and no advice is mechanical.
func (r *adviser) verified(advice []Advice) ([]Advice, bool) {
	changed, err := r.document.Apply(advice...)
	if err != nil {
		return nil, false
	}
	if control := r.control(changed); control != nil {
		advice = append(advice, control...)
		if changed, err = changed.Apply(control...); err != nil {
			return nil, false
		}
	}
	after := changed.Evaluate(r.Result.request)
	for i := range advice {
		advice[i].Mechanical = after.Decision == Allowed
	}
	if after.Decision == Allowed {
		return advice, true
	}
	advice = append(advice, after.denials(Unclear)...)
	for i, s := range after.Statements {
		for _, c := range s.Conditions {
			if s.Statement.Effect == "Allow" && s.applies == unknown && c.Outcome == Unclear {
				advice = append(advice, Advice{Statement: i + 1, Text: fmt.Sprintf("in statement %d, it cannot be told from here whether this holds: %s", i+1, c.words())})
			}
		}
	}
	return advice, after.Decision == CannotTell
}

// why says why a statement was not changed.
func (f repair) why(statement int) string {
	if len(f.reasons) == 0 {
		return ""
	}
	text := fmt.Sprintf(" (statement %d does not fit: %s", statement, strings.Join(f.reasons, "; "))
	if f.apart {
		return text + ")"
	}
	return text + "; to change it there would let in its other subjects too)"
}

// change adds one change of statement i.
func (f *repair) change(i int, edit Edit, path []string, value, text, reason string) {
	f.advice = append(f.advice, Advice{
		Statement: i + 1, Edit: edit, Value: value,
		Path: append([]string{"Statement", strconv.Itoa(i)}, path...),
		Text: fmt.Sprintf("in statement %d, %s", i+1, text),
	})
	if reason != "" {
		f.reasons = append(f.reasons, reason)
	}
}

func (f *repair) block(i int, format string, args ...any) {
	f.blocked = append(f.blocked, Advice{Statement: i + 1, Text: fmt.Sprintf("statement %d: ", i+1) + fmt.Sprintf(format, args...)})
}

// ownStatement is the advice to add a statement for the request's subject only.
// The new statement has the conditions of statement near that are not about the
// token, such as one on the caller's address.
func (r *adviser) ownStatement(near int) (Advice, bool) {
	subject, _ := r.lookup(r.host + ":sub")
	if r.host == "" || len(subject) != 1 {
		return Advice{}, false
	}
	s := &Statement{
		Effect:     "Allow",
		Principals: Principals{Federated: []string{r.Result.request.ProviderARN}},
		Actions:    []string{r.Result.request.Action},
	}
	var where []string
	for _, claim := range []string{"aud", "sub"} {
		values, _ := r.lookup(r.host + ":" + claim)
		if len(values) == 0 {
			continue
		}
		c := Condition{Operator: "StringEquals", Key: r.host + ":" + claim}
		if len(values) > 1 {
			c.Operator = "ForAnyValue:StringEquals"
		}
		for _, value := range values {
			written, _ := r.document.escape(value, false)
			c.Values = append(c.Values, written)
		}
		s.Conditions = append(s.Conditions, c)
		where = append(where, fmt.Sprintf("%s %s is %s", c.Operator, quoted(c.Key), quotedAll(c.Values, " or ")))
	}
	if near >= 0 {
		for _, c := range r.Statements[near].Statement.Conditions {
			if notOfToken(c.Key) {
				s.Conditions = append(s.Conditions, c)
				where = append(where, fmt.Sprintf("%s %s is %s", plain(c.Operator), quoted(c.Key), quotedAll(c.Values, " or ")))
			}
		}
	}
	return Advice{
		Edit: AddStatement,
		New:  s,
		Text: fmt.Sprintf("add a statement that allows %s to %s where %s", plain(r.Result.request.Action), quoted(r.Result.request.ProviderARN), strings.Join(where, " and ")),
	}, true
}

// control adds the tests of aud without which IAM refuses to change a policy that
// trusts the global issuer. The tests admit the audiences of the teams in the
// statement's subjects, so that their tokens are still admitted. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_oidc_secure-by-default.html.
func (r *adviser) control(d *Document) []Advice {
	global := issuerHost(GlobalIssuer)
	var f repair
	for i, s := range d.Statements {
		aud := func(c Condition) bool { return claimOf(c.Key) == "aud" }
		if !s.allows(Action) || !s.trusts(global) || slices.ContainsFunc(s.Conditions, aud) {
			continue
		}
		var audiences []string
		if equalFold(r.host, global) == yes {
			values, _ := r.lookup(global + ":aud")
			audiences = append(audiences, values...)
		}
		for _, c := range s.Conditions {
			if o := parseOperator(c.Operator); claimOf(c.Key) != "sub" || !o.isString() || o.negated {
				continue // only a test that sub must pass names teams that get in
			}
			for _, value := range c.Values {
				if parts, ok := splitSubject(value); ok && isName(parts[ownerPart]) {
					audiences = append(audiences, Audience(parts[ownerPart]))
				}
			}
		}
		for j, audience := range unique(audiences) {
			edit := AddValue
			if j == 0 {
				edit = AddCondition
			}
			written, _ := r.document.escape(audience, false)
			f.change(i, edit, []string{"Condition", "StringEquals", global + ":aud"}, written,
				fmt.Sprintf("test %s in StringEquals for %s (IAM refuses to change the policy without a test of aud, since many share the provider)", quoted(global+":aud"), quoted(written)), "")
		}
	}
	return f.advice
}
