package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/policyfile"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// trustPolicyCheckCommand looks at a policy that is there.
var trustPolicyCheckCommand = &command{
	name:      "trust-policy check",
	summary:   "say what is too wide in a role's trust policy",
	arguments: true,
	setup:     setupTrustPolicyCheck,
}

// findings are what the check found, as --json prints it.
type findings struct {
	OK     bool      `json:"ok"`
	Found  []finding `json:"findings"` // what is wrong, the worst first
	Notes  []finding `json:"notes,omitempty"`
	Admits []string  `json:"admits,omitempty"` // some of the subjects that get in
}

type finding struct {
	Severity string `json:"severity"`
	Message  string `json:"message"`
}

func setupTrustPolicyCheck(c *command, fs *flag.FlagSet) action {
	var expected list
	var asJSON bool
	failOn := trustpolicy.High
	fs.Var(&expected, "expect-environment", "the `name` of an environment that the role is for; others are high")
	fs.TextVar(&failOn, "fail-on", failOn, "the `severity` from which it fails: low, medium, high or critical")
	fs.BoolVar(&asJSON, "json", false, "print the findings in JSON")
	return func(ctx context.Context, files []string, s streams) error {
		if len(files) != 1 {
			return c.misuse("trust-policy check takes one file, or - for the standard input, and has %d", len(files))
		}
		text, err := readPolicy(ctx, c, files[0], s.in)
		if err != nil {
			return err
		}
		document, _, err := policyfile.Read(text)
		if err != nil {
			return c.misuse("there is no policy in %s: %s", failure.Quote(files[0]), err)
		}
		f := check(document, expected, failOn)
		return writeReport(s.out, f, asJSON, f.OK)
	}
}

func check(document []byte, expected []string, failOn trustpolicy.Severity) findings {
	policy, err := trustpolicy.Parse(document)
	if err != nil {
		return findings{Found: []finding{{"refused", strings.TrimPrefix(err.Error(), "trustpolicy: ")}}}
	}
	reach := policy.Reach()
	f := findings{OK: len(reach.Nobody) == 0, Found: []finding{}, Admits: reach.Subjects}
	for _, why := range reach.Nobody {
		f.Found = append(f.Found, finding{"nobody", "the policy admits no token of Vercel: " + why.String()})
	}
	warnings := policy.Warnings()
	if len(expected) > 0 {
		warnings = append(warnings, policy.ExpectEnvironments(expected...)...)
		slices.SortStableFunc(warnings, func(a, b trustpolicy.Warning) int { return int(b.Severity - a.Severity) })
	}
	for _, w := range warnings {
		f.OK = f.OK && w.Severity < failOn
		f.Found = append(f.Found, finding{w.Severity.String(), w.String()})
	}
	for _, audience := range reach.Exchanged {
		f.Notes = append(f.Notes, finding{"note", "it admits only tokens that are exchanged for the audience " + failure.Quote(audience) + ", as with --audience"})
	}
	return f
}

// WriteText writes the findings for a person, a line each.
func (f findings) WriteText(w io.Writer) error {
	lines := slices.Clone(f.Found)
	if len(lines) == 0 {
		lines = []finding{{"ok", "nothing to warn of"}}
	}
	lines = append(lines, f.Notes...)
	const most = 8
	for i, subject := range f.Admits {
		if i == most {
			lines = append(lines, finding{"admits", "others, too"})
			break
		}
		lines = append(lines, finding{"admits", failure.Quote(subject)})
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(w, "%-8s  %s\n", line.Severity, line.Message); err != nil {
			return err
		}
	}
	return nil
}
