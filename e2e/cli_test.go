package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
)

// vercelCLI is the version that the test was written against.
const vercelCLI = "vercel@60.1.3"

// TestRealCLIWithoutLogin runs the real Vercel CLI without a login: what it
// says then must lead to the right advice. It needs npm, and installs the CLI
// into the cache that git ignores, once.
func TestRealCLIWithoutLogin(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not on this machine, so the real Vercel CLI is not tried; oidc's own tests play it")
	}
	cache, err := filepath.Abs(filepath.Join("..", ".cache", vercelCLI))
	require.NoError(t, err)
	program := filepath.Join(cache, "node_modules", ".bin", "vercel")
	if _, err := os.Stat(program); err != nil {
		t.Logf("installing %s from npm, about a minute", vercelCLI)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", cache, vercelCLI).CombinedOutput(); err != nil {
			_ = os.RemoveAll(cache)
			t.Skipf("npm cannot install %s here, so the real Vercel CLI is not tried: %v\n%s", vercelCLI, err, out)
		}
	}
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home,
		"VERCEL": "", "VERCEL_TOKEN": "", "AWS_LAMBDA_FUNCTION_NAME": "",
		"VERCEL_TELEMETRY_DISABLED": "1", "NO_UPDATE_NOTIFIER": "1", "CI": "1",
		// Nothing of it may leave this machine.
		"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "",
	} {
		t.Setenv(name, value)
	}
	_, err = oidc.FromCLI(func(o *oidc.CLIOptions) {
		o.Path, o.Project, o.Team, o.Dir = program, "prj_1", "team_1", home
	}).Token(t.Context())
	require.ErrorIs(t, err, oidc.ErrNoToken)
	assert.ErrorContains(t, err, "run `vercel login`")
	t.Log(err)
}
