package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

const (
	cliLimit       = 30 * time.Second // for one run
	maxCLIOutput   = 1 << 20          // 1 MiB
	cliWaitForPipe = time.Second      // for what the CLI left behind holding its output
)

// program finds the CLI. A path is the caller's: the CLI runs in the linked
// folder, where a relative one would be another file.
func (o CLIOptions) program() (string, error) {
	if o.Path != "" && filepath.Base(o.Path) == o.Path {
		return lookPath(o.Path)
	}
	if o.Path != "" {
		return filepath.Abs(o.Path)
	}
	path, err := lookPath("vercel")
	if errors.Is(err, exec.ErrNotFound) {
		path, err = lookPath("vc")
	}
	if errors.Is(err, exec.ErrNotFound) {
		err = errNoCLI
	}
	return path, err
}

// lookPath finds a program in the folders of PATH. Package exec does not run one
// that a relative folder has, and looks no further; one that an absolute folder
// has is as good, wherever that folder stands.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if !errors.Is(err, exec.ErrDot) {
		return path, err
	}
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(folder) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is in a relative folder of PATH alone, from which Go runs nothing; make that folder absolute", scrub.Quote(path, 200))
}

// runCLI returns what the CLI prints. The CLI and its children end with the
// limit, and the CLI with this program where the system can do that.
func runCLI(ctx context.Context, dir, program string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cliLimit)
	defer cancel()
	var stdout, stderr bounded
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = cliWaitForPipe
	endChildrenToo(cmd)
	// Linux takes the end of the thread that started the CLI for this program's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	what := fmt.Sprintf("`vercel %s`", strings.Join(args[:2], " "))
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s took longer than %s and was ended%s", what, cliLimit, said(stderr.kept.Bytes()))
	case errors.As(err, &exit):
		return nil, fmt.Errorf("%s failed (%s)%s%s", what, exit, said(stderr.kept.Bytes()), advice(stderr.kept.String()))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("%s could not be run: %s", what, clean(err.Error(), Token{}))
	case stdout.overflowed:
		return nil, fmt.Errorf("%s printed more than %d bytes", what, maxCLIOutput)
	}
	return stdout.kept.Bytes(), nil
}

// readCLI takes the token out of the CLI's output. It is one of the project, by
// its ID or name.
func readCLI(out []byte, project string) (Token, error) {
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return Token{}, fmt.Errorf("what `vercel project token` printed cannot be read: %w; a newer CLI may help: `npm i -g vercel`", describeJSON(err))
	}
	if answer.Token == "" {
		return Token{}, errors.New("`vercel project token` printed no token; is OIDC enabled in the project's settings?")
	}
	t, err := parseToken(answer.Token)
	if err != nil {
		return Token{}, fmt.Errorf("what `vercel project token` printed: %w", err)
	}
	if err := t.CheckExpiry(time.Now()); err != nil {
		return Token{}, fmt.Errorf("what `vercel project token` printed: %w", err)
	}
	if project != t.ProjectID && project != t.Project {
		return Token{}, fmt.Errorf("`vercel project token` printed a token of another project: %s, and not %s; run `vercel link` again, and check which `vercel` this is",
			scrub.Quote(t.ProjectID, maxClaim), scrub.Quote(project, maxClaim))
	}
	t.source = sourceCLI
	return t, nil
}

// said is the CLI's own words, as the end of an error.
func said(stderr []byte) string {
	words := scrubJWTs(clean(string(stderr), Token{}))
	if words == "" {
		return ""
	}
	return ": " + scrub.Quote(words, maxWords)
}

// scrubJWTs takes out what looks like a token. The one in question is not known
// here.
func scrubJWTs(s string) string {
	fields := strings.Fields(s)
	for i, field := range fields {
		if strings.Contains(field, "eyJ") {
			fields[i] = "[token]"
		}
	}
	return strings.Join(fields, " ")
}

// advice says what to do about the failures that people meet.
func advice(stderr string) string {
	s := strings.ToLower(stderr)
	switch {
	case strings.Contains(s, "oidc"):
		return "; enable OIDC in the project's settings"
	case strings.Contains(s, "log in"), strings.Contains(s, "login"), strings.Contains(s, "logged in"), strings.Contains(s, "credentials"), strings.Contains(s, "not authenticated"):
		return "; run `vercel login`"
	case strings.Contains(s, "unknown command"), strings.Contains(s, "unknown or unexpected option"):
		return "; the CLI is too old: run `npm i -g vercel`"
	case strings.Contains(s, "not found"):
		return "; run `vercel link` again"
	}
	return ""
}

// bounded is a buffer that takes everything and keeps the beginning, so that a
// program that prints without end is not blocked, nor kept. It does not embed
// its buffer, whose ReadFrom would pass Write by.
type bounded struct {
	kept       bytes.Buffer
	overflowed bool
}

// Write takes all of p and keeps what there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	room := maxCLIOutput - b.kept.Len()
	if len(p) > room {
		b.overflowed = true
		b.kept.Write(p[:room])
		return len(p), nil
	}
	return b.kept.Write(p)
}
