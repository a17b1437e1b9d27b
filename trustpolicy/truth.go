package trustpolicy

import "slices"

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
