package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// closest returns the index of the Allow statement with the fewest tests that
// fail, and how it can be changed. Of two, it prefers one that can be changed.
// Statements that are not about identity providers, and those for session tags
// and the like, do not count. The index is -1 if there is none.
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

// onlyTags reports whether the statement allows only actions that accompany an
// AssumeRole, such as sts:TagSession. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html.
func (s Statement) onlyTags() bool {
	return len(s.Actions) > 0 && !slices.ContainsFunc(s.Actions, func(action string) bool {
		return !slices.Contains([]string{"sts:tagsession", "sts:setsourceidentity", "sts:setcontext"}, lowerASCII(action))
	})
}

// repair is how a statement can be made to allow a request.
type repair struct {
	advice  []Advice
	blocked []Advice // the tests that refuse the request and may be there on purpose
	reasons []string // why the statement does not fit, in words
	apart   bool     // the advice cannot be applied to this statement
	narrow  bool     // the advice lets in no other subject
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
	default:
		edit, format := AddValue, `add %s to "Action"`
		if len(s.Statement.Actions) == 1 && len(s.Statement.Principals.Others) == 0 && !s.Statement.Principals.everyone() {
			edit, format = SetValue, `set "Action": %s`
		}
		f.change(i, edit, []string{"Action"}, r.Result.request.Action, fmt.Sprintf(format, quoted(r.Result.request.Action)),
			fmt.Sprintf(`its "Action" is %s`, quotedAll(s.Statement.Actions, " or ")))
	}
	changed := s.Statement
	changed.Conditions = slices.Clone(changed.Conditions)
	for _, a := range f.advice {
		f.apart = f.apart || changed.change(a) != nil
	}
	if f.apart {
		return f
	}
	f.narrow = r.onlyAddsSubject(f.advice) || r.pins(changed)
	if !f.narrow && s.Action == NotHeld && len(f.advice) > 0 && f.advice[len(f.advice)-1].Edit == SetValue {
		r.narrow(&f, i, changed)
	}
	return f
}

// narrow adds a test of sub to a statement whose only action was another. No
// token was admitted by it before, and only the request's subject is after it.
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
	edit, format := AddValue, `add %s to "Federated"%s`
	if moved && len(providers) == 1 { // after the change, no token of the old provider would pass
		edit, format = SetValue, `set "Federated": %s%s`
	}
	f.change(i, edit, []string{"Principal", "Federated"}, r.Result.request.ProviderARN, fmt.Sprintf(format, quoted(r.Result.request.ProviderARN), why), reason)
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
	if issuer, _, _ := cutLast(c.Key); r.Statements[i].Principal == NotHeld && r.Statements[i].Statement.trusts(issuer) {
		f.apart = true // the statement is for another issuer's tokens, which keep it
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

// trusts reports whether a provider of an issuer is a principal of s.
func (s Statement) trusts(issuer string) bool {
	return slices.ContainsFunc(s.Principals.Federated, func(arn string) bool { return equalFold(providerHost(arn), issuer) == yes })
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

// onlyAddsSubject reports whether the advice does no more than to add the
// request's subject to a list.
func (r *adviser) onlyAddsSubject(advice []Advice) bool {
	if len(advice) != 1 || advice[0].Edit != AddValue || len(advice[0].Path) != 5 {
		return false
	}
	operator, key := advice[0].Path[3], advice[0].Path[4]
	return equalFold(key, r.host+":sub") == yes && parseOperator(operator).base != "StringEqualsIgnoreCase"
}

// pins reports whether a statement can apply to the request's subject only.
func (r *adviser) pins(s Statement) bool {
	subject, known := r.lookup(r.host + ":sub")
	return known && len(subject) == 1 && slices.ContainsFunc(s.Conditions, func(c Condition) bool {
		o := parseOperator(c.Operator)
		if equalFold(c.Key, r.host+":sub") != yes || o.base != "StringEquals" && o.base != "StringLike" ||
			o.takesMissing() || len(c.Values) == 0 {
			return false
		}
		return !slices.ContainsFunc(c.Values, func(value string) bool {
			if r.document.variesWith(value) {
				return true
			}
			p, ok := r.expand(value, o.base == "StringLike")
			text, exact := p.literal()
			return !ok || !exact || text != subject[0]
		})
	})
}

// rightKey returns the key that was probably meant by one that is not in the
// request.
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

// nearestClaim returns the claim that was probably meant, of those that IAM has
// keys for. Owner, project and environment of Vercel's tokens are all in sub.
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
