//go:build unix

package process

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience bounds each wait. It is long, because the machine may be busy.
const patience = time.Minute

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(exec.Command("sh", "-c", script))
	require.NoError(t, err)
	return p
}

func (p *Process) wrote(s string) func() bool {
	return func() bool { return strings.Contains(p.Output(), s) }
}

func TestStopWaitsForTheEnd(t *testing.T) {
	p := shell(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	require.NoError(t, p.WaitUntil(patient(t), p.wrote("ready")))
	require.NoError(t, p.Stop(syscall.SIGTERM))
	assert.Equal(t, 0, p.cmd.ProcessState.ExitCode())
}

func TestStopTakesTheSignalForAGoodEnd(t *testing.T) {
	p := shell(t, `exec sleep 60`)
	assert.NoError(t, p.Stop(syscall.SIGTERM))
}

func TestKill(t *testing.T) {
	p := shell(t, `trap '' TERM; echo ready; sleep 1000`)
	require.NoError(t, p.WaitUntil(patient(t), p.wrote("ready")))
	p.Kill()
	p.Kill()
	assert.Error(t, p.Stop(syscall.SIGTERM), "it did not end well")
}

func TestStopReportsABadEnd(t *testing.T) {
	p := shell(t, `trap 'echo lost a request; exit 3' TERM; echo ready; while :; do sleep 0.01; done`)
	require.NoError(t, p.WaitUntil(patient(t), p.wrote("ready")))
	err := p.Stop(syscall.SIGTERM)
	assert.ErrorContains(t, err, "exit status 3")
	assert.ErrorContains(t, err, "lost a request")
}

func TestWaitUntilReportsAnEarlyEnd(t *testing.T) {
	p := shell(t, `echo no disk >&2; exit 4`)
	err := p.WaitUntil(patient(t), func() bool { return false })
	assert.ErrorContains(t, err, "exit status 4")
	assert.ErrorContains(t, err, "no disk")
	assert.Error(t, p.Stop(syscall.SIGTERM))
}

func TestWaitUntilEndsWithItsContext(t *testing.T) {
	p := shell(t, `exec sleep 60`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, p.WaitUntil(ctx, func() bool { return false }), context.DeadlineExceeded)
	assert.NoError(t, p.Stop(syscall.SIGTERM))
}

func TestRun(t *testing.T) {
	assert.NoError(t, Run(patient(t), exec.Command("true")))
	err := Run(patient(t), exec.Command("sh", "-c", "echo no disk; exit 4"))
	assert.ErrorContains(t, err, "exit status 4")
	assert.ErrorContains(t, err, "no disk")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, Run(ctx, exec.Command("sleep", "1000")), context.DeadlineExceeded)
	assert.Error(t, Run(patient(t), exec.Command(filepath.Join(t.TempDir(), "none"))))
}

// folderVariable names a folder to the test binary that the next test starts.
const folderVariable = "PROCESS_TEST_FOLDER"

// TestNothingOutlivesTheTests kills a test binary that has started a program
// which started another, so that nothing of it can tidy up.
func TestNothingOutlivesTheTests(t *testing.T) {
	if folder := os.Getenv(folderVariable); folder != "" {
		script := `trap '' TERM INT HUP; sleep 1000 & echo $$ $!; wait; sleep 1000`
		p, err := Start(exec.Command("sh", "-c", script), folder)
		require.NoError(t, err)
		require.NoError(t, p.WaitUntil(patient(t), p.wrote("\n")))
		fmt.Println("started", p.Output())
		select {} // until it is killed
	}
	folder := filepath.Join(t.TempDir(), "data of a server")
	require.NoError(t, os.Mkdir(folder, 0o700))
	tests := exec.CommandContext(patient(t), os.Args[0], "-test.run=^TestNothingOutlivesTheTests$")
	tests.Env = append(os.Environ(), folderVariable+"="+folder)
	out, err := tests.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, tests.Start())
	var program, child int
	lines := bufio.NewScanner(out)
	for program == 0 && lines.Scan() {
		_, _ = fmt.Sscanf(lines.Text(), "started %d %d", &program, &child)
	}
	alive := func(pid int) bool { return syscall.Kill(pid, 0) == nil && !zombie(pid) }
	require.True(t, alive(program) && alive(child))

	require.NoError(t, tests.Process.Kill())
	assert.Error(t, tests.Wait())
	for _, pid := range []int{program, child} {
		assert.Eventually(t, func() bool { return !alive(pid) }, patience, 10*time.Millisecond)
	}
	assert.Eventually(t, func() bool {
		_, err := os.Stat(folder)
		return os.IsNotExist(err)
	}, patience, 10*time.Millisecond)
}

// zombie reports whether a process has ended and waits for its parent, which in
// a container may never ask.
func zombie(pid int) bool {
	out, _ := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(pid)).Output()
	return strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}
