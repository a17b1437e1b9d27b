package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

var execCommand = &command{
	name:    "exec",
	usage:   "--role-arn ARN [flags] -- command [arguments]",
	summary: "run a program with the credentials in its environment",
	help: `Runs a program with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
AWS_SESSION_TOKEN in its environment, and there alone. Other AWS credentials and
AWS_PROFILE are taken out of it. Signals and the exit status pass through. The
credentials are not renewed: a program that outlives them, or that needs a
profile's settings, is better served by credential-process.`,
	run: runExec,
}

// childExit ends the program with the child's exit status.
type childExit struct{ status int }

// Error names the exit status.
func (e *childExit) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// The exit statuses of a child that could not be started, as in a POSIX shell.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

func runExec(ctx context.Context, c *command, args []string, s streams) error {
	fs := c.flags()
	var role roleFlags
	role.add(fs)
	if done, err := c.parse(fs, args, s); done || err != nil {
		return err
	}
	child := fs.Args()
	if len(child) == 0 {
		return c.misuse("no command to run: put it after --")
	}
	if err := role.check(c); err != nil {
		return err
	}
	path, err := exec.LookPath(child[0])
	if err != nil {
		fmt.Fprintf(s.err, "vercelaws: cannot run %s: %s\n", child[0], reason(err))
		return &childExit{exitNotFound}
	}
	creds, err := role.credentials(ctx)
	if err != nil {
		return err
	}
	if err := become(path, child, childEnviron(os.Environ(), creds)); err != nil {
		var exit *childExit
		if errors.As(err, &exit) {
			return exit
		}
		fmt.Fprintf(s.err, "vercelaws: cannot run %s: %s\n", child[0], reason(err))
		return &childExit{exitCannotRun}
	}
	return nil
}

// reason is what went wrong, without the words that exec puts before it.
func reason(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// stale are the variables with which the SDKs find other credentials. See
// https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html#EVarSettings.
var stale = []string{
	"AWS_ACCESS_KEY_ID",
	"AWS_SECRET_ACCESS_KEY",
	"AWS_SESSION_TOKEN",
	"AWS_SECURITY_TOKEN", // older name of AWS_SESSION_TOKEN
	"AWS_ACCESS_KEY",     // older names that the Java and Go SDKs read
	"AWS_SECRET_KEY",
	"AWS_CREDENTIAL_EXPIRATION",
	"AWS_PROFILE",
	"AWS_DEFAULT_PROFILE",
	"AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	"AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}

// childEnviron returns environ with these credentials and no others.
func childEnviron(environ []string, creds aws.Credentials) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		// Names are compared as Windows does; other systems have no use for
		// the lower-case ones.
		return slices.Contains(stale, strings.ToUpper(name))
	})
	return append(out,
		"AWS_ACCESS_KEY_ID="+creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY="+creds.SecretAccessKey,
		"AWS_SESSION_TOKEN="+creds.SessionToken,
	)
}
