package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/credserver"
)

var execCommand = &command{
	name:    "exec",
	summary: "run a program with the role's credentials",
	program: true,
	setup:   setupExec,
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

func setupExec(c *command, flags *flag.FlagSet) action {
	var role roleFlags
	var serve bool
	role.add(flags)
	flags.BoolVar(&serve, "serve", false, "renew the credentials: serve them on loopback while the program runs")
	return func(ctx context.Context, child []string, s streams) error {
		switch {
		case len(child) == 0:
			return c.misuse("no command to run: put it after --")
		case serve && role.cache:
			return c.misuse("--cache goes without --serve, which renews the credentials")
		case serve && os.Getpid() == 1:
			return asInit()
		}
		path, err := exec.LookPath(child[0])
		if err != nil {
			return cannotRun(s, child[0], lookPathStatus(child[0], err), err)
		}
		with, err := role.assume(ctx, c)
		if err != nil {
			return err
		}
		creds, err := with.kept(ctx, s.err)
		if err != nil {
			return err
		}
		if serve {
			err = serveChild(with, path, child)
		} else {
			err = become(path, child, childEnviron(os.Environ(), creds, with.region))
		}
		var exit *childExit
		if err == nil || errors.As(err, &exit) {
			return err
		}
		return cannotRun(s, child[0], exitCannotRun, err)
	}
}

// asInit runs this command once more, in a process of its own. The first process
// of a container becomes the parent of orphaned processes, and must wait for all
// of them. In one process with the library, that wait could also take the exit
// status of the Vercel CLI, for which the library waits.
func asInit() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return supervise(self, os.Args, os.Environ())
}

// cannotRun prints why the program did not start.
func cannotRun(s streams, name string, status int, err error) error {
	fmt.Fprintf(s.err, "vercelaws: cannot run %s: %s\n", name, reason(err))
	return &childExit{status: status}
}

// lookPathStatus returns the exit status for a program that does not exist, or for
// one that exists and cannot be executed.
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

// reason is the error without the prefix of package exec.
func reason(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// serveChild runs the program, and serves it the credentials until it ends.
func serveChild(role *assumed, path string, args []string) error {
	const where = "/credentials"
	server, err := credserver.Start(credserver.Options{Roles: map[string]credserver.Retrieve{where: role.credentials}})
	if err != nil {
		return fmt.Errorf("no endpoint for its credentials: %w", err)
	}
	defer server.Close()
	return supervise(path, args, servedEnviron(os.Environ(), server.Environ(where), role.region))
}

// stale are the variables by which the SDKs would find other credentials. See
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

// sharedFiles are the variables with the names of files that SDKs read before they
// ask an endpoint. The last two are from older SDKs; botocore still reads them.
var sharedFiles = []string{
	"AWS_SHARED_CREDENTIALS_FILE",
	"AWS_CONFIG_FILE",
	"AWS_CREDENTIAL_FILE",
	"BOTO_CONFIG",
}

// bearer is the beginning of the names of variables with an API key for one
// service, such as AWS_BEARER_TOKEN_BEDROCK. SDKs prefer such a key to credentials.
// See
// https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html.
const bearer = "AWS_BEARER_TOKEN_"

// without returns environ without the named variables, and without API keys. The
// comparison ignores case, as Windows does; on other systems no program uses the
// names in lower case.
func without(environ, names []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		name = strings.ToUpper(name)
		return slices.Contains(names, name) || strings.HasPrefix(name, bearer)
	})
}

// childEnviron returns environ with these credentials and no others.
// AWS_CREDENTIAL_EXPIRATION is for botocore, and for people.
func childEnviron(environ []string, creds aws.Credentials, region string) []string {
	return append(withRegion(without(environ, stale), region),
		"AWS_ACCESS_KEY_ID="+creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY="+creds.SecretAccessKey,
		"AWS_SESSION_TOKEN="+creds.SessionToken,
		"AWS_CREDENTIAL_EXPIRATION="+creds.Expires.UTC().Format(time.RFC3339),
	)
}

// servedEnviron returns environ with an endpoint for credentials, and without the
// variables by which SDKs would find others.
func servedEnviron(environ, endpoint []string, region string) []string {
	out := without(environ, slices.Concat(stale, sharedFiles))
	for _, name := range sharedFiles {
		out = append(out, name+"="+os.DevNull)
	}
	return append(withRegion(out, region), endpoint...)
}

// withRegion sets AWS_REGION and AWS_DEFAULT_REGION to the region, unless the
// region is empty or the variable is set. Botocore reads only AWS_DEFAULT_REGION,
// and most SDKs read only AWS_REGION.
func withRegion(environ []string, region string) []string {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		said := func(variable string) bool { return strings.HasPrefix(variable, name+"=") && variable != name+"=" }
		if region != "" && !slices.ContainsFunc(environ, said) {
			environ = append(without(environ, []string{name}), name+"="+region)
		}
	}
	return environ
}
