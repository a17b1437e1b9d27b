package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// hostile is a claim that breaks out of a careless command line.
const hostile = "x'; touch pwned; \"$(touch pwned)`touch pwned`\n touch pwned #"

// Whatever a token claims, the commands that are suggested on its account can
// be pasted: a real shell runs the program that they name, once, and it is
// handed the claim whole.
func TestSuggestedCommandsHoldTheClaims(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil || runtime.GOOS == "windows" { // a port of sh there reads arguments its own way
		t.Skip("there is no POSIX shell")
	}
	policy := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/oidc.vercel.com/acme"},
		"Action": "sts:AssumeRoleWithWebIdentity", "Condition": {"StringEquals": {"oidc.vercel.com/acme:sub": "owner:acme:project:web:environment:production"}}}]}`
	for name, test := range map[string]struct {
		claim   func(*oidctest.Claims)
		args    []string
		command string // how the suggested command begins
		want    string // what is among its arguments
	}{
		"audience": {
			func(c *oidctest.Claims) { c.Audience = hostile },
			[]string{"--role-arn", roleARN}, "aws iam add-client-id", jsonOf(hostile),
		},
		"audience like a flag": {
			func(c *oidctest.Claims) { c.Audience = "--endpoint-url=http://127.0.0.1:9" },
			[]string{"--role-arn", roleARN}, "aws iam add-client-id", `{"ClientID":"--endpoint-url=http://127.0.0.1:9"`,
		},
		"issuer": {
			func(c *oidctest.Claims) { c.Issuer = hostile },
			[]string{"--role-arn", roleARN}, "aws iam create-open-id-connect-provider", jsonOf(hostile),
		},
		"environment": {
			func(c *oidctest.Claims) { c.Subject = "owner:acme:project:web:environment:" + hostile },
			[]string{"--trust-policy", "policy.json", "--environment", hostile}, "vercelaws trust-policy", "--environment=" + hostile,
		},
		"role": {
			func(*oidctest.Claims) {},
			[]string{"--role-arn", "arn:aws:iam::123456789012:role/" + strings.NewReplacer("\n", "", " ", "").Replace(hostile)}, "aws iam get-role", strings.NewReplacer("\n", "", " ", "").Replace(hostile),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := enter(t)
			folder := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(folder, "policy.json"), []byte(policy), 0o600))
			t.Setenv("VERCEL_OIDC_TOKEN", w.Issuer.Mint(test.claim))
			doctor := exec.Command("vercelaws", append([]string{"doctor", "--json"}, test.args...)...)
			doctor.Dir = folder
			out, err := doctor.Output()
			require.Error(t, err, "doctor is to find fault")
			var report struct {
				Checks []struct {
					ToDo []string `json:"to_do"`
				}
			}
			require.NoError(t, json.Unmarshal(out, &report))
			var suggested []string
			for _, c := range report.Checks {
				for _, todo := range c.ToDo {
					if i := strings.Index(todo, test.command); i >= 0 {
						suggested = append(suggested, todo[i:])
					}
				}
			}
			require.NotEmpty(t, suggested, string(out))
			for _, line := range suggested {
				bin := filepath.Join(folder, "bin")
				require.NoError(t, os.MkdirAll(bin, 0o700))
				record := filepath.Join(folder, "record")
				for _, program := range []string{"aws", "vercelaws"} {
					require.NoError(t, os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\nprintf '%s\\0' \"$0\" \"$@\" >>\"$RECORD\"\n"), 0o700))
				}
				paste := exec.Command(sh, "-c", line)
				paste.Dir = folder
				paste.Env = []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "RECORD=" + record}
				out, err := paste.CombinedOutput()
				require.NoError(t, err, string(out))
				assert.NoFileExists(t, filepath.Join(folder, "pwned"))
				recorded, err := os.ReadFile(record)
				require.NoError(t, err)
				assert.Contains(t, string(recorded), test.want)
			}
		})
	}
}

func jsonOf(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
