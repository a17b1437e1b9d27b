package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/doctor"
)

var doctorCommand = &command{
	name:    "doctor",
	summary: "say why a token is refused, and what to change",
	setup:   setupDoctor,
}

// policyLimit bounds a trust policy. IAM's own limit is 4,096 characters.
const policyLimit = 1 << 20 // 1 MiB

func setupDoctor(c *command, fs *flag.FlagSet) action {
	var role roleFlags
	var policyFile, environment, fallback string
	var asJSON bool
	role.addARN(fs)
	role.addAudience(fs)
	fs.StringVar(&policyFile, "trust-policy", "", "the role's trust policy, or the output of aws iam get-role, in a `FILE`; - is the standard input")
	fs.StringVar(&environment, "environment", "", "the `name` of the environment that the role is for; by default the trust policy says it")
	fs.StringVar(&fallback, "fallback-region", "", "look at this second `region` too, as for Options.FallbackRegion")
	fs.BoolVar(&asJSON, "json", false, "print the report in JSON")
	return func(ctx context.Context, _ []string, s streams) error {
		policy, err := readPolicy(ctx, c, policyFile, s.in)
		if err != nil {
			return err
		}
		report := doctor.Run(ctx, doctor.Options{
			RoleARN:        role.arn,
			TrustPolicy:    policy,
			Audience:       role.audience,
			Environment:    environment,
			FallbackRegion: fallback,
			Source:         tokenSource(),
		})
		return writeReport(s.out, report, asJSON, report.Healthy)
	}
}

// writeReport writes a report in JSON or as text. It returns errFailed if the report
// is written and not ok.
func writeReport(w io.Writer, report interface{ WriteText(io.Writer) error }, asJSON, ok bool) error {
	var err error
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ") // people look on
		e.SetEscapeHTML(false)
		err = e.Encode(report)
	} else {
		err = report.WriteText(w)
	}
	if err == nil && !ok {
		err = errFailed
	}
	return err
}

// readPolicy returns nil if no file is named. It also ends when ctx does: a pipe may
// have no end.
func readPolicy(ctx context.Context, c *command, name string, in io.Reader) ([]byte, error) {
	var policy []byte
	read := make(chan error, 1)
	go func() {
		var err error
		policy, err = readFile(name, in)
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			return nil, c.misuse("cannot read the trust policy: %s", err)
		}
		return policy, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the trust policy has not come to its end: %w", context.Cause(ctx))
	}
}

func readFile(name string, in io.Reader) ([]byte, error) {
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
	return io.ReadAll(io.LimitReader(in, policyLimit)) // not nil, even if there is nothing to read
}
