package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestComplete(t *testing.T) {
	for words, want := range map[string]string{
		"d":                               "demo doctor",
		"trust":                           "trust-policy",
		"x":                               "",
		"frobnicate --":                   "",
		"trust-policy ch":                 "check",
		"trust-policy --ro":               "--role-name",
		"trust-policy --team acme ch":     "",
		"trust-policy check --f":          "--fail-on",
		"trust-policy check --fail-on ":   "low medium high critical",
		"trust-policy --format t":         "terraform",
		"trust-policy --environment prod": "production",
		"exec --duration ":                "", // so files, or nothing
		"exec --serve --c":                "--cache",
		"doctor --trust-policy ":          "",
		"exec --se":                       "--session-name --serve",
		"exec --serve -- ":                "",
		"exec -- --s":                     "",
		"completion ":                     "bash zsh fish",
		"completion b":                    "bash",
	} {
		assert.ElementsMatch(t, strings.Fields(want), complete(strings.Split(words, " ")), words)
	}
	assert.Contains(t, complete([]string{""}), "help")
	assert.Empty(t, complete(nil))
}

// Each shell that is here completes by its script.
func TestShellsComplete(t *testing.T) {
	for shell, script := range map[string]string{
		"bash": `eval "$(vercelaws completion bash)"; COMP_WORDS=(vercelaws exec --se); COMP_CWORD=2; _vercelaws; echo "${COMPREPLY[@]}"; complete -p vercelaws`,
		"zsh":  `compdef() { echo "$@"; }; compadd() { shift; echo ${(P)1}; }; eval "$(vercelaws completion zsh)"; words=(vercelaws exec --se); CURRENT=3; _vercelaws`,
		"fish": `vercelaws completion fish | source; complete -C "vercelaws exec --se"`,
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(shell + " is not on this machine")
			}
			out, err := exec.CommandContext(t.Context(), path, "-c", script).CombinedOutput()
			require.NoError(t, err, string(out))
			for _, want := range []string{"--serve", "--session-name", "vercelaws"} {
				assert.Contains(t, string(out)+" vercelaws", want)
			}
		})
	}
}
