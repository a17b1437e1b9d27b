//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An interrupt from the keyboard goes to the child by itself. exec does not
// send it a second one, at which many programs give up without tidying.
func TestKeyboardInterruptsTheChildOnce(t *testing.T) {
	enter(t)
	master, slave := openTerminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // its end would end the reading
	defer cancel()
	command := exec.CommandContext(ctx, "vercelaws", "exec", "--serve", "--role-arn", roleARN, "--", "heed", "2")
	command.Stdin, command.Stdout, command.Stderr = slave, slave, slave
	command.SysProcAttr = &syscall.SysProcAttr{Setctty: true}
	endSession(command)
	require.NoError(t, command.Start())
	slave.Close()
	screen := bufio.NewReader(master)
	read := func() string {
		line, err := screen.ReadString('\n')
		require.NoError(t, err)
		return strings.TrimSpace(strings.TrimPrefix(line, "^C")) // the terminal's echo
	}
	require.Equal(t, "ready", read())
	_, err := master.Write([]byte{3}) // Ctrl-C
	require.NoError(t, err)
	require.Equal(t, syscall.SIGINT.String(), read())
	// Signals are passed on in turn, so this one comes after a second interrupt.
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, syscall.SIGTERM.String(), read())
	assert.Error(t, command.Wait())
	assert.Equal(t, 7, command.ProcessState.ExitCode())
}

// openTerminal opens a pseudo-terminal. See pts(4).
func openTerminal(t *testing.T) (master, slave *os.File) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { master.Close() })
	var number, unlock uint32
	for request, value := range map[uintptr]*uint32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &unlock} {
		_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(value)))
		require.Zero(t, failed)
	}
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	return master, slave
}
