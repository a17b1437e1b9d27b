package oidc

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/vercelaws/vercelaws/internal/deployment"
)

const (
	cliMargin = time.Minute     // how long before its expiry a kept token is replaced
	cliMemory = 5 * time.Second // how long the CLI is not run again after a failure
)

// CLIOptions are the choices of [FromCLI].
type CLIOptions struct {
	// Path is the Vercel CLI: a file's path, relative to the working directory,
	// or a name to look for in PATH. If empty, `vercel`, else `vc`, from PATH.
	Path string

	// Project is the project's ID or name. If empty, that of the linked
	// folder.
	Project string

	// Team is the team's ID or slug. If empty, that of the linked folder; or
	// the CLI's own choice, if Project is given.
	Team string

	// Dir is the folder in which the search for a linked folder begins. The
	// search goes on in the folders above. If empty, the working directory.
	Dir string
}

// FromCLI returns the source that asks the Vercel CLI for a development token,
// as `vercel project token` prints it. It is for a developer's machine. It has no
// token in a deployment or build (AWS_LAMBDA_FUNCTION_NAME is set, or VERCEL_ENV to
// another value than "development"). Without CLIOptions.Project it also has none if
// neither CLIOptions.Dir nor a folder above it is linked (`vercel link`). The
// developer must be logged in (`vercel login`).
//
// The token is kept in memory until a minute before it expires. Callers share
// one run of the CLI. A run is ended after 30 seconds, and no caller waits longer than
// 32, even if the CLI cannot be ended. A caller whose context ends does not end the
// run. On Linux and FreeBSD the CLI ends with the program. After a run that
// failed, the same error is returned for 5 seconds. A token of another project
// than the one that was asked for is refused. The CLI's own files are neither
// read nor written.
//
// See https://vercel.com/docs/cli/project.
func FromCLI(optFns ...func(*CLIOptions)) TokenSource {
	s := &cliSource{}
	for _, fn := range optFns {
		fn(&s.options)
	}
	return s
}

type cliSource struct {
	options CLIOptions
	calls   singleflight.Group // of current

	// The fields below are used by current alone, which runs once at a time.
	token Token     // of the last run; zero if it failed
	err   error     // why the last run failed, or nil
	ended time.Time // when the last run ended
}

// Token gives the kept token, or waits for a run of the CLI.
func (s *cliSource) Token(ctx context.Context) (Token, error) {
	if variable := deployment.Variable(); variable != "" {
		return Token{}, noCLI("it is for a developer's machine, and this is a deployment or build (%s is set)", variable)
	}
	select {
	case r := <-s.calls.DoChan("", s.current):
		if r.Err != nil {
			return Token{}, &sourceError{sourceCLI, r.Err}
		}
		return r.Val.(Token), nil
	case <-time.After(cliLimit + 2*cliWaitForPipe):
		return Token{}, noCLI("it did not end within %s", cliLimit)
	case <-ctx.Done():
		return Token{}, &sourceError{sourceCLI, context.Cause(ctx)}
	}
}

const sourceCLI = "Vercel CLI"

func noCLI(format string, args ...any) error {
	return &sourceError{sourceCLI, fmt.Errorf("%w: %w", ErrNoToken, fmt.Errorf(format, args...))}
}

// current returns the kept token, or the last failure for a while, or runs the
// CLI. All callers share the run, so it sees none of their contexts.
func (s *cliSource) current() (any, error) {
	now := time.Now()
	kept := s.token.secret != nil && now.Before(s.token.Expiry.Add(-cliMargin))
	justFailed := s.err != nil && now.Sub(s.ended).Abs() < cliMemory
	if !kept && !justFailed {
		s.token, s.err = s.options.run()
		if s.err != nil {
			s.err = fmt.Errorf("%w: %w", ErrNoToken, s.err)
		}
		s.ended = time.Now()
	}
	return s.token, s.err
}

// run runs the CLI once.
func (o CLIOptions) run() (Token, error) {
	l, err := o.link()
	if err != nil {
		return Token{}, err
	}
	program, err := o.program()
	if err != nil {
		return Token{}, err
	}
	args := []string{"project", "token", l.project, "--format=json"}
	if l.team != "" {
		args = append(args, "--scope", l.team)
	}
	out, err := runCLI(context.Background(), l.dir, program, args)
	if err != nil {
		return Token{}, err
	}
	return readCLI(out, l.project)
}

// link returns the project and team of the options. Those that are not set come
// from the linked folder.
func (o CLIOptions) link() (link, error) {
	dir := cmp.Or(o.Dir, ".")
	if o.Project == "" {
		l, err := findLink(dir)
		if err != nil {
			return link{}, err
		}
		return newLink(l.dir, l.project, cmp.Or(o.Team, l.team))
	}
	l, err := newLink(dir, o.Project, o.Team)
	if err != nil {
		return link{}, fmt.Errorf("CLIOptions: %w", err)
	}
	return l, nil
}
