package trustpolicy

import (
	"maps"
	"slices"
	"strings"
)

// operator is a condition operator taken apart. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html.
type operator struct {
	set      string // "ForAnyValue", "ForAllValues" or ""
	base     string // the positive operator, such as "StringLike"
	ifExists bool
	negated  bool
	compare  comparison // nil: Null, or not known here
}

func parseOperator(name string) operator {
	var o operator
	set, base, isSet := strings.Cut(name, ":")
	if !isSet {
		set, base = "", name
	} else if set != "ForAnyValue" && set != "ForAllValues" {
		return o
	}
	o.set = set
	o.base, o.ifExists = strings.CutSuffix(base, "IfExists")
	if positive, ok := negations[o.base]; ok {
		o.base, o.negated = positive, true
	}
	o.compare = comparisons[o.base]
	return o
}

// null reports whether o is the operator Null, which takes neither a set
// operator nor IfExists.
func (o operator) null() bool { return o.base == "Null" && o.set == "" && !o.ifExists }

func (o operator) known() bool { return o.compare != nil || o.null() }

// operatorExists reports whether IAM has an operator. Null cannot have IfExists.
// It is not documented whether IAM ignores the case of the name, so a name in
// another case passes here; Evaluate returns CannotTell for it.
func operatorExists(name string) bool {
	set, base, isSet := strings.Cut(lowerASCII(name), ":")
	if !isSet {
		base = set
	} else if set != "foranyvalue" && set != "forallvalues" {
		return false
	}
	if bare, ifExists := strings.CutSuffix(base, "ifexists"); ifExists && bare != "null" {
		base = bare
	}
	return slices.ContainsFunc(operatorNames(), func(known string) bool { return lowerASCII(known) == base })
}

// operatorNames are the operators without prefix and suffix.
func operatorNames() []string {
	names := append(slices.Collect(maps.Keys(comparisons)), "Null")
	return slices.Sorted(slices.Values(slices.AppendSeq(names, maps.Keys(negations))))
}

// isString reports whether o compares text.
func (o operator) isString() bool { return strings.HasPrefix(o.base, "String") }

// takesMissing reports whether o holds if the key is not in the request.
func (o operator) takesMissing() bool {
	if o.set == "ForAnyValue" {
		return false // with IfExists too
	}
	return o.negated || o.ifExists || o.set == "ForAllValues"
}

// test reports whether c holds for the request's values of its key. The slice is
// empty if the key is not in the request.
func (e *evaluation) test(c Condition, values []string, known bool) truth {
	o := parseOperator(c.Operator)
	switch {
	case !known, !o.known(), len(c.Values) == 0:
		return unknown
	case o.null():
		return nullTest(c.Values, values)
	case len(values) == 0:
		return truthOf(o.takesMissing())
	case len(values) > 1 && o.set == "":
		return unknown // IAM leaves this open: such keys need a set operator
	}
	var each []truth
	for _, value := range values {
		result := no
		for _, want := range c.Values {
			if !e.work.spend(1) {
				return unknown
			}
			result = anyOf(result, o.compare(e, want, value))
		}
		if o.negated {
			result = result.not()
		}
		each = append(each, result)
	}
	if o.set == "ForAnyValue" {
		return anyOf(each...)
	}
	return allOf(each...)
}

// nullTest is the operator Null: "true" wants the key to be missing.
func nullTest(wants, values []string) truth {
	result := no
	for _, want := range wants {
		held := unknown
		if missing, ok := parseBool(want); ok {
			held = truthOf(missing == (len(values) == 0))
		}
		result = anyOf(result, held)
	}
	return result
}

// guarded reports whether the statement demands that a key is in the request. Then
// ForAllValues and IfExists are as strict as the operator without them.
func (s Statement) guarded(key string) bool {
	return slices.ContainsFunc(s.Conditions, func(c Condition) bool {
		return parseOperator(c.Operator).null() && equalFold(c.Key, key) == yes && len(c.Values) > 0 &&
			!slices.ContainsFunc(c.Values, func(value string) bool {
				missing, ok := parseBool(value)
				return !ok || missing
			})
	})
}
