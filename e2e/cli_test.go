package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/vercelbuild"
	"github.com/vercelaws/vercelaws/oidc"
)

// TestRealCLIWithoutLogin runs the real Vercel CLI without a login: what it
// says then must lead to the right advice.
func TestRealCLIWithoutLogin(t *testing.T) {
	tools, err := vercelbuild.Tools(t.Context())
	if err != nil {
		t.Skipf("the real Vercel CLI is not tried; oidc's own tests play it: %v", err)
	}
	program := filepath.Join(tools, ".bin", "vercel")
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
	}).Token(within(t, patience))
	require.ErrorIs(t, err, oidc.ErrNoToken)
	assert.ErrorContains(t, err, "run `vercel login`")
	t.Log(err)
}
