//go:build unix

package oidc

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// If the token file is replaced by a pipe without a writer, at any moment, no
// caller waits for it.
func TestTokenFileThatBecomesAPipe(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	raw := mint(t)
	path, spare := filepath.Join(dir, "token"), filepath.Join(dir, "spare")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte(raw), 0o600))
	require.NoError(t, os.WriteFile(path, []byte(raw), 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	t.Setenv(fileVariable, path)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Link(filepath.Join(dir, []string{"pipe", "file"}[i%2]), spare)
			_ = os.Rename(spare, path)
			_ = os.Remove(spare) // rename leaves two links to one file alone
		}
	}()
	done := make(chan int)
	go func() {
		good := 0
		for range 3000 {
			if tok, err := FromFile().Token(t.Context()); err == nil {
				assert.Equal(t, raw, tok.Raw())
				good++
			} else {
				assert.ErrorContains(t, err, "it is not a regular file")
			}
		}
		done <- good
	}()
	select {
	case good := <-done:
		t.Logf("%d of 3000 reads met the file, the others the pipe", good)
	case <-time.After(time.Minute):
		t.Error("a read of the pipe hangs")
	}
	close(stop)
	<-stopped
}
