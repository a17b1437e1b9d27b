package main

import (
	"context"
	"encoding/json"
	"time"
)

var credentialProcessCommand = &command{
	name:    "credential-process",
	usage:   "--role-arn ARN [flags]",
	summary: "give the credentials to AWS tools, as their credential_process",
	help: `Prints credentials as AWS tools take them from a credential_process. In
~/.aws/config:

  [profile web]
  region = eu-central-1
  credential_process = vercelaws credential-process --role-arn arn:aws:iam::123456789012:role/web

The token comes from VERCEL_OIDC_TOKEN_FILE, VERCEL_OIDC_TOKEN or another source
of the library. The Expiration is some minutes before STS ends the credentials,
so that no tool signs with ones that die on the way.`,
	run: runCredentialProcess,
}

// processOutput is what a credential_process prints. See
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html.
type processOutput struct {
	Version         int
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time // RFC 3339
}

func runCredentialProcess(ctx context.Context, c *command, args []string, s streams) error {
	fs := c.flags()
	var role roleFlags
	role.add(fs)
	if done, err := c.parse(fs, args, s); done || err != nil {
		return err
	}
	if err := c.noArguments(fs); err != nil {
		return err
	}
	if err := role.check(c); err != nil {
		return err
	}
	with, err := role.assume(ctx)
	if err != nil {
		return err
	}
	creds, err := with.credentials(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(s.out).Encode(processOutput{
		Version:         1,
		AccessKeyID:     creds.AccessKeyID,
		SecretAccessKey: creds.SecretAccessKey,
		SessionToken:    creds.SessionToken,
		Expiration:      creds.Expires.UTC().Truncate(time.Second),
	})
}
