package trustpolicy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Apply returns a copy of d with the changes made, in their order. It is an
// error if one has nothing to apply, or a path that d does not have.
func (d *Document) Apply(advice ...Advice) (*Document, error) {
	out := *d
	out.Statements = slices.Clone(d.Statements)
	for i := range out.Statements {
		out.Statements[i].Conditions = slices.Clone(out.Statements[i].Conditions)
	}
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
	if len(a.Path) < 3 || a.Path[0] != "Statement" {
		return a.notThere()
	}
	i, err := strconv.Atoi(a.Path[1])
	if err != nil || i < 0 || i >= len(d.Statements) {
		return a.notThere()
	}
	return d.Statements[i].change(a)
}

func (a Advice) notThere() error {
	return fmt.Errorf("the policy has no place %s", plainAll(a.Path, "."))
}

// change makes one change of s, whose list of conditions is its own.
func (s *Statement) change(a Advice) error {
	var values *[]string
	switch rest := a.Path[2:]; {
	case slices.Equal(rest, []string{"Principal", "Federated"}):
		values = &s.Principals.Federated
	case slices.Equal(rest, []string{"Action"}):
		values = &s.Actions
	case len(rest) == 3 && rest[0] == "Condition":
		at := slices.IndexFunc(s.Conditions, func(c Condition) bool { return c.Operator == rest[1] && c.Key == rest[2] })
		if (at < 0) != (a.Edit == AddCondition) {
			return a.notThere()
		}
		switch a.Edit {
		case AddCondition:
			s.Conditions = append(s.Conditions, Condition{Operator: rest[1], Key: rest[2], Values: []string{a.Value}})
			return nil
		case RenameKey:
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
		return a.notThere()
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

// escape writes a value so that a condition takes it literally. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars.
func (d *Document) escape(value string, like bool) (string, bool) {
	if !d.hasVariables() {
		return value, !like || !strings.ContainsAny(value, "*?")
	}
	if like {
		return likeEscapes.Replace(value), true
	}
	return strings.ReplaceAll(value, "${", "${$}{"), true
}

var likeEscapes = strings.NewReplacer("${", "${$}{", "*", "${*}", "?", "${?}")
