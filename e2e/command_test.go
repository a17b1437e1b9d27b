package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// buildCommand is the path of the command, built from this checkout.
var buildCommand = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "vercelaws")
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/vercelaws")
	build.Dir = ".."
	build.Stderr = os.Stderr
	return path, build.Run()
})

// runCommand runs a program to its end and returns what it wrote on standard output.
// The environment is what is given and PATH, so nothing of the machine's AWS
// settings is seen.
func runCommand(t *testing.T, environ []string, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(within(t, patience), name, args...)
	command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + t.TempDir(),
		"AWS_EC2_METADATA_DISABLED=true",
		"VERCEL=1", // no Vercel CLI
	}, environ...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	require.NoError(t, err, stderr.String())
	return string(out)
}
