//go:build unix

package oidc

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeCLI puts an executable `vercel` on PATH that runs script, counts its
// runs, and refuses other arguments than a linked folder's. It returns a linked
// folder, which is the working directory, and how to count the runs.
func fakeCLI(t *testing.T, script string) (dir string, runs func() int) {
	t.Helper()
	isolate(t)
	bin, dir := t.TempDir(), t.TempDir()
	log := filepath.Join(bin, "log")
	program := fmt.Sprintf("#!/bin/sh\necho run >> %q\n", log) +
		"if [ \"$*\" != \"project token prj_1 --format=json --scope team_1\" ]; then echo \"unexpected arguments: $*\" >&2; exit 9; fi\n" + script
	require.NoError(t, os.WriteFile(filepath.Join(bin, "vercel"), []byte(program), 0o755))
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	writeLink(t, dir, "project.json", `{"projectId":"prj_1","orgId":"team_1"}`)
	t.Chdir(dir)
	return dir, func() int {
		b, _ := os.ReadFile(log)
		return strings.Count(string(b), "run")
	}
}

func prints(raw string) string { return fmt.Sprintf("echo '{\"token\": %q}'\n", raw) }

func TestCLI(t *testing.T) {
	raw := mint(t, claim("environment", "development"))
	_, runs := fakeCLI(t, prints(raw))
	source := FromCLI()
	var wg sync.WaitGroup
	for range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			tok, err := source.Token(t.Context())
			assert.NoError(t, err)
			assert.Equal(t, raw, tok.Raw())
			assert.Equal(t, "Vercel CLI", tok.Source())
		}()
	}
	wg.Wait()
	assert.Equal(t, 1, runs(), "callers share one run, and its token is kept")
	assert.Equal(t, raw, token(t, DefaultSource(), t.Context()).Raw())
}

func TestCLITokenNearItsEndIsNotKept(t *testing.T) {
	_, runs := fakeCLI(t, prints(mint(t, claim("exp", time.Now().Add(30*time.Second).Unix()))))
	source := FromCLI()
	for range 2 {
		_, err := source.Token(t.Context())
		require.NoError(t, err)
	}
	assert.Equal(t, 2, runs())
}

func TestCLIOptions(t *testing.T) {
	raw := mint(t)
	isolate(t)
	program := filepath.Join(t.TempDir(), "my-vercel")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n[ \"$*\" = 'project token web --format=json' ] || exit 9\n"+prints(raw)), 0o755))
	tok, err := FromCLI(func(o *CLIOptions) { o.Path, o.Project, o.Dir = program, "web", t.TempDir() }).Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, raw, tok.Raw())

	_, err = FromCLI(func(o *CLIOptions) { o.Project = "--help" }).Token(t.Context())
	assert.ErrorContains(t, err, `the project "--help" is not an ID`)
	_, err = FromCLI(func(o *CLIOptions) { o.Project, o.Team = "web", "a b" }).Token(t.Context())
	assert.ErrorContains(t, err, `the team "a b" is not an ID`)
	_, err = FromCLI(func(o *CLIOptions) { o.Path, o.Project = filepath.Join(t.TempDir(), "none"), "web" }).Token(t.Context())
	assert.ErrorContains(t, err, "could not be run")
}

// A relative path is relative to the working directory, though the CLI runs in
// the linked folder.
func TestCLIPathIsTheCallers(t *testing.T) {
	raw := mint(t)
	linked, _ := fakeCLI(t, "exit 9")
	here := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(here, "mine"), []byte("#!/bin/sh\n"+prints(raw)), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(linked, "mine"), []byte("#!/bin/sh\nexit 9\n"), 0o755))
	t.Chdir(here)
	for path, search := range map[string]string{"./mine": "/bin", "mine": here + ":/bin"} {
		t.Setenv("PATH", search)
		tok, err := FromCLI(func(o *CLIOptions) { o.Path, o.Dir = path, linked }).Token(t.Context())
		require.NoError(t, err, path)
		assert.Equal(t, raw, tok.Raw())
	}
}

// A relative folder of PATH does not hide the CLI in another folder.
func TestCLIBehindARelativeFolder(t *testing.T) {
	raw := mint(t)
	dir, _ := fakeCLI(t, prints(raw))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "vercel"), []byte("#!/bin/sh\nexit 9\n"), 0o755))
	search := os.Getenv("PATH")
	for _, relative := range []string{"bin", ".", ""} {
		t.Setenv("PATH", relative+":"+search)
		assert.Equal(t, raw, token(t, FromCLI(), t.Context()).Raw(), relative)
	}
	t.Setenv("PATH", "bin:/bin")
	_, err := FromCLI().Token(t.Context())
	require.ErrorIs(t, err, ErrNoToken)
	assert.ErrorContains(t, err, `"bin/vercel" is only in a relative folder of PATH`)
}

// The CLI on PATH can print a token of another project than the linked one.
func TestCLIOfAnotherProject(t *testing.T) {
	raw := mint(t, claim("project_id", "prj_2"), claim("project", "shop"))
	fakeCLI(t, prints(raw))
	_, err := FromCLI().Token(t.Context())
	require.ErrorIs(t, err, ErrNoToken)
	assert.ErrorContains(t, err, `a token of another project: "prj_2", and not "prj_1"; run `+"`vercel link` again")
	assert.NotContains(t, err.Error(), raw)
	_, err = readCLI([]byte(fmt.Sprintf(`{"token": %q}`, raw)), "shop")
	assert.NoError(t, err, "the project can be given by its name")
}

func TestCLIFailuresNameTheStep(t *testing.T) {
	raw := mint(t)
	cases := []struct{ name, script, says string }{
		{"not logged in", "echo 'Error: No existing credentials found. Please log in' >&2; exit 1", "run `vercel login`"},
		{"OIDC is off", "echo 'Error: OIDC is not enabled for this project' >&2; exit 1", "enable OIDC in the project's settings"},
		{"no such project", "echo 'Error: Project not found' >&2; exit 1", "vercel link"},
		{"crash", "kill -9 $$", "signal: killed"},
		{"silent failure", "exit 3", "exit status 3"},
		{"prints nothing", "exit 0", "it is not JSON"},
		{"prints prose", "echo hello", "it is not JSON"},
		{"prints no token", "echo '{}'", "is OIDC enabled"},
		{"prints a bad token", "echo '{\"token\":\"x\"}'", "malformed token"},
		{"prints an expired token", prints(mint(t, expiredBy(time.Hour))), "token expired"},
		{"floods", "yes 0123456789abcdef | head -c 20000000", "printed more than"},
		{"floods its errors", "yes 0123456789abcdef | head -c 20000000 >&2; exit 1", "exit status 1"},
		{"shows the token in an error", "echo 'bad token " + raw + "' >&2; exit 1", "bad token [token]"},
		{"colours its errors", "printf '\\033[31mred\\033[0m' >&2; exit 1", "red"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, runs := fakeCLI(t, c.script)
			source := FromCLI()
			_, err := source.Token(t.Context())
			require.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "oidc: Vercel CLI: ")
			assert.NotContains(t, err.Error(), raw)
			assert.NotContains(t, err.Error(), "\x1b")
			assert.Less(t, len(err.Error()), 1000)
			_, err = source.Token(t.Context())
			require.Error(t, err)
			assert.Equal(t, 1, runs(), "a failed run is not repeated at once")
		})
	}
}

func TestNoCLI(t *testing.T) {
	t.Run("in a deployment", func(t *testing.T) {
		raw := mint(t)
		_, runs := fakeCLI(t, prints(raw))
		t.Setenv("VERCEL", "1")
		for variable, value := range map[string]string{"VERCEL_ENV": "production", "AWS_LAMBDA_FUNCTION_NAME": "f"} {
			t.Setenv(variable, value)
			_, err := FromCLI().Token(t.Context())
			require.ErrorIs(t, err, ErrNoToken)
			assert.ErrorContains(t, err, "("+variable+" is set)")
			t.Setenv(variable, "")
		}
		assert.Zero(t, runs())
	})
	t.Run("vercel dev is no deployment", func(t *testing.T) {
		raw := mint(t)
		fakeCLI(t, prints(raw))
		t.Setenv("VERCEL", "1")
		t.Setenv("VERCEL_ENV", "development")
		t.Setenv(envVariable, mint(t, expiredBy(time.Hour)))
		assert.Equal(t, raw, token(t, DefaultSource(), t.Context()).Raw())
	})
	t.Run("not linked", func(t *testing.T) {
		_, runs := fakeCLI(t, prints(mint(t)))
		t.Chdir(t.TempDir())
		_, err := FromCLI().Token(t.Context())
		require.ErrorIs(t, err, ErrNoToken)
		assert.ErrorContains(t, err, "run `vercel link`")
		assert.Zero(t, runs())
	})
	t.Run("not installed", func(t *testing.T) {
		fakeCLI(t, prints(mint(t)))
		t.Setenv("PATH", t.TempDir())
		_, err := FromCLI().Token(t.Context())
		require.ErrorIs(t, err, ErrNoToken)
		assert.ErrorContains(t, err, "npm i -g vercel")
	})
	t.Run("vc is as good", func(t *testing.T) {
		raw := mint(t)
		fakeCLI(t, prints(raw))
		path := strings.Split(os.Getenv("PATH"), string(os.PathListSeparator))[0]
		require.NoError(t, os.Rename(filepath.Join(path, "vercel"), filepath.Join(path, "vc")))
		t.Setenv("PATH", path+string(os.PathListSeparator)+"/bin")
		assert.Equal(t, raw, token(t, FromCLI(), t.Context()).Raw())
	})
}

// A caller whose context ends does not wait for the CLI, and the run goes on for
// the others.
func TestCLICallersContextEnds(t *testing.T) {
	raw := mint(t)
	dir, runs := fakeCLI(t, "while [ ! -e go ]; do sleep 0.01; done\n"+prints(raw))
	source := FromCLI()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := source.Token(ctx)
		left <- err
	}()
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	assert.Equal(t, raw, token(t, source, t.Context()).Raw())
	assert.Equal(t, 1, runs())
}

// A CLI that hangs is ended with its children. The test cancels the context in
// place of waiting 30 seconds.
func TestCLIHangIsEnded(t *testing.T) {
	dir, _ := fakeCLI(t, "sleep 1000 & echo $! > child; wait")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := runCLI(ctx, dir, "vercel", []string{"project", "token", "prj_1", "--format=json", "--scope", "team_1"})
		done <- err
	}()
	var child string
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "child"))
		child = strings.TrimSpace(string(b))
		return child != ""
	}, 20*time.Second, 5*time.Millisecond)
	cancel()
	require.ErrorContains(t, <-done, "was ended")
	require.Eventually(t, func() bool { return gone(t, child) }, 20*time.Second, 5*time.Millisecond, "the child is still there")
}

// The CLI does not outlive the program that asked it.
func TestCLIEndsWithTheProgram(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "freebsd" {
		t.Skip("the system ends no program with its parent")
	}
	if os.Getenv("VERCELAWS_TEST_CLI") != "" { // the program
		_, _ = FromCLI().Token(t.Context())
		t.Fatal("the CLI ended")
	}
	dir, _ := fakeCLI(t, "echo $$ > cli; exec sleep 1000")
	t.Setenv("VERCELAWS_TEST_CLI", "1")
	program := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCLIEndsWithTheProgram$")
	require.NoError(t, program.Start())
	var cli string
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "cli"))
		cli = strings.TrimSpace(string(b))
		return cli != ""
	}, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, program.Process.Kill())
	_ = program.Wait()
	assert.Eventually(t, func() bool { return gone(t, cli) }, 20*time.Second, 5*time.Millisecond, "the CLI is still there")
}

// gone reports whether a process has ended.
func gone(t *testing.T, process string) bool {
	pid, err := strconv.Atoi(process)
	require.NoError(t, err)
	state, _ := os.ReadFile("/proc/" + process + "/stat") // Linux: a container can lack who reaps it
	return syscall.Kill(pid, 0) == syscall.ESRCH || strings.Contains(string(state), ") Z ")
}
