package trustpolicy

import (
	"slices"
	"strings"
)

// truth is what is known of a test.
type truth int

const (
	no truth = iota
	unknown
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth { return yes - t }

// anyOf is yes if one is, no if all are.
func anyOf(all ...truth) truth { return slices.Max(append(all, no)) }

// allOf is yes if all are, no if one is.
func allOf(all ...truth) truth { return slices.Min(append(all, yes)) }

// operator is a condition operator taken apart. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html.
type operator struct {
	set      string // "ForAnyValue", "ForAllValues" or ""
	ifExists bool
	negated  bool
	null     bool
	match    func(pattern, value string) bool // nil: not known here
}

func parseOperator(name string) operator {
	var o operator
	base := name
	if set, rest, ok := strings.Cut(name, ":"); ok {
		o.set, base = set, rest
		if set != "ForAnyValue" && set != "ForAllValues" {
			return o
		}
	}
	if rest, ok := strings.CutSuffix(base, "IfExists"); ok {
		o.ifExists, base = true, rest
	}
	switch base {
	case "StringEquals", "StringNotEquals":
		o.match = func(pattern, value string) bool { return pattern == value }
	case "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase":
		o.match = strings.EqualFold
	case "StringLike", "StringNotLike":
		o.match = like
	case "Null":
		o.null = o.set == "" && !o.ifExists
	}
	o.negated = strings.HasPrefix(base, "StringNot")
	return o
}

// test reports whether c holds for the values that the request has for its
// key. A nil slice is a key that the request has not.
func (c Condition) test(version string, values []string, known bool) truth {
	o := parseOperator(c.Operator)
	switch {
	case !known:
		return unknown
	case o.null:
		return nullTest(c.Values, values)
	case o.match == nil:
		return unknown
	case len(values) == 0:
		// A key that is missing fails a positive test and passes a negated
		// one; with the set operators it is the other way to pass or fail.
		switch {
		case o.ifExists, o.set == "ForAllValues":
			return yes
		case o.set == "ForAnyValue":
			return no
		default:
			return truthOf(o.negated)
		}
	case len(values) > 1 && o.set == "":
		return unknown // IAM leaves this open: such keys need a set operator
	}
	var each []truth
	for _, value := range values {
		var matches []truth
		for _, pattern := range c.Values {
			matches = append(matches, matchOne(o, version, pattern, value))
		}
		result := anyOf(matches...)
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

// matchOne compares one value. A policy variable can stand for anything.
func matchOne(o operator, version, pattern, value string) truth {
	if version == "2012-10-17" && strings.Contains(pattern, "${") {
		return unknown
	}
	return truthOf(o.match(pattern, value))
}

// nullTest is the operator Null: "true" wants the key to be missing.
func nullTest(wants, values []string) truth {
	var all []truth
	for _, want := range wants {
		switch strings.ToLower(want) {
		case "true":
			all = append(all, truthOf(len(values) == 0))
		case "false":
			all = append(all, truthOf(len(values) > 0))
		default:
			all = append(all, unknown)
		}
	}
	return anyOf(all...)
}

// like matches a pattern in which * stands for any characters and ? for one.
// It takes time proportional to the product of the lengths at worst.
func like(pattern, value string) bool {
	p, v := []rune(pattern), []rune(value)
	i, j := 0, 0
	star, mark := -1, 0 // the last * and how far it has been taken to reach
	for j < len(v) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == v[j]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
