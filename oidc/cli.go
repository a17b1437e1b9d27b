package oidc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vercelaws/vercelaws/internal/deployment"
)

const (
	cliMargin = time.Minute     // before expiry, a new token is fetched
	cliMemory = 5 * time.Second // a run is not repeated sooner
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

	// Dir is where the search for a linked folder begins, upwards. If empty,
	// the working directory.
	Dir string
}

// FromCLI returns the source that asks the Vercel CLI for a development token,
// as `vercel project token` prints it. It is for a developer's machine: in a
// deployment or build (AWS_LAMBDA_FUNCTION_NAME is set, or VERCEL_ENV to
// another value than "development"), and where no folder from the working
// directory up is linked (`vercel link`), it has no token. The developer must
// be logged in (`vercel login`).
//
// The token is kept in memory until a minute before it expires. Callers share
// one run of the CLI, which takes at most 30 seconds; a caller who leaves does
// not end it, and none waits longer for a CLI that cannot be ended. The end of
// the program ends it on Linux and FreeBSD. A run that failed is not repeated for
// 5 seconds. A token of another project than the one that was asked for is
// refused. Nothing of the CLI's own files is read or written.
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

	mu    sync.Mutex // guards what follows
	token Token      // the last one printed; zero if none
	err   error      // why the last run failed, or nil
	ended time.Time  // when the last run did
	run   chan struct{}
}

// Token gives the kept token, or waits for a run of the CLI.
func (s *cliSource) Token(ctx context.Context) (Token, error) {
	if variable := deployment.Variable(); variable != "" {
		return Token{}, noCLI("it is for a developer's machine, and this is a deployment or build (%s is set)", variable)
	}
	limit := time.NewTimer(cliLimit + 2*cliWaitForPipe)
	defer limit.Stop()
	fresh := false // token is of a run that this call waited for
	for {
		s.mu.Lock()
		now := time.Now()
		token, err, recently := s.token, s.err, now.Sub(s.ended).Abs() < cliMemory
		if token.secret != nil && now.Before(token.Expiry.Add(-cliMargin)) || fresh && err == nil {
			s.mu.Unlock()
			return token, nil
		}
		if err != nil && (recently || fresh) {
			s.mu.Unlock()
			return Token{}, &sourceError{sourceCLI, err}
		}
		run := s.run
		if run == nil {
			run = make(chan struct{})
			s.run = run
			go s.ask(run)
		}
		s.mu.Unlock()
		select {
		case <-run:
			fresh = true
		case <-limit.C:
			return Token{}, noCLI("it did not end within %s", cliLimit)
		case <-ctx.Done():
			return Token{}, &sourceError{sourceCLI, context.Cause(ctx)}
		}
	}
}

const sourceCLI = "Vercel CLI"

func noCLI(format string, args ...any) error {
	return &sourceError{sourceCLI, fmt.Errorf("%w: %w", ErrNoToken, fmt.Errorf(format, args...))}
}

// ask runs the CLI and stores its outcome. The run is nobody's in particular:
// it ends with none of its callers, and sees nothing of their contexts.
func (s *cliSource) ask(done chan struct{}) {
	token, err := s.options.ask(context.Background())
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrNoToken, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.err, s.ended, s.run = token, err, time.Now(), nil
	close(done)
}

// ask makes one run of the CLI.
func (o CLIOptions) ask(ctx context.Context) (Token, error) {
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
	out, err := runCLI(ctx, l.dir, program, args)
	if err != nil {
		return Token{}, err
	}
	return readCLI(out, l.project)
}

// link is what the options say of the project, and the linked folder the rest.
func (o CLIOptions) link() (link, error) {
	dir := o.Dir
	if dir == "" {
		dir = "."
	}
	if o.Project == "" {
		l, err := findLink(dir)
		if err != nil {
			return link{}, err
		}
		if o.Team != "" {
			l.team = o.Team
		}
		return newLink(l.dir, l.project, l.team)
	}
	l, err := newLink(dir, o.Project, o.Team)
	if err != nil {
		return link{}, fmt.Errorf("CLIOptions: %w", err)
	}
	return l, nil
}

var errNoCLI = errors.New("the Vercel CLI is not on PATH; run `npm i -g vercel`")
