package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/credserver"
)

var execCommand = &command{
	name:    "exec",
	usage:   "--role-arn ARN [flags] -- command [arguments]",
	summary: "run a program with the role's credentials",
	help: `Runs a program with the role's credentials. Other AWS credentials and
AWS_PROFILE are taken out of its environment. Signals and the exit status pass
through; 127 says that there is no such program, 126 that it cannot be run.

Without --serve the keys are in the program's environment, and there alone. They
are not renewed.

With --serve no keys are in the environment. The program, and all that it
starts, is led to an endpoint on loopback (AWS_CONTAINER_CREDENTIALS_FULL_URI),
where every AWS SDK and tool asks for credentials, and asks again before they
end. The endpoint answers for as long as the program runs, and while the token's
source has a live token: with the Vercel CLI or VERCEL_OIDC_TOKEN_FILE without
end, with VERCEL_OIDC_TOKEN until that token's expiry. The shared config and
credentials files are shut out, since SDKs would look there first; of their
settings the region is passed on.`,
	run: runExec,
}

// childExit ends the program with the child's exit status.
type childExit struct {
	status int
	signal syscall.Signal // that ended the child; 0 if none did
}

// Error names the exit status.
func (e *childExit) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// The exit statuses of a child that could not be started, as in a POSIX shell.
// See https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_08_02.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

func runExec(ctx context.Context, c *command, args []string, s streams) error {
	flags := c.flags()
	var role roleFlags
	var serve bool
	role.add(flags)
	flags.BoolVar(&serve, "serve", false, "renew the credentials: serve them on loopback while the program runs")
	if done, err := c.parse(flags, args, s); done || err != nil {
		return err
	}
	child := flags.Args()
	if len(child) == 0 {
		return c.misuse("no command to run: put it after --")
	}
	if err := role.check(c); err != nil {
		return err
	}
	path, err := exec.LookPath(child[0])
	if err != nil {
		return cannotRun(s, child[0], lookPathStatus(child[0], err), err)
	}
	with, err := role.assume(ctx)
	if err != nil {
		return err
	}
	creds, err := with.credentials(ctx)
	if err != nil {
		return err
	}
	if serve {
		err = serveChild(with, path, child)
	} else {
		err = become(path, child, childEnviron(os.Environ(), creds))
	}
	var exit *childExit
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return cannotRun(s, child[0], exitCannotRun, err)
}

// cannotRun says that the program did not start.
func cannotRun(s streams, name string, status int, err error) error {
	fmt.Fprintf(s.err, "vercelaws: cannot run %s: %s\n", name, reason(err))
	return &childExit{status: status}
}

// lookPathStatus tells a program that is not there from one that is, and cannot
// be executed.
func lookPathStatus(name string, err error) int {
	if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
		return exitCannotRun
	}
	if filepath.Base(name) == name {
		for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
			if info, err := os.Stat(filepath.Join(folder, name)); err == nil && info.Mode().IsRegular() {
				return exitCannotRun
			}
		}
	}
	return exitNotFound
}

// reason is what went wrong, without the words that exec puts before it.
func reason(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// serveChild runs the program, and serves it the credentials until it ends.
func serveChild(role *assumed, path string, args []string) error {
	server, err := credserver.Start(role.whole)
	if err != nil {
		return fmt.Errorf("no endpoint for its credentials: %w", err)
	}
	defer server.Close()
	return supervise(path, args, servedEnviron(os.Environ(), server.Environ(), role.region))
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

// sharedFiles are the variables that name the files in which the SDKs, and
// botocore for the sake of its elders, look before they ask an endpoint.
var sharedFiles = []string{
	"AWS_SHARED_CREDENTIALS_FILE",
	"AWS_CONFIG_FILE",
	"AWS_CREDENTIAL_FILE",
	"BOTO_CONFIG",
}

// without returns environ without some variables. Names are compared as Windows
// does; other systems have no use for the lower-case ones.
func without(environ, names []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(names, strings.ToUpper(name))
	})
}

// childEnviron returns environ with these credentials and no others.
func childEnviron(environ []string, creds aws.Credentials) []string {
	return append(without(environ, stale),
		"AWS_ACCESS_KEY_ID="+creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY="+creds.SecretAccessKey,
		"AWS_SESSION_TOKEN="+creds.SessionToken,
	)
}

// servedEnviron returns environ with an endpoint for credentials, and no other
// way to any. The region goes into both variables where neither says one:
// botocore knows AWS_DEFAULT_REGION alone, most SDKs AWS_REGION alone.
func servedEnviron(environ, endpoint []string, region string) []string {
	out := without(without(environ, stale), sharedFiles)
	for _, name := range sharedFiles {
		out = append(out, name+"="+os.DevNull)
	}
	if region != "" {
		for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
			if !slices.ContainsFunc(out, func(variable string) bool { return strings.HasPrefix(variable, name+"=") && variable != name+"=" }) {
				out = append(without(out, []string{name}), name+"="+region)
			}
		}
	}
	return append(out, endpoint...)
}
