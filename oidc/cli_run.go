package oidc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/jwtjson"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

const (
	cliLimit       = 30 * time.Second // for one run
	maxCLIOutput   = 1 << 20          // 1 MiB
	cliWaitForPipe = time.Second      // for programs that the CLI started and that still hold its output
)

// program finds the CLI. A relative path is made absolute: the CLI runs in the
// linked folder, where the same path would name another file.
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
		err = errors.New("the Vercel CLI is not on PATH; run `npm i -g vercel`")
	}
	return path, err
}

// lookPath finds a program in the folders of PATH. Package exec stops with an
// error at a program in a relative folder. This looks further, in the absolute
// folders.
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
	return "", fmt.Errorf("%s is only in a relative folder of PATH, from which Go runs nothing; make that folder absolute", scrub.Quote(path, 200))
}

// runCLI runs the CLI and returns its output. When ctx or the time limit ends, the
// CLI and its children are ended. Where the system can do that, the CLI ends with
// this program too.
func runCLI(ctx context.Context, dir, program string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cliLimit)
	defer cancel()
	var stdout, stderr bounded
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = cliWaitForPipe
	endChildrenToo(cmd)
	// Linux ends the CLI when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	command := fmt.Sprintf("`vercel %s`", strings.Join(args[:2], " "))
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s took longer than %s and was ended%s", command, cliLimit, said(stderr.kept.Bytes()))
	case errors.As(err, &exit):
		return nil, fmt.Errorf("%s failed (%s)%s%s", command, exit, said(stderr.kept.Bytes()), advice(stderr.kept.String()))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("%s could not be run: %s", command, clean(err.Error(), Token{}))
	case stdout.overflowed:
		return nil, fmt.Errorf("%s printed more than %d bytes", command, maxCLIOutput)
	}
	return stdout.kept.Bytes(), nil
}

// readCLI reads the token from the CLI's output. It must be a token of the
// project with the given ID or name.
func readCLI(out []byte, project string) (Token, error) {
	answer, err := jwtjson.Object(string(out))
	if err != nil {
		return Token{}, fmt.Errorf("the output of `vercel project token` cannot be read: %w; a newer CLI may help: `npm i -g vercel`", err)
	}
	raw, _ := answer["token"].Text()
	if raw == "" {
		return Token{}, errors.New("`vercel project token` printed no token; is OIDC enabled in the project's settings?")
	}
	t, err := parseToken(raw)
	if err == nil {
		err = t.CheckExpiry(time.Now())
	}
	if err != nil {
		return Token{}, fmt.Errorf("the output of `vercel project token`: %w", err)
	}
	if project != t.ProjectID && project != t.Project {
		return Token{}, fmt.Errorf("`vercel project token` printed a token of another project: %s, and not %s; run `vercel link` again, and check which `vercel` this is",
			scrub.Quote(t.ProjectID, maxClaim), scrub.Quote(project, maxClaim))
	}
	t.source = sourceCLI
	return t, nil
}

// said returns what the CLI printed to standard error, as the end of an error
// message.
func said(stderr []byte) string {
	// The token itself is not known when the CLI fails, so each word that looks like
	// one is replaced.
	jwts := regexp.MustCompile(`\S*eyJ\S*`)
	words := jwts.ReplaceAllString(clean(string(stderr), Token{}), "[token]")
	if words == "" {
		return ""
	}
	return ": " + scrub.Quote(strings.Join(strings.Fields(words), " "), maxWords)
}

// advice says what to do about the usual failures.
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

// bounded is an io.Writer that keeps the beginning of what is written and drops
// the rest, so that a program that prints without end is not blocked. It does not
// embed its buffer, because io.Copy would then call the buffer's ReadFrom instead
// of Write.
type bounded struct {
	kept       bytes.Buffer
	overflowed bool
}

// Write accepts all of p and keeps as much as there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	room := maxCLIOutput - b.kept.Len()
	if len(p) > room {
		b.overflowed = true
		b.kept.Write(p[:room])
		return len(p), nil
	}
	return b.kept.Write(p)
}
