package npm

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who installs at the same time as others gets the whole package.
func TestInstallAtOnce(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not on this machine")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cache := t.TempDir()
	var group sync.WaitGroup
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			folder, err := install(ctx, cache, []string{"is-number@7.0.0"})
			if !assert.NoError(t, err) {
				return
			}
			var is struct{ Version, Main string }
			b, err := os.ReadFile(filepath.Join(folder, "node_modules", "is-number", "package.json"))
			if assert.NoError(t, err) && assert.NoError(t, json.Unmarshal(b, &is)) {
				assert.Equal(t, "7.0.0", is.Version)
				assert.FileExists(t, filepath.Join(folder, "node_modules", "is-number", is.Main))
			}
		}()
	}
	group.Wait()
	there, err := os.ReadDir(cache)
	require.NoError(t, err)
	assert.Len(t, there, 1, "only the whole package is left")
}

// An install that fails leaves nothing that looks like a package.
func TestInstallFails(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not on this machine")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cache := t.TempDir()
	_, err := install(ctx, cache, []string{filepath.Join(cache, "nothing.tgz")})
	require.ErrorContains(t, err, "nothing.tgz")
	there, err := os.ReadDir(cache)
	require.NoError(t, err)
	assert.Empty(t, there)
}
