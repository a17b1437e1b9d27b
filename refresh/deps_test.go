package refresh_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDependencies makes sure that the package works with any provider: it must not
// import code that knows tokens, Vercel or STS.
func TestDependencies(t *testing.T) {
	const this = "github.com/vercelaws/vercelaws/refresh"
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", this).Output()
	require.NoError(t, err)
	paths := strings.Fields(string(out))
	assert.Contains(t, paths, "github.com/aws/aws-sdk-go-v2/aws")
	for _, path := range paths {
		switch {
		case path == this, strings.HasSuffix(path, "/internal/clock"), strings.HasSuffix(path, "/internal/guard"):
		case strings.HasPrefix(path, "github.com/vercelaws/"), strings.Contains(path, "/sts"):
			t.Errorf("package refresh depends on %s", path)
		case !strings.HasPrefix(path, "github.com/aws/"):
			t.Errorf("package refresh depends on %s, which is not of the SDK", path)
		}
	}
}
