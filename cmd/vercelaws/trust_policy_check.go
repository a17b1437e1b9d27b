package main

import (
	"context"
	"flag"
	"fmt"
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

// finding is a warning, as --json prints it.
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
	return func(_ context.Context, files []string, s streams) error {
		if len(files) != 1 {
			return c.misuse("trust-policy check takes one file, or - for the standard input, and has %d", len(files))
		}
		text, err := readPolicy(files[0], s.in)
		if err != nil {
			return c.misuse("cannot read the trust policy: %s", err)
		}
		document, _, err := policyfile.Read(text)
		if err != nil {
			return c.misuse("there is no policy in %s: %s", failure.Quote(files[0]), err)
		}
		findings := []finding{} // [] in JSON
		policy, err := trustpolicy.Parse(document)
		failed := err != nil
		if failed {
			findings = append(findings, finding{"refused", strings.TrimPrefix(err.Error(), "trustpolicy: ")})
		} else {
			warnings := policy.Warnings()
			if len(expected) > 0 {
				warnings = append(warnings, policy.ExpectEnvironments(expected...)...)
				slices.SortStableFunc(warnings, func(a, b trustpolicy.Warning) int { return int(b.Severity - a.Severity) })
			}
			for _, w := range warnings {
				failed = failed || w.Severity >= failOn
				findings = append(findings, finding{w.Severity.String(), w.String()})
			}
		}
		if asJSON {
			err = writeJSON(s.out, map[string]any{"ok": !failed, "findings": findings})
		} else {
			if len(findings) == 0 {
				findings = []finding{{"ok", "nothing to warn of"}}
			}
			for _, f := range findings {
				_, err = fmt.Fprintf(s.out, "%-8s  %s\n", f.Severity, f.Message)
			}
		}
		if err == nil && failed {
			err = errFailed
		}
		return err
	}
}
