package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/testworld"
)

// patience bounds the wait for a command that asks servers on loopback.
const patience = 2 * time.Minute

// TestShellBlocksAreShell has the shell read each block, and run none.
func TestShellBlocksAreShell(t *testing.T) {
	for _, b := range blocksOf(t, "sh") {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-n")
		cmd.Stdin = strings.NewReader(b.text)
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s: %s", b.at(), out)
	}
}

// ours is a call of the command, from its name to the end of the simple command.
var ours = regexp.MustCompile(`(?m)(?:(?:^|[\s|&;])vercelaws|go run(?: -C \S+)? \./cmd/vercelaws) ([^|&;#\n]+)`)

// calls are the calls of the command in a block, as the shell would see them.
func calls(text string) (found []string) {
	for _, match := range ours.FindAllStringSubmatch(strings.ReplaceAll(text, "\\\n", " "), -1) {
		found = append(found, strings.TrimSpace(match[1]))
	}
	return found
}

// TestCommandsRun runs each call of vercelaws in the blocks, word by word,
// against an issuer and an STS on loopback. Programs that are not this
// repository's are played by one that succeeds.
func TestCommandsRun(t *testing.T) {
	path, err := command()
	require.NoError(t, err)
	w := testworld.New("arn:aws:iam::123456789012:role/web", false)
	defer w.Close()

	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "policy.json"), []byte(w.Policy), 0o600))
	bin := filepath.Join(folder, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	for _, name := range []string{"terraform", "node"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nexit 0\n"), 0o755))
	}
	require.NoError(t, os.Symlink(path, filepath.Join(bin, "vercelaws")))

	ran, printed := 0, ""
	for _, b := range blocksOf(t, "sh") {
		for _, call := range calls(b.text) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, "sh", "-euc", "vercelaws "+call)
			cmd.Dir = folder
			cmd.Env = []string{
				"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + folder,
				"VERCEL_OIDC_TOKEN=" + w.Issuer.Mint(), "VERCEL_ENV=production", // no Vercel CLI
				"AWS_ENDPOINT_URL_STS=" + w.STS.URL, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
			}
			cmd.Stdin = strings.NewReader(w.Policy)
			cmd.WaitDelay = 10 * time.Second
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s: vercelaws %s\n%s", b.at(), call, out)
			ran++
			printed += string(out)
		}
	}
	assert.Greater(t, ran, 5)

	// What a page shows of the output was cut out of it: each line begins so.
	for _, b := range blocksOf(t, "text") {
		for _, line := range strings.Split(strings.TrimSpace(b.text), "\n") {
			assert.Regexp(t, `(?m)^ *`+regexp.QuoteMeta(column.FindString(strings.TrimSpace(line))), printed, b.at())
		}
	}
}

// column is what a line of output begins with: "region       " or a whole line.
var column = regexp.MustCompile(`^(?:\S+ +\S+ {2,}|.*? {2,}|.*$)`)

// TestCommandsInProse holds what the text says of the command's flags to its
// help.
func TestCommandsInProse(t *testing.T) {
	path, err := command()
	require.NoError(t, err)
	help := map[string]string{}
	helpOf := func(words ...string) string {
		key := strings.Join(words, " ")
		if _, ok := help[key]; !ok {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, append(words, "--help")...)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.True(t, err == nil || errors.As(err, &exit), err)
			help[key] = fmt.Sprintf("%s\n(error: %v)", out, err)
		}
		return help[key]
	}
	flag := regexp.MustCompile(`--[a-z][a-z-]*`)
	found := 0
	for _, page := range pages(t, "README.md", "docs/*.md", "examples/*/README.md") {
		_, prose := split(t, page)
		for _, span := range code.FindAllString(prose, -1) {
			for _, call := range calls(strings.ReplaceAll(strings.Trim(span, "`"), "\n", " ")) {
				call, _, _ = strings.Cut(call, " -- ")
				words := strings.Fields(call)
				if words[0] == "help" || strings.HasPrefix(words[0], "-") {
					words = []string{words[0]}
				} else if len(words) > 1 && words[1] == "check" {
					words = words[:2]
				} else {
					words = words[:1]
				}
				text := helpOf(words...)
				assert.Contains(t, text, "(error: <nil>)", "%s: %s", page, span)
				for _, name := range flag.FindAllString(call, -1) {
					if !strings.HasPrefix(words[0], "-") {
						assert.Contains(t, text, name, "%s: %s", page, span)
					}
				}
				found++
			}
		}
	}
	assert.Greater(t, found, 5)
}

// TestReadmeUsesTheSameStandIn holds the README's way of doing without a
// published version to that of docs/vercel.md, which e2e follows.
func TestReadmeUsesTheSameStandIn(t *testing.T) {
	blocks, _ := split(t, "README.md")
	found := false
	for _, b := range blocks {
		if strings.Contains(b.text, "git clone ") {
			found = true
			assert.Contains(t, read(t, "docs/vercel.md"), "```sh\n"+b.text)
		}
	}
	assert.True(t, found)
}
