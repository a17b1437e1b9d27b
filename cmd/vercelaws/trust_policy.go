package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/setup"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

var trustPolicyCommand = &command{
	name:    "trust-policy",
	usage:   "--account ID --team SLUG --project NAME --environment NAME [flags]",
	summary: "write the trust policy, OIDC provider and role that AWS needs",
	help: `Prints the trust policy of a role for a Vercel project. Every format but json
has also the account's OIDC provider and the role, ready to apply. Names can be
repeated or have commas between them: both names of a project that is being
renamed, for example. A * as project or environment stands for all.`,
	run: runTrustPolicy,
}

func runTrustPolicy(ctx context.Context, c *command, args []string, s streams) error {
	var spec trustpolicy.Spec
	var roleName, format string
	var fromToken bool
	fs := c.flags()
	fs.StringVar(&spec.AccountID, "account", "", "the AWS account's 12-digit `ID`")
	fs.Var((*list)(&spec.Teams), "team", "a team's `slug`, as in vercel.com/<slug>")
	fs.Var((*list)(&spec.Projects), "project", "a project's `name`")
	fs.Var((*list)(&spec.Environments), "environment", "an environment's `name`: production, preview, development or a custom one")
	fs.BoolVar(&spec.Global, "global", false, "the projects are in the global issuer mode, not the team's")
	fs.StringVar(&spec.Audience, "audience", "", "the `audience` that the tokens are exchanged for, if they are")
	fs.StringVar(&spec.Partition, "partition", "", "the AWS `partition`: aws (default), aws-cn or aws-us-gov")
	fs.StringVar(&roleName, "role-name", "", "the role's `name`; by default vercel-<project>")
	fs.StringVar(&format, "format", "json", "the `format`: "+strings.Join(formatNames(), ", "))
	fs.BoolVar(&fromToken, "from-token", false, "take what is not given from the current token")
	if done, err := c.parse(fs, args, s); done || err != nil {
		return err
	}
	if err := c.noArguments(fs); err != nil {
		return err
	}
	i := slices.Index(formatNames(), format)
	if i < 0 {
		return c.misuse("there is no format %q%s", format, didYouMean("", format, formatNames()))
	}
	if fromToken {
		if err := fillFromToken(ctx, &spec); err != nil {
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
	for _, warning := range made.Policy.Warnings() {
		fmt.Fprintf(s.err, "vercelaws: warning: %s\n", warning)
	}
	_, err = io.WriteString(s.out, setup.Formats[i].Write(made))
	return err
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

// fillFromToken completes spec from the token that a program started here
// would use.
func fillFromToken(ctx context.Context, spec *trustpolicy.Spec) error {
	token, err := oidc.DefaultSource().Token(ctx)
	if err != nil {
		return err
	}
	found, ok := setup.SpecOf(token.Issuer, token.Subject, token.Audience)
	if !ok {
		return fmt.Errorf("the token's subject %q is not one of Vercel's", token.Subject)
	}
	spec.BaseIssuer = found.BaseIssuer
	if len(spec.Teams) == 0 {
		spec.Teams = found.Teams
	}
	if len(spec.Projects) == 0 {
		spec.Projects = found.Projects
	}
	if len(spec.Environments) == 0 {
		spec.Environments = found.Environments
	}
	if !spec.Global {
		spec.Global = found.Global
	}
	if spec.Audience == "" {
		spec.Audience = found.Audience
	}
	return nil
}
