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
	AddValue     Edit = "add value"     // add Value to what stands at Path, a text or a list
	SetValue     Edit = "set value"     // replace what stands at Path by Value
	RenameKey    Edit = "rename key"    // give the last name of Path the name Value
	AddCondition Edit = "add condition" // put Value at Path, where nothing stands yet
	AddStatement Edit = "add statement" // add New to the policy's statements
	NoEdit       Edit = ""              // nothing to apply: Text says what stands in the way
)

// Advice is one thing to do so that a policy allows a request, or what stands
// in the way of that.
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

	// Mechanical says that all advice for a result, applied in order, allows
	// the request, and no other request that was not allowed before but those
	// with the same subject. It is false for all if it is for one.
	Mechanical bool

	// Text is the advice in one sentence, with what comes from the token and
	// the policy quoted.
	Text string
}

// Apply returns a copy of d with the changes made, in their order. It is an
// error if one has nothing to apply, or a path that d does not have.
func (d *Document) Apply(advice ...Advice) (*Document, error) {
	out := *d
	out.Statements = slices.Clone(d.Statements)
	for _, a := range advice {
		if err := out.apply(a); err != nil {
			return nil, fmt.Errorf("trustpolicy: %q: %w", a.Edit, err)
		}
	}
	return &out, nil
}

func (d *Document) apply(a Advice) error {
	if a.Edit == AddStatement && a.New != nil {
		d.Statements = append(d.Statements, *a.New)
		return nil
	}
	notThere := fmt.Errorf("the policy has no place %s", plainAll(a.Path, "."))
	if len(a.Path) < 3 || a.Path[0] != "Statement" {
		return notThere
	}
	i, err := strconv.Atoi(a.Path[1])
	if err != nil || i < 0 || i >= len(d.Statements) {
		return notThere
	}
	s := &d.Statements[i]
	var values *[]string
	switch rest := a.Path[2:]; {
	case slices.Equal(rest, []string{"Principal", "Federated"}):
		values = &s.Principals.Federated
	case slices.Equal(rest, []string{"Action"}):
		values = &s.Actions
	case len(rest) == 3 && rest[0] == "Condition":
		at := slices.IndexFunc(s.Conditions, func(c Condition) bool { return c.Operator == rest[1] && c.Key == rest[2] })
		if (at < 0) != (a.Edit == AddCondition) {
			return notThere
		}
		s.Conditions = slices.Clone(s.Conditions)
		if a.Edit == AddCondition {
			s.Conditions = append(s.Conditions, Condition{Operator: rest[1], Key: rest[2], Values: []string{a.Value}})
			return nil
		}
		if a.Edit == RenameKey {
			for _, c := range s.Conditions {
				if c.Operator == rest[1] && equalFold(c.Key, a.Value) != no {
					return fmt.Errorf("%s has the key %s already", plain(c.Operator), quoted(c.Key))
				}
			}
			s.Conditions[at].Key = a.Value
			return nil
		}
		values = &s.Conditions[at].Values
	default:
		return notThere
	}
	switch a.Edit {
	case AddValue:
		*values = append(slices.Clone(*values), a.Value)
	case SetValue:
		*values = []string{a.Value}
	default:
		return fmt.Errorf("there is nothing to apply at %s", plainAll(a.Path, "."))
	}
	return nil
}

// Advice returns what to change so that the request is allowed, for a request
// that is not: in the Allow statement that is closest to it where that lets in
// no other subject, else in a statement of its own. Where a Deny, a negated
// operator or a test of another kind stands in the way, it says so, and what to
// do is left to whoever wrote it. It is empty if the request is allowed or
// beyond telling.
func (r Result) Advice() []Advice {
	switch r.Decision {
	case ExplicitDeny:
		return r.denials(Held)
	case ImplicitDeny:
		if r.document == nil { // the zero Result is of no evaluation
			return nil
		}
		e := &evaluation{version: r.document.Version, request: r.request, work: budget}
		return (&adviser{r, e, providerHost(r.request.ProviderARN)}).admit()
	}
	return nil
}

// denials are the Deny statements that turned out so.
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

// adviser looks for what would allow a request.
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

// verified applies the advice. Where that does not allow the request, it adds
// what may stand in the way, and nothing is mechanical.
func (r *adviser) verified(advice []Advice) ([]Advice, bool) {
	changed, err := r.document.Apply(advice...)
	if err != nil {
		return nil, false
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

// closest returns the Allow statement with the fewest tests that fail, and
// how it can be changed; of two, one that nothing stands in the way of.
// Statements that are not about identity providers, and those for what goes
// along with assuming a role, do not count. The index is -1 if there is none.
func (r *adviser) closest() (int, repair) {
	best, fewest, fix := -1, 0, repair{}
	for i, s := range r.Statements {
		if s.Statement.Effect != "Allow" || s.Principal == NotHeld && len(s.Statement.Principals.Federated) == 0 || s.Statement.onlyTags() {
			continue
		}
		n := 0 // twice the failures, and one if they cannot be mended
		for _, o := range append(s.outcomes(), s.Principal, s.Action) {
			if o == NotHeld {
				n += 2
			}
		}
		if best >= 0 && n > fewest {
			continue
		}
		this := r.repair(i)
		if len(this.blocked) > 0 {
			n++
		}
		if best < 0 || n < fewest {
			best, fewest, fix = i, n, this
		}
	}
	return best, fix
}

func (s StatementResult) outcomes() (out []Outcome) {
	for _, c := range s.Conditions {
		out = append(out, c.Outcome)
	}
	return out
}

// onlyTags reports whether the statement is for what a session may be given
// beside the role. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html.
func (s Statement) onlyTags() bool {
	return len(s.Actions) > 0 && !slices.ContainsFunc(s.Actions, func(action string) bool {
		action = lowerASCII(action)
		return action != "sts:tagsession" && action != "sts:setsourceidentity"
	})
}

// repair is how a statement can be made to allow a request.
type repair struct {
	advice  []Advice
	blocked []Advice // what no change can mend that would certainly be meant
	reasons []string // what does not fit, in words
	apart   bool     // the advice cannot be applied where it says
	narrow  bool     // the advice lets in no other subject
}

// why says why a statement was not the place for the change.
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

func (r *adviser) repair(i int) repair {
	var f repair
	s := r.Statements[i]
	for _, c := range s.Conditions {
		if c.Outcome == NotHeld {
			r.repairCondition(&f, i, c)
		}
	}
	if s.Principal == NotHeld {
		r.repairPrincipal(&f, i)
	}
	switch {
	case s.Action == Held:
	case len(s.Statement.NotActions) > 0:
		f.block(i, "its NotAction leaves out %s; a statement with Action says what it allows", quoted(r.Result.request.Action))
	case len(s.Statement.Actions) == 1 && len(s.Statement.Principals.Others) == 0:
		f.change(i, SetValue, []string{"Action"}, r.Result.request.Action,
			fmt.Sprintf(`set "Action": %s`, quoted(r.Result.request.Action)),
			fmt.Sprintf(`its "Action" is %s`, quoted(s.Statement.Actions[0])))
	default:
		f.change(i, AddValue, []string{"Action"}, r.Result.request.Action,
			fmt.Sprintf(`add %s to "Action"`, quoted(r.Result.request.Action)),
			fmt.Sprintf(`its "Action" is %s`, quotedAll(s.Statement.Actions, " or ")))
	}
	changed, err := r.document.Apply(f.advice...)
	if err != nil || f.apart {
		f.apart = true
		return f
	}
	f.narrow = r.onlyAddsSubject(f.advice) || r.pins(changed.Statements[i])
	if !f.narrow && s.Action == NotHeld && len(f.advice) > 0 && f.advice[len(f.advice)-1].Edit == SetValue {
		r.narrow(&f, i, changed.Statements[i])
	}
	return f
}

// narrow adds a test of sub to a statement whose only action was another, so
// that no token loses what it had and only the request's subject gains.
func (r *adviser) narrow(f *repair, i int, s Statement) {
	subject, _ := r.lookup(r.host + ":sub")
	if len(subject) != 1 {
		return
	}
	for _, operator := range []string{"StringEquals", "StringLike"} {
		value, ok := r.document.escape(subject[0], operator == "StringLike")
		taken := slices.ContainsFunc(s.Conditions, func(c Condition) bool {
			return c.Operator == operator && equalFold(c.Key, r.host+":sub") != no
		})
		if !ok || taken {
			continue
		}
		f.narrow = true
		f.change(i, AddCondition, []string{"Condition", operator, r.host + ":sub"}, value,
			fmt.Sprintf("add the condition %s %s: %s (without it, the other subjects of the statement get in too)", operator, quoted(r.host+":sub"), quoted(value)), "")
		return
	}
}

func (r *adviser) repairPrincipal(f *repair, i int) {
	providers := r.Statements[i].Statement.Principals.Federated
	why := issuerDifference(r.host, providerHost(providers[0]))
	reason := fmt.Sprintf(`its "Federated" is %s%s`, quotedAll(providers, " or "), why)
	moved := strings.Contains(providers[0], "://") ||
		slices.ContainsFunc(f.advice, func(a Advice) bool { return a.Edit == RenameKey })
	path := []string{"Principal", "Federated"}
	if moved && len(providers) == 1 {
		// No token of the provider that stands there would pass any more.
		f.change(i, SetValue, path, r.Result.request.ProviderARN, fmt.Sprintf(`set "Federated": %s%s`, quoted(r.Result.request.ProviderARN), why), reason)
		return
	}
	f.change(i, AddValue, path, r.Result.request.ProviderARN, fmt.Sprintf(`add %s to "Federated"%s`, quoted(r.Result.request.ProviderARN), why), reason)
}

func (r *adviser) repairCondition(f *repair, i int, c ConditionResult) {
	o := parseOperator(c.Operator)
	if !o.isString() || o.negated || o.null() {
		f.block(i, "%s stands in the way; change it if it is not meant for this token", c.words())
		return
	}
	path := []string{"Condition", c.Operator, c.Key}
	if notOfToken(c.Key) {
		f.block(i, "%s stands in the way; it is not about the token", c.words())
		return
	}
	if len(c.Have) > 0 {
		r.addValues(f, i, c, o, path, claimOf(c.Key))
		return
	}
	key, why, ok := r.rightKey(c.Key)
	if !ok {
		f.block(i, "%s stands in the way; the request has no such key", c.words())
		return
	}
	reason := fmt.Sprintf("it tests %s, which is never there; the key is %s", quoted(c.Key), quoted(key))
	f.change(i, RenameKey, path, key, fmt.Sprintf("in %s, replace the key %s by %s%s", plain(c.Operator), quoted(c.Key), quoted(key), why), reason)
	under := c
	under.Key = key
	under.Have, _ = r.lookup(key)
	if r.test(under.Condition, under.Have, true) == no {
		r.addValues(f, i, under, o, []string{"Condition", c.Operator, key}, claimOf(key))
	}
}

// addValues adds the request's values to a list of alternatives.
func (r *adviser) addValues(f *repair, i int, c ConditionResult, o operator, path []string, claim string) {
	for _, value := range c.Have {
		one := ConditionResult{Condition: c.Condition, Have: []string{value}}
		if r.test(Condition{Operator: o.base, Key: c.Key, Values: c.Values}, one.Have, true) == yes {
			continue
		}
		written, ok := r.document.escape(value, o.base == "StringLike")
		if !ok {
			f.apart = true
			f.reasons = append(f.reasons, fmt.Sprintf("%s, and version 2008-10-17 of the policy language cannot write this value as a pattern", c.words()))
			return
		}
		why := valueDifference(claim, one)
		f.change(i, AddValue, path, written,
			fmt.Sprintf("in %s, add %s to the values of %s%s", plain(c.Operator), quoted(written), quoted(c.Key), why),
			fmt.Sprintf("its %s wants %s%s", quoted(c.Key), quotedAll(c.Values, " or "), why))
		if o.set == "ForAnyValue" {
			return
		}
	}
}

// escape writes a value so that a condition takes it literally. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars.
func (d *Document) escape(value string, like bool) (string, bool) {
	if d.Version != "2012-10-17" {
		return value, !like || !strings.ContainsAny(value, "*?")
	}
	if like {
		return likeEscapes.Replace(value), true
	}
	return strings.ReplaceAll(value, "${", "${$}{"), true
}

var likeEscapes = strings.NewReplacer("${", "${$}{", "*", "${*}", "?", "${?}")

// onlyAddsSubject reports whether the advice does no more than to add the
// request's subject to a list.
func (r *adviser) onlyAddsSubject(advice []Advice) bool {
	if len(advice) != 1 || advice[0].Edit != AddValue || len(advice[0].Path) != 5 {
		return false
	}
	operator, key := advice[0].Path[3], advice[0].Path[4]
	return equalFold(key, r.host+":sub") == yes && parseOperator(operator).base != "StringEqualsIgnoreCase"
}

// pins reports whether a statement can apply to no subject but the request's.
func (r *adviser) pins(s Statement) bool {
	subject, known := r.lookup(r.host + ":sub")
	return known && len(subject) == 1 && slices.ContainsFunc(s.Conditions, func(c Condition) bool {
		o := parseOperator(c.Operator)
		if equalFold(c.Key, r.host+":sub") != yes || o.base != "StringEquals" && o.base != "StringLike" ||
			o.takesMissing() || len(c.Values) == 0 {
			return false
		}
		return !slices.ContainsFunc(c.Values, func(value string) bool {
			if r.document.Version == "2012-10-17" && variesWith(value) {
				return true
			}
			p, ok := r.expand(value, o.base == "StringLike")
			text, exact := p.literal()
			return !ok || !exact || text != subject[0]
		})
	})
}

// variesWith reports whether a value holds a variable that is not an escape: it
// is another for another token.
func variesWith(value string) bool {
	for _, escape := range []string{"${*}", "${?}", "${$}"} {
		value = strings.ReplaceAll(value, escape, "")
	}
	return strings.Contains(value, "${")
}

// notOfToken reports whether a key is of the request and not of its token. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html.
func notOfToken(key string) bool {
	key = lowerASCII(key)
	return strings.HasPrefix(key, "aws:") || strings.HasPrefix(key, "sts:")
}

// ownStatement is a statement for the request's subject alone. What statement
// near demands of more than the token, such as an address, it demands too.
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

// rightKey returns the key that was meant by one that the request has not.
func (r *adviser) rightKey(key string) (right, why string, ok bool) {
	issuer, claim, _ := cutLast(key)
	if r.host == "" {
		return "", "", false
	}
	meant := nearestClaim(claim)
	right = r.host + ":" + meant
	if values, known := r.lookup(right); !known || len(values) == 0 {
		return "", "", false
	}
	switch {
	case equalFold(claim, meant) != yes:
		why = fmt.Sprintf(" (IAM has no key for the claim %s)", quoted(claim))
	case strings.Contains(key, "://"):
		why = " (IAM writes the issuer without its scheme)"
	default:
		why = issuerDifference(r.host, issuer)
	}
	return right, why, true
}

// nearestClaim returns which of the claims that IAM has keys for was meant. All
// that Vercel says of a project is in sub.
func nearestClaim(claim string) string {
	claim = lowerASCII(claim)
	if strings.HasPrefix(claim, "au") || strings.HasPrefix(claim, "ad") && len(claim) == 3 {
		return "aud"
	}
	return "sub"
}

func claimOf(key string) string {
	_, claim, _ := cutLast(key)
	return lowerASCII(claim)
}
