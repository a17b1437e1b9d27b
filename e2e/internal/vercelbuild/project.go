// Package vercelbuild runs the commands of an example's README in an empty folder,
// and builds the result with Vercel's own builder. Scripts stand in for commands
// that need an account or a clone from GitHub; go, cp and the build are real.
package vercelbuild

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/e2e/internal/checkout"
)

// buildTime is how long the commands of one README may take.
const buildTime = 5 * time.Minute

// ErrNoTools says that the Vercel CLI is not installed.
var ErrNoTools = errors.New("the Vercel CLI is not installed: run 'make vercel' at the repository's root, which needs npm")

// Tools returns the folder node_modules in which the Makefile installs the
// Vercel CLI, @vercel/go and dynalite.
func Tools(ctx context.Context) (string, error) {
	root, err := checkout.Root(ctx)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(root, ".cache", "npm", "node_modules")
	if _, err := os.Stat(filepath.Join(folder, ".bin", "vercel")); err != nil {
		return "", ErrNoTools
	}
	if _, err := exec.LookPath("node"); err != nil {
		return "", ErrNoTools
	}
	return folder, nil
}

// Project is a folder that a README's commands have made.
type Project struct {
	Folder      string   // where the commands ended
	Environment []string // the names given to vercel env add, in order
	AWS         []string // the arguments of each call of aws
	Log         string   // what the commands printed

	lab string
	env []string
}

// Follow runs the script in an empty folder below lab, as a person would who
// has Go, the Vercel CLI with a login, the AWS CLI, git and curl. Files are
// what curl downloads, by their address.
func Follow(ctx context.Context, lab, script string, files map[string]string) (p *Project, err error) {
	tools, err := Tools(ctx)
	if err != nil {
		return nil, err
	}
	root, err := checkout.Root(ctx)
	if err != nil {
		return nil, err
	}
	proxy, err := newModuleProxy(ctx, root, lab)
	if err != nil {
		return nil, err
	}
	modules := httptest.NewServer(proxy)
	defer modules.Close()
	// The CLI asks who is logged in before it builds, and goes on without.
	vercelAPI := httptest.NewServer(http.NotFoundHandler())
	defer vercelAPI.Close()

	p = &Project{lab: lab}
	p.env = []string{
		"PATH=" + filepath.Join(lab, "bin") + ":" + os.Getenv("PATH"),
		"HOME=" + filepath.Join(lab, "home"),
		"TMPDIR=" + filepath.Join(lab, "tmp"),
		"LAB=" + lab, "CHECKOUT=" + root, "GO_VERSION=" + runtime.Version(),
		"VERCEL_CLI=" + filepath.Join(tools, ".bin", "vercel"),
		"VERCEL_TELEMETRY_DISABLED=1", "NO_UPDATE_NOTIFIER=1", "CI=1",
		"GOTOOLCHAIN=local", "GONOSUMDB=" + ownModule,
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY"} {
		out, err := exec.CommandContext(ctx, "go", "env", name).Output()
		if err != nil {
			return nil, fmt.Errorf("go env: %w", err)
		}
		value := strings.TrimSpace(string(out))
		switch name {
		case "GOPROXY":
			value = modules.URL + "," + value
		case "GOMODCACHE":
			defer func() { err = errors.Join(err, proxy.forget(value)) }()
		}
		p.env = append(p.env, name+"="+value)
	}
	p.env = append(p.env, "VERCEL_API="+vercelAPI.URL)
	for _, folder := range []string{"bin", "home", "tmp", "work", "downloads"} {
		if err := os.MkdirAll(filepath.Join(lab, folder), 0o755); err != nil {
			return nil, err
		}
	}
	for address, content := range files {
		name := strings.NewReplacer("/", "_", ":", "_").Replace(address)
		if err := os.WriteFile(filepath.Join(lab, "downloads", name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	for name, text := range stands {
		if err := os.WriteFile(filepath.Join(lab, "bin", name), []byte(text), 0o755); err != nil {
			return nil, err
		}
	}
	p.Folder = filepath.Join(lab, "work")
	if err := p.run(ctx, script); err != nil {
		return nil, err
	}
	return p, nil
}

// run runs a script where the one before it ended.
func (p *Project) run(ctx context.Context, script string) error {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euxc", script+"\npwd > \"$LAB/folder\"\n")
	cmd.Dir, cmd.Env = p.Folder, p.env
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	p.Log += string(out)
	if err != nil {
		return fmt.Errorf("the README's commands: %w\n%s", err, out)
	}
	folder, err := os.ReadFile(filepath.Join(p.lab, "folder"))
	if err != nil {
		return err
	}
	p.Folder = strings.TrimSpace(string(folder))
	p.Environment, p.AWS = p.lines("environment"), p.lines("aws")
	return nil
}

func (p *Project) lines(name string) []string {
	b, _ := os.ReadFile(filepath.Join(p.lab, name)) // missing where nothing was written
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
}

// stands are scripts in place of commands that need an account or a network. Each
// fails for arguments that it does not know, so that a README cannot use more than
// is tested here.
var stands = map[string]string{
	"git": `#!/bin/sh
[ "$1 $2" = "clone https://github.com/vercelaws/vercelaws" ] || { echo "git $*: not played" >&2; exit 64; }
ln -s "$CHECKOUT" "${3:-vercelaws}"
`,
	"curl": `#!/bin/sh
[ "$1" = -fsSo ] || { echo "curl $*: not played" >&2; exit 64; }
cp "$LAB/downloads/$(printf %s "$3" | tr /: __)" "$2"
`,
	// aws plays an account in which there is nothing yet.
	"aws": `#!/bin/sh
case "$*" in
"sts get-caller-identity "*) echo 123456789012 ;;
"iam get-"*" --query "*) ;;
"iam get-"*) echo "An error occurred (NoSuchEntity)" >&2; exit 254 ;;
*) printf '%s\n' "$(printf %s "$*" | tr '\n' ' ')" >> "$LAB/aws" ;;
esac
`,
	// vercel plays what talks to Vercel. The build is the real CLI's; a Go of
	// another release than the machine's would be downloaded.
	"vercel": `#!/bin/sh
set -eu
case "$*" in
link)
	mkdir -p .vercel
	printf '{"projectId":"prj_e2e","orgId":"team_e2e","projectName":"e2e"}' > .vercel/project.json ;;
"env add "*" production --value "*" --yes")
	[ "$#" = 7 ] && printf '%s\n' "$3" >> "$LAB/environment" ;;
"pull --yes --environment=production")
	printf '{"projectId":"prj_e2e","orgId":"team_e2e","projectName":"e2e","settings":{"framework":null}}' > .vercel/project.json
	printf 'PULLED="a-value-that-nobody-may-see"\n' > .vercel/.env.production.local
	printf 'OWN="a-value-that-nobody-may-see"\n' | tee .env > .env.local ;;
"build --prod")
	go mod edit -toolchain="$GO_VERSION"
	exec "$VERCEL_CLI" build --prod --yes --token none --api "$VERCEL_API" ;;
"deploy --prebuilt --prod") test -f .vercel/output/config.json ;;
"deploy --prod") ;;
*) echo "vercel $*: not played" >&2; exit 64 ;;
esac
`,
}

var fence = regexp.MustCompile("(?ms)^```(\\S*)\n(.*?)^```$")

// Blocks returns the code blocks of a language under each "## " heading of a
// Markdown text, joined; what stands before the first heading is under "".
func Blocks(markdown, language string) map[string]string {
	blocks := map[string]string{}
	for i, section := range strings.Split("\n"+markdown, "\n## ") {
		heading := ""
		if i > 0 {
			heading, _, _ = strings.Cut(section, "\n")
		}
		for _, match := range fence.FindAllStringSubmatch(section, -1) {
			if match[1] == language {
				blocks[heading] += match[2]
			}
		}
	}
	return blocks
}
