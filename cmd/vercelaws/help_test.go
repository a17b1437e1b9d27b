package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// All help fits 80 columns where there is no terminal, and a narrower one where
// COLUMNS says so. Each command begins with an example.
func TestHelpFits(t *testing.T) {
	helps := [][]string{{"help"}}
	for _, c := range commands {
		helps = append(helps, append(strings.Fields(c.name), "--help"), append([]string{"help"}, strings.Fields(c.name)...))
	}
	for columns, limit := range map[string]int{"": 80, "60": 60} {
		t.Setenv("COLUMNS", columns)
		for _, args := range helps {
			var out, errs bytes.Buffer
			require.Zero(t, run(t.Context(), args, streams{nil, &out, &errs}), errs.String())
			assert.Empty(t, errs.String())
			for _, line := range strings.Split(out.String(), "\n") {
				if words := strings.Fields(line); len(words) > 2 { // one that is longer than the rest of its line is left whole
					assert.LessOrEqual(t, len(line), limit, "%s: %s", args, line)
				}
			}
			if len(args) > 1 {
				assert.Regexp(t, `\Ausage: vercelaws [^\n]*(\n[^\n]+)*\n\n  (aws [^\n]* \|\n *)?[^\n]*vercelaws `, out.String(), args)
			}
		}
	}
}

// doctor's report fits, but for commands to paste, which are whole.
func TestReportFits(t *testing.T) {
	w := enter(t)
	t.Setenv("COLUMNS", "")
	t.Setenv("VERCEL_OIDC_TOKEN", w.Issuer.Mint())
	var out, errs bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), []string{"doctor", "--role-arn", roleARN + "-that-is-not-there"}, streams{nil, &out, &errs}))
	assert.Empty(t, errs.String())
	pasted := 0
	for _, line := range strings.Split(out.String(), "\n") {
		if regexp.MustCompile(`^ +(aws|vercelaws) `).MatchString(line) {
			pasted++
			assert.Contains(t, line, "--role-arn "+roleARN+"-that-is-not-there --trust-policy -", "the command is whole")
			continue
		}
		if len(strings.Fields(line)) > 1 { // a long ARN is whole
			assert.LessOrEqual(t, len(line), 80, line)
		}
	}
	assert.Equal(t, 1, pasted, out.String())
}
