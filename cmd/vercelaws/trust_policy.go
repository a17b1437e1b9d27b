package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/failure"
	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/setup"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

var trustPolicyCommand = &command{
	name:    "trust-policy",
	summary: "write the trust policy, OIDC provider and role that AWS needs",
	setup:   setupTrustPolicy,
}

func setupTrustPolicy(c *command, fs *flag.FlagSet) action {
	var spec trustpolicy.Spec
	var roleName, format string
	var fromToken, existing bool
	fs.StringVar(&spec.AccountID, "account", "", "the AWS account's 12-digit `ID`")
	fs.Var((*list)(&spec.Teams), "team", "a team's `slug`, as in vercel.com/<slug>")
	fs.Var((*list)(&spec.Projects), "project", "a project's `name`")
	fs.Var((*list)(&spec.Environments), "environment", "an environment's `name`: production, preview, development or a custom one")
	fs.BoolVar(&spec.Global, "global", false, "the projects are in the global issuer mode, not the team's")
	fs.StringVar(&spec.Audience, "audience", "", "the `audience` that the tokens are exchanged for, if they are")
	fs.StringVar(&spec.Partition, "partition", "", "the AWS `partition`: aws (default), aws-cn or aws-us-gov")
	fs.StringVar(&roleName, "role-name", "", "the role's `name`; by default vercel-<project>")
	fs.StringVar(&format, "format", "json", "the `format`: "+strings.Join(formatNames(), ", "))
	fs.BoolVar(&existing, "existing-provider", false, "for terraform and cloudformation: the account has the OIDC provider already")
	fs.BoolVar(&fromToken, "from-token", false, "take what is not given from the current token")
	return func(ctx context.Context, _ []string, s streams) error {
		i := slices.Index(formatNames(), format)
		if i < 0 {
			return c.misuse("there is no format %q%s", format, didYouMean(format, formatNames()))
		}
		if existing && format != "terraform" && format != "cloudformation" {
			return c.misuse("--existing-provider goes with --format terraform or cloudformation")
		}
		for _, question := range questions(spec) {
			fmt.Fprintf(s.err, "vercelaws: %s\n", question)
		}
		if fromToken {
			if err := fillFromToken(ctx, c, &spec, s.err); err != nil {
				return err
			}
		}
		if missing := missingFlags(spec); len(missing) > 0 {
			return c.misuse("missing %s", strings.Join(missing, ", "))
		}
		made, err := setup.New(spec, roleName)
		if err != nil {
			return c.misuse("%s", strings.TrimPrefix(err.Error(), "trustpolicy: "))
		}
		made.ProviderExists = existing
		for _, p := range made.Providers {
			if existing {
				fmt.Fprintf(s.err, "vercelaws: the provider %s must have the audience %s\n", p.ARN, failure.QuoteAll(p.Audiences))
			}
		}
		for _, warning := range made.Policy.Warnings() {
			fmt.Fprintf(s.err, "vercelaws: warning: %s\n", warning)
		}
		_, err = io.WriteString(s.out, setup.Formats[i].Write(made))
		return err
	}
}

func formatNames() (names []string) {
	for _, f := range setup.Formats {
		names = append(names, f.Name)
	}
	return names
}

func missingFlags(spec trustpolicy.Spec) (missing []string) {
	for _, f := range []struct {
		flag    string
		missing bool
	}{
		{"--account ID", spec.AccountID == ""},
		{"--team SLUG", len(spec.Teams) == 0},
		{"--project NAME", len(spec.Projects) == 0},
		{"--environment NAME", len(spec.Environments) == 0},
	} {
		if f.missing {
			missing = append(missing, f.flag)
		}
	}
	return missing
}

// questions are about environments that look like misspelt ones. They can be meant
// all the same: the name of a custom environment is the team's own.
func questions(spec trustpolicy.Spec) (out []string) {
	for _, name := range spec.Environments {
		if meant := didYouMean(name, standardEnvironments); meant != "" && !slices.Contains(standardEnvironments, name) {
			out = append(out, fmt.Sprintf("--environment %s: is that a custom environment%s", name, meant))
		}
	}
	return out
}

// standardEnvironments are those that every project has. See
// https://vercel.com/docs/deployments/environments.
var standardEnvironments = []string{"production", "preview", "development"}

// fillFromToken completes spec from the token that a program started here
// would use, and says what it took.
func fillFromToken(ctx context.Context, c *command, spec *trustpolicy.Spec, notes io.Writer) error {
	token, err := tokenSource().Token(ctx)
	if err != nil {
		return failure.Of(err)
	}
	found, ok := setup.SpecOf(token.Issuer, token.Subject, token.Audience)
	if !ok {
		return fmt.Errorf("the token's subject %s is not one of Vercel's", failure.Quote(token.Subject))
	}
	if found.BaseIssuer != "" {
		fmt.Fprintf(notes, "vercelaws: warning: the token's issuer %s is not %s, which is Vercel: whoever runs it can assume the role\n", failure.Quote(token.Issuer), trustpolicy.GlobalIssuer)
	}
	spec.BaseIssuer = found.BaseIssuer
	if len(spec.Teams) == 0 {
		spec.Teams = found.Teams
	}
	if len(spec.Projects) == 0 {
		spec.Projects = found.Projects
	}
	if len(spec.Environments) == 0 {
		if found.Environments[0] == "development" {
			return c.misuse("the token is of the environment development, as every developer's is; say with --environment what the role is for")
		}
		spec.Environments = found.Environments
		fmt.Fprintf(notes, "vercelaws: for the environment %s, which is the token's\n", failure.QuoteAll(found.Environments))
	}
	spec.Global = spec.Global || found.Global
	spec.Audience = cmp.Or(spec.Audience, found.Audience)
	return nil
}
