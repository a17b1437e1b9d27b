package trustpolicy

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
func anyOf(all ...truth) truth {
	t := no
	for _, one := range all {
		t = max(t, one)
	}
	return t
}

// allOf is yes if all are, no if one is.
func allOf(all ...truth) truth {
	t := yes
	for _, one := range all {
		t = min(t, one)
	}
	return t
}
