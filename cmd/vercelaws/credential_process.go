package main

import (
	"context"
	"encoding/json"
	"flag"
	"time"
)

var credentialProcessCommand = &command{
	name:    "credential-process",
	summary: "give the credentials to AWS tools, as their credential_process",
	setup:   setupCredentialProcess,
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

func setupCredentialProcess(c *command, fs *flag.FlagSet) action {
	var role roleFlags
	role.add(fs)
	return func(ctx context.Context, _ []string, s streams) error {
		with, err := role.assume(ctx, c)
		if err != nil {
			return err
		}
		creds, err := with.kept(ctx, s.err)
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
}
