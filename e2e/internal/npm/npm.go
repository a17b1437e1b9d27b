// Package npm installs packages of JavaScript that tests run beside ours, and runs
// them.
package npm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vercelaws/vercelaws/e2e/internal/checkout"
)

// Install returns a folder in whose node_modules the packages are, each named
// with its version. It installs them once, into the checkout's .cache; their
// scripts do not run. It skips the test where npm is missing.
func Install(t *testing.T, packages ...string) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skipf("npm is not on this machine, so %s is not tried", packages)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	root, err := checkout.Root(ctx)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := install(ctx, filepath.Join(root, ".cache", "packages"), packages)
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// install installs the packages in a folder of the cache. A folder appears there
// only when it is complete: other processes may install the same packages at the
// same time, and each may be killed at any point.
func install(ctx context.Context, cache string, packages []string) (string, error) {
	folder := filepath.Join(cache, strings.ReplaceAll(strings.Join(packages, "+"), "/", "-"))
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	part, err := os.MkdirTemp(cache, "part-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	args := append([]string{"install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", part}, packages...)
	if out, err := exec.CommandContext(ctx, "npm", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm cannot install %s: %w\n%s", packages, err, out)
	}
	if err := os.Rename(part, folder); err != nil {
		if _, there := os.Stat(folder); there != nil {
			return "", err
		} // another was first
	}
	return folder, nil
}

// Run runs a script with Node. The script gets in, in JSON, on its standard input.
// The JSON that it prints is stored in out. Run skips the test where node is
// missing.
func Run(t *testing.T, in, out any, script string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skipf("node is not on this machine, so %s is not run", filepath.Base(script))
	}
	input, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "node", append([]string{script}, args...)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(script), err, &stderr)
	}
	if err := json.Unmarshal(output, out); err != nil {
		t.Fatalf("%s: %v in %s", filepath.Base(script), err, output)
	}
}
