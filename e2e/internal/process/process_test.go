package process

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
	require.NoError(t, p.WaitUntil(t.Context(), p.wrote("ready")))
	require.NoError(t, p.Stop(syscall.SIGTERM))
	assert.Equal(t, 0, p.cmd.ProcessState.ExitCode())
}

func TestStopTakesTheSignalForAGoodEnd(t *testing.T) {
	p := shell(t, `exec sleep 60`)
	assert.NoError(t, p.Stop(syscall.SIGTERM))
}

func TestStopReportsABadEnd(t *testing.T) {
	p := shell(t, `trap 'echo lost a request; exit 3' TERM; echo ready; while :; do sleep 0.01; done`)
	require.NoError(t, p.WaitUntil(t.Context(), p.wrote("ready")))
	err := p.Stop(syscall.SIGTERM)
	assert.ErrorContains(t, err, "exit status 3")
	assert.ErrorContains(t, err, "lost a request")
}

func TestWaitUntilReportsAnEarlyEnd(t *testing.T) {
	p := shell(t, `echo no disk >&2; exit 4`)
	err := p.WaitUntil(t.Context(), func() bool { return false })
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
