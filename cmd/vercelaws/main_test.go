package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/testworld"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

// roleARN is the role of every test. It trusts the production deployments of
// the project web of the team acme.
const roleARN = "arn:aws:iam::" + ststest.Account + ":role/web"

// programs are what the test's own binary is in PATH.
var programs = map[string]func(){"vercelaws": main, "child": child}

// child is a program for exec to run, on any system. It prints what it was
// given, and ends with the status that is its first argument.
func child() {
	fmt.Println(strings.Join(os.Environ(), "\n"))
	_, _ = io.Copy(os.Stdout, os.Stdin)
	fmt.Printf("%q\n", os.Args[2:])
	fmt.Fprintln(os.Stderr, "oops")
	status, _ := strconv.Atoi(os.Args[1])
	os.Exit(status)
}

func TestMain(m *testing.M) { testscript.Main(m, programs) }

// TestScripts runs testdata/script, each with an issuer and an STS of its own.
// Beside testscript's own, the scripts have the commands of scriptCommands.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: scriptCommands,
		Setup: func(env *testscript.Env) error {
			w := newWorld()
			env.Defer(w.Close)
			env.Values[worldKey{}] = w
			env.Vars = append(env.Vars, w.environ()...)
			home := filepath.Join(env.WorkDir, "home")
			for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
				env.Setenv(name, home)
			}
			cache := home
			if runtime.GOOS == "darwin" {
				cache = filepath.Join(home, "Library", "Caches")
			}
			env.Setenv("CACHE", filepath.Join(cache, "vercelaws"))
			return nil
		},
	})
}

// world is what a command meets outside.
type world struct{ *testworld.World }

type worldKey struct{}

func newWorld() *world { return &world{testworld.New(roleARN, false)} }

// environ leads a command to w, and to nothing of the machine: the home folder
// of a script is not there.
func (w *world) environ() []string {
	return []string{
		"ISSUER=" + w.Issuer.URL,
		"HOST=" + strings.TrimPrefix(w.Issuer.URL, "http://"),
		"STS=" + w.STS.URL,
		"ROLE=" + roleARN,
		"VERCEL=1", // no Vercel CLI
		"VERCEL_OIDC_TOKEN=",
		"VERCEL_OIDC_TOKEN_FILE=",
		"AWS_REGION=eu-central-1",
		"AWS_ENDPOINT_URL_STS=" + w.STS.URL,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_MAX_ATTEMPTS=1",
		"COLUMNS=500",              // lines that a script can look for
		"GORACE=atexit_sleep_ms=0", // the race detector would keep each command for a second
	}
}

// scriptCommands are what scripts can do to the world.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// token [issuer=… | project=… | environment=… | audience=… | subject=… | forged | expired]...
	// puts a fresh token into VERCEL_OIDC_TOKEN.
	"token": func(ts *testscript.TestScript, _ bool, args []string) {
		w := ts.Value(worldKey{}).(*world)
		mint := w.Issuer.Mint
		var changes []func(*oidctest.Claims)
		for _, arg := range args {
			name, value, _ := strings.Cut(arg, "=")
			changes = append(changes, func(c *oidctest.Claims) {
				field, ok := map[string]*string{
					"issuer": &c.Issuer, "project": &c.Project, "environment": &c.Environment, "audience": &c.Audience, "subject": &c.Subject,
				}[name]
				if ok {
					*field = value
				}
				if name == "expired" {
					c.IssuedAt = time.Now().Add(-4 * time.Hour) // so it ended two hours ago
				}
			})
			if name == "forged" {
				mint = w.Issuer.MintForged
			}
		}
		ts.Setenv("VERCEL_OIDC_TOKEN", mint(changes...))
	},
	// trust FILE makes it the trust policy of the role.
	"trust": func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Value(worldKey{}).(*world).STS.SetTrustPolicy(roleARN, ts.ReadFile(args[0]))
	},
	// getrole OUT POLICY writes what aws iam get-role prints of the role.
	"getrole": func(ts *testscript.TestScript, _ bool, args []string) {
		out := fmt.Sprintf(`{"Role": {"RoleName": "web", "Arn": %q, "AssumeRolePolicyDocument": %s}}`, roleARN, ts.ReadFile(args[1]))
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out), 0o600))
	},
	// powershell OUT FILE writes a text as > does in PowerShell.
	"powershell": func(ts *testscript.TestScript, _ bool, args []string) {
		out := []byte{0xFF, 0xFE}
		for _, unit := range utf16.Encode([]rune(ts.ReadFile(args[1]))) {
			out = binary.LittleEndian.AppendUint16(out, unit)
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o600))
	},
	// provider ISSUER [AUDIENCE]... makes or changes the account's OIDC provider.
	"provider": func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Value(worldKey{}).(*world).STS.AddProvider(args[0], args[1:]...)
	},
	// calls N checks how often STS was asked for credentials.
	"calls": func(ts *testscript.TestScript, _ bool, args []string) {
		if got := fmt.Sprint(ts.Value(worldKey{}).(*world).STS.Calls("AssumeRoleWithWebIdentity")); got != args[0] {
			ts.Fatalf("%s calls, want %s", got, args[0])
		}
	},
	// status N COMMAND [ARG]... runs a command and checks its exit status.
	"status": func(ts *testscript.TestScript, _ bool, args []string) {
		err := ts.Exec(args[1], args[2:]...)
		got := 0
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			got = exit.ExitCode()
		case err != nil:
			ts.Fatalf("%s", err)
		}
		if fmt.Sprint(got) != args[0] {
			ts.Fatalf("exit status %d, want %s", got, args[0])
		}
	},
	// secretless FILE... checks that nothing looks like a token or a key.
	"secretless": func(ts *testscript.TestScript, _ bool, args []string) {
		for _, file := range args {
			text := ts.ReadFile(file)
			raw := ts.Getenv("VERCEL_OIDC_TOKEN")
			if strings.Contains(text, "eyJ") || raw != "" && strings.Contains(text, raw) {
				ts.Fatalf("%s holds a token:\n%s", file, text)
			}
		}
	},
}

func TestDidYouMean(t *testing.T) {
	known := []string{"demo", "doctor", "trust-policy", "credential-process", "exec"}
	for word, want := range map[string]string{
		"docter":       "; did you mean doctor?",
		"trustpolicy":  "; did you mean trust-policy?",
		"cred":         "; did you mean credential-process?",
		"--exce":       "; did you mean exec?",
		"DEMO":         "; did you mean demo?",
		"x":            "",
		"":             "",
		"kubernetes":   "",
		"\xff\xfe\x00": "",
	} {
		assert.Equal(t, want, didYouMean(word, known), word)
	}
	assert.Equal(t, "; did you mean --role-arn?", didYouMean("role", []string{"--role-arn", "--audience"}))
}

// A policy that never comes to its end does not keep a command from ending.
func TestReadingAPolicyCanBeInterrupted(t *testing.T) {
	for _, args := range [][]string{{"trust-policy", "check", "-"}, {"doctor", "--trust-policy", "-"}} {
		in, end := io.Pipe()
		defer end.Close()
		ctx, cancel := context.WithCancel(t.Context())
		status := make(chan int)
		var errs strings.Builder
		go func() { status <- run(ctx, args, streams{in, io.Discard, &errs}) }()
		_, err := io.WriteString(end, "{") // it is being read
		require.NoError(t, err)
		cancel()
		select {
		case got := <-status:
			assert.Equal(t, exitFailed, got)
			assert.Contains(t, errs.String(), "has not come to its end")
		case <-time.After(30 * time.Second):
			t.Fatal("it still reads")
		}
	}
}
