package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRename gives a copy of the checkout another module path by make rename: it
// builds, it is formatted, and nothing has the old path.
func TestRename(t *testing.T) {
	folder := t.TempDir()
	run := func(dir, name string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %v\n%s", name, args, out)
		return string(out)
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is missing")
	}
	for _, name := range strings.Split(strings.TrimSuffix(run("..", "git", "ls-files", "-z"), "\x00"), "\x00") {
		from, to := filepath.Join("..", name), filepath.Join(folder, name)
		info, err := os.Stat(from)
		if os.IsNotExist(err) { // removed, and not yet committed
			continue
		}
		require.NoError(t, err)
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, content, info.Mode()))
	}
	run(folder, "git", "init", "-q")
	run(folder, "git", "add", "-A")
	old := strings.TrimSpace(run(folder, "go", "list", "-m"))

	const path = "example.org/acme/roles"
	run(folder, "make", "rename", "MODULE="+path)
	assert.Equal(t, path+"\n", run(folder, "go", "list", "-m"))
	grep := exec.Command("git", "grep", "-l", "--fixed-strings", "-e", old)
	grep.Dir = folder
	left, _ := grep.Output()
	assert.Empty(t, string(left), "nothing has the old path")
	assert.Empty(t, run(folder, "gofmt", "-l", "."))
	run(folder, "go", "build", "./...")
	run(filepath.Join(folder, "examples", "server"), "go", "build", "-o", os.DevNull, "./...")
}
