//go:build unix

package main

import (
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The end of the terminal is the server's.
func TestServeEndsWithItsTerminal(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("the tests run under nohup")
	}
	enter(t)
	serve, found := startServe(t, 1, "--role-arn", roleARN)
	require.Len(t, found, 1)
	require.NoError(t, serve.Process.Signal(syscall.SIGHUP))
	assert.Error(t, serve.Wait())
	assert.Equal(t, syscall.SIGHUP, serve.ProcessState.Sys().(syscall.WaitStatus).Signal())
}
