// Package checkout finds the repository.
package checkout

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root returns the repository's root.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/vercelaws/vercelaws").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	return filepath.Clean(strings.TrimSpace(string(out))), nil
}
