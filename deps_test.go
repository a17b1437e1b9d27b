package vercelaws

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What each package may import. A user of the provider compiles the AWS SDK and
// nothing else; package oidc serves programs that have nothing to do with AWS.
func TestDependencies(t *testing.T) {
	const module = "github.com/vercelaws/vercelaws"
	sdk := []string{"github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go"}
	for pkg, allowed := range map[string][]string{
		".":             append([]string{module + "/oidc", module + "/refresh", module + "/internal", module}, append(sdk, "golang.org/x/sync/singleflight")...),
		"./refresh":     append([]string{module + "/refresh", module + "/internal"}, sdk...),
		"./oidc":        {module + "/oidc", module + "/internal", "golang.org/x/sync/singleflight"},
		"./trustpolicy": {module + "/trustpolicy"},
	} {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pkg).Output()
		require.NoError(t, err)
		for _, path := range strings.Fields(string(out)) {
			ok := false
			for _, prefix := range allowed {
				ok = ok || path == prefix || prefix != module && strings.HasPrefix(path, prefix+"/")
			}
			require.False(t, strings.HasSuffix(path, "aws-sdk-go-v2/config") || pkg == "./refresh" && strings.Contains(path, "/sts"), "%s imports %s", pkg, path)
			require.True(t, ok && !strings.HasPrefix(path, module+"/oidc/"), "%s imports %s", pkg, path)
		}
	}
}
