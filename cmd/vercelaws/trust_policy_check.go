package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/policyfile"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// trustPolicyCheckCommand is the part of trust-policy that looks at a policy
// that is there. It is reached through trustPolicyCommand.
var trustPolicyCheckCommand = &command{
	name:  "trust-policy check",
	usage: "FILE [flags]",
	help: `Looks at a role's trust policy in JSON for what lets in more than it should,
the worst first. FILE is the policy, or the output of aws iam get-role; - is the
standard input. For CI:

  aws iam get-role --role-name web --output json |
    vercelaws trust-policy check - --expect-environment production

critical  tokens of other customers of Vercel get in, or everyone at AWS
high      every project and environment of the team, no condition on aud where
          IAM wants one, or an environment that --expect-environment does not
          name
medium    projects or environments that the policy does not name, any audience,
          or a Deny that does not deny
low       production beside other environments, more characters than IAM takes
          unless asked, or a mistake that keeps the policy from doing what was
          meant

The policy is evaluated for tokens: of the names in it, of names that its
patterns admit, and of names that nobody wrote. Some of those that get in stand
at the end. A policy that admits no token of Vercel fails too.

It exits with 0, 1 for a policy that IAM would refuse or that admits no token of
Vercel, or a warning of the severity of --fail-on or above, 2 for a wrong command
line.`,
}

func runTrustPolicyCheck(_ context.Context, args []string, s streams) error {
	c := trustPolicyCheckCommand
	fs := c.flags()
	var expected list
	failOn := trustpolicy.High
	fs.Var(&expected, "expect-environment", "the `name` of an environment that the role is for; others are high")
	fs.TextVar(&failOn, "fail-on", failOn, "the `severity` from which it fails: low, medium, high or critical")
	// Flags may stand after the file.
	var files []string
	for {
		if done, err := c.parse(fs, args, s); done || err != nil {
			return err
		}
		if fs.NArg() == 0 {
			break
		}
		files, args = append(files, fs.Arg(0)), fs.Args()[1:]
	}
	if len(files) != 1 {
		return c.misuse("trust-policy check takes one file, or - for the standard input, and has %d", len(files))
	}
	text, err := readPolicy(files[0], s.in)
	if err != nil {
		return c.misuse("cannot read the trust policy: %s", err)
	}
	document, _, err := policyfile.Read(text)
	if err != nil {
		fmt.Fprintf(s.out, "refused   there is no policy in what was given: %s\n", err)
		return errFailed
	}
	policy, err := trustpolicy.Parse(document)
	if err != nil {
		fmt.Fprintf(s.out, "refused   %s\n", strings.TrimPrefix(err.Error(), "trustpolicy: "))
		return errFailed
	}
	warnings := policy.Warnings()
	if len(expected) > 0 {
		warnings = append(warnings, policy.ExpectEnvironments(expected...)...)
		slices.SortStableFunc(warnings, func(a, b trustpolicy.Warning) int { return int(b.Severity - a.Severity) })
	}
	return reportCheck(s.out, warnings, policy.Reach(), failOn)
}

// reportCheck says what is wrong, the worst first, and which tokens get in.
func reportCheck(out io.Writer, warnings []trustpolicy.Warning, reach trustpolicy.Reach, failOn trustpolicy.Severity) error {
	for _, why := range reach.Nobody {
		fmt.Fprintf(out, "nobody    the policy admits no token of Vercel: %s\n", why)
	}
	for _, w := range warnings {
		fmt.Fprintf(out, "%-8s  %s\n", w.Severity, w)
	}
	if len(warnings) == 0 && len(reach.Nobody) == 0 {
		fmt.Fprintln(out, "ok        nothing to warn of")
	}
	for _, audience := range reach.Exchanged {
		fmt.Fprintf(out, "note      it admits only tokens that are exchanged for the audience %s, as with --audience\n", failure.Quote(audience))
	}
	const most = 8
	for i, subject := range reach.Subjects {
		if i == most {
			fmt.Fprintln(out, "admits    others, too")
			break
		}
		fmt.Fprintf(out, "admits    %s\n", failure.Quote(subject))
	}
	if len(reach.Nobody) > 0 || len(warnings) > 0 && warnings[0].Severity >= failOn {
		return errFailed
	}
	return nil
}
