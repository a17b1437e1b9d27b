package trustpolicy

import (
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// comparison compares a value of the request to a value of the policy. It is
// unknown where one of them is not of the operator's type.
type comparison func(e *evaluation, want, have string) truth

// comparisons are the operators without their prefix, suffix and negation. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html.
var comparisons = func() map[string]comparison {
	all := map[string]comparison{
		"StringEquals":           stringEquals,
		"StringEqualsIgnoreCase": stringEqualsIgnoreCase,
		"StringLike":             stringLike,
		"ArnEquals":              arnLike, // the two behave identically
		"ArnLike":                arnLike,
		"Bool":                   typed(parseBool, func(have, want bool) bool { return have == want }),
		"IpAddress":              ipAddress,
		// Tokens have no binary claims, so it is not settled how one is written
		// in a Request.
		"BinaryEquals": func(*evaluation, string, string) truth { return unknown },
	}
	for name, holds := range map[string]func(sign int) bool{
		"Equals":            func(sign int) bool { return sign == 0 },
		"LessThan":          func(sign int) bool { return sign < 0 },
		"LessThanEquals":    func(sign int) bool { return sign <= 0 },
		"GreaterThan":       func(sign int) bool { return sign > 0 },
		"GreaterThanEquals": func(sign int) bool { return sign >= 0 },
	} {
		all["Numeric"+name] = typed(parseNumber, func(have, want *big.Rat) bool { return holds(have.Cmp(want)) })
		all["Date"+name] = typed(parseDate, func(have, want time.Time) bool { return holds(have.Compare(want)) })
	}
	return all
}()

// typed compares the two values once parse has read them.
func typed[T any](parse func(string) (T, bool), holds func(have, want T) bool) comparison {
	return func(_ *evaluation, want, have string) truth {
		w, wok := parse(want)
		h, hok := parse(have)
		if !wok || !hok {
			return unknown
		}
		return truthOf(holds(h, w))
	}
}

// negations are the operators that hold where their positive does not.
var negations = map[string]string{
	"StringNotEquals":           "StringEquals",
	"StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
	"StringNotLike":             "StringLike",
	"ArnNotEquals":              "ArnEquals",
	"ArnNotLike":                "ArnLike",
	"NotIpAddress":              "IpAddress",
	"NumericNotEquals":          "NumericEquals",
	"DateNotEquals":             "DateEquals",
}

func stringEquals(e *evaluation, want, have string) truth {
	if !strings.HasPrefix(have, fixedPrefix(want, "")) {
		return no
	}
	p, ok := e.expand(want, false)
	if !ok || !e.work.spend(len(have)) {
		return unknown
	}
	text, _ := p.literal()
	return truthOf(text == have)
}

// fixedPrefix returns the text before the first wildcard of a value without
// variables. Most values that do not match differ there already, which saves the
// slower comparison.
func fixedPrefix(value, wildcards string) string {
	if strings.Contains(value, "${") {
		return ""
	}
	if i := strings.IndexAny(value, wildcards); i >= 0 {
		return value[:i]
	}
	return value
}

func stringEqualsIgnoreCase(e *evaluation, want, have string) truth {
	p, ok := e.expand(want, false)
	if !ok || !e.work.spend(len(have)) {
		return unknown
	}
	text, _ := p.literal()
	return equalFold(text, have)
}

func stringLike(e *evaluation, want, have string) truth {
	if !strings.HasPrefix(have, fixedPrefix(want, "*?")) {
		return no
	}
	p, ok := e.expand(want, true)
	if !ok {
		return unknown
	}
	return e.matches(p, have)
}

// arnLike compares the six parts of an ARN one by one. For a text that is not an
// ARN the result is unknown.
func arnLike(e *evaluation, want, have string) truth {
	p, ok := e.expand(want, true)
	if !ok {
		return unknown
	}
	wants := splitARN(p)
	haves := splitARN(appendText(nil, have))
	if wants == nil || haves == nil {
		return unknown
	}
	all := yes
	for i := range wants {
		text, _ := haves[i].literal()
		all = allOf(all, e.matches(wants[i], text))
	}
	return all
}

// splitARN returns the six parts of an ARN, or nil.
func splitARN(p pattern) []pattern {
	parts := split(p, func(s symbol) bool { return s == symbol{char: ':'} })
	if len(parts) < 6 {
		return nil
	}
	if scheme, _ := parts[0].literal(); scheme != "arn" {
		return nil
	}
	before := 0
	for _, part := range parts[:5] {
		before += len(part) + 1
	}
	return append(parts[:5:5], p[before:]) // the resource keeps its colons
}

func parseBool(s string) (value, ok bool) {
	switch lowerASCII(s) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// number is a decimal that is cheap to compare exactly.
var number = whenUsed(`^-?[0-9]{1,40}(\.[0-9]{1,40})?$`)

func parseNumber(s string) (*big.Rat, bool) {
	if !number().MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// epoch is a time in seconds since 1970, with more digits than a year has.
var epoch = whenUsed(`^[0-9]{5,11}$`)

// parseDate reads ISO 8601 in the forms of https://www.w3.org/TR/NOTE-datetime,
// or epoch time. A number of four digits could be either.
func parseDate(s string) (time.Time, bool) {
	if epoch().MatchString(s) {
		seconds, err := strconv.ParseInt(s, 10, 64)
		return time.Unix(seconds, 0), err == nil
	}
	for _, layout := range []string{"2006-01", time.DateOnly, "2006-01-02T15:04Z07:00", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func ipAddress(_ *evaluation, want, have string) truth {
	network, ok := parseNetwork(want)
	address, err := netip.ParseAddr(have)
	if !ok || err != nil || address.Is4In6() || address.Zone() != "" {
		return unknown
	}
	return truthOf(network.Contains(address))
}

// parseNetwork reads a network in CIDR form, or one address.
func parseNetwork(s string) (netip.Prefix, bool) {
	if network, err := netip.ParsePrefix(s); err == nil {
		return network, !network.Addr().Is4In6()
	}
	address, err := netip.ParseAddr(s)
	if err != nil || address.Is4In6() || address.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(address, address.BitLen()), true
}
