package main

import (
	"context"
	"encoding/json"
	"io"
	"os"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/doctor"
)

var doctorCommand = &command{
	name:    "doctor",
	usage:   "[--role-arn ARN] [--trust-policy FILE] [flags]",
	summary: "say why a token is refused, and what to change",
	help: `Looks at everything between a token and AWS credentials: the sources, the
claims, the issuer's keys, STS and the clock, the role, its trust policy, and
who AWS takes the caller for. Each check is ok, a warning, failed or skipped,
and says what to do. Exit status 1 if one failed, 2 for a wrong command line.
No token or key is printed.

AWS does not say which condition of a trust policy refused a token. doctor does:

  aws iam get-role --role-name web --output json |
    vercelaws doctor --role-arn arn:aws:iam::123456789012:role/web --trust-policy -

The policy is evaluated for the environments that it is for, whatever that of
the token at hand is: a developer's token is of development, and a role for
production should not admit it. --environment chooses another.`,
	run: runDoctor,
}

// policyLimit bounds a trust policy. IAM's own limit is 4,096 characters.
const policyLimit = 1 << 20 // 1 MiB

func runDoctor(ctx context.Context, c *command, args []string, s streams) error {
	fs := c.flags()
	var role roleFlags
	var policyFile, environment, fallback string
	var asJSON bool
	role.addARN(fs)
	role.addAudience(fs)
	fs.StringVar(&policyFile, "trust-policy", "", "the role's trust policy, or the output of aws iam get-role, in a `FILE`; - is the standard input")
	fs.StringVar(&environment, "environment", "", "the `name` of the environment that the role is for; by default the trust policy says it")
	fs.StringVar(&fallback, "fallback-region", "", "look at this second `region` too, as for Options.FallbackRegion")
	fs.BoolVar(&asJSON, "json", false, "print the report in JSON")
	if done, err := c.parse(fs, args, s); done || err != nil {
		return err
	}
	if err := c.noArguments(fs); err != nil {
		return err
	}
	policy, err := readPolicy(policyFile, s.in)
	if err != nil {
		return c.misuse("cannot read the trust policy: %s", err)
	}
	report := doctor.Run(ctx, doctor.Options{
		RoleARN:        role.arn,
		TrustPolicy:    policy,
		Audience:       role.audience,
		Environment:    environment,
		FallbackRegion: fallback,
		Source:         tokenSource(),
	})
	if asJSON {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		err = e.Encode(report)
	} else {
		err = report.WriteText(s.out)
	}
	if err == nil && !report.Healthy {
		err = errFailed
	}
	return err
}

// readPolicy returns nil if no file is named.
func readPolicy(name string, in io.Reader) ([]byte, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
	default:
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	policy, err := io.ReadAll(io.LimitReader(in, policyLimit))
	if policy == nil {
		policy = []byte{}
	}
	return policy, err
}
