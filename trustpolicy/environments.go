package trustpolicy

import (
	"fmt"
	"slices"
	"strings"
)

// ExpectEnvironments returns a warning for each Allow statement that lets in
// tokens of other environments than the given ones, or may. All that its
// patterns admit counts, such as "nonproduction" for "*production", and names
// differ by case. A Deny that keeps them out counts.
func (d *Document) ExpectEnvironments(expected ...string) []Warning {
	var out []Warning
	work := budget
	for i, s := range d.Statements {
		if !s.allows(Action) {
			continue
		}
		o := d.opening(i, &work)
		for _, name := range expected {
			o.addEnvironment(name)
		}
		r := o.reach()
		others := r.others(expected, o.parts[environmentPart].fixed)
		switch than := quotedAll(expected, " and "); {
		case r.unclear:
			out = append(out, Warning{i + 1, fmt.Sprintf("it may admit other environments than %s: there are too many patterns to tell", than), High})
		case len(others) > 0:
			out = append(out, Warning{i + 1, fmt.Sprintf("it admits other environments than %s: %s", than, strings.Join(others, ", ")), High})
		}
	}
	return out
}

// others names the environments that come in beside the expected ones: all that
// every project has or the policy names, and an example of custom ones.
func (r *reach) others(expected []string, named map[string]bool) (out []string) {
	custom := ""
	for _, name := range r.environments {
		switch {
		case slices.Contains(expected, name):
		case name == anotherEnvironment:
			custom = "custom ones"
		case named[name], slices.Contains(wellKnown, name):
			out = append(out, quoted(name))
		case custom == "":
			custom = "custom ones such as " + quoted(name)
		}
	}
	if custom != "" {
		out = append(out, custom)
	}
	return out
}
