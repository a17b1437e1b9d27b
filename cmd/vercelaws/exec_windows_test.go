package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func init() { programs["heed"], programs["interrupt"] = heed, interrupt }

// heed is a program that says "ready", waits for an interrupt, and exits with 7.
// It ends with its input too, so that it is never left behind.
func heed() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(1) }()
	fmt.Println("ready")
	fmt.Println(<-signals)
	os.Exit(7)
}

// interrupt runs a program, interrupts all of its console once the program has
// printed a line, and exits as the program does, or with 100 where it cannot.
func interrupt() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // survives it
	run := exec.Command(os.Args[1], os.Args[2:]...)
	run.Stdin, run.Stderr = os.Stdin, os.Stderr
	out, err := run.StdoutPipe()
	if err == nil {
		err = run.Start()
	}
	if err == nil {
		_, err = bufio.NewReader(out).ReadString('\n')
	}
	if err == nil {
		// https://learn.microsoft.com/windows/console/generateconsolectrlevent
		done, _, failed := syscall.NewLazyDLL("kernel32.dll").NewProc("GenerateConsoleCtrlEvent").Call(syscall.CTRL_C_EVENT, 0)
		if done == 0 {
			err = failed
		}
	}
	if err == nil {
		err = run.Wait()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(100)
	}
	os.Exit(run.ProcessState.ExitCode())
}

// A console sends an interrupt to the command and to its program. The command
// stays until the program has ended, and ends as it did.
func TestExecOutlivesAnInterrupt(t *testing.T) {
	const newConsole = 0x10 // CREATE_NEW_CONSOLE: that of the tests is not interrupted
	enter(t)
	interrupted := func(t *testing.T, args ...string) uint32 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		run := exec.CommandContext(ctx, "interrupt", args...)
		run.SysProcAttr = &syscall.SysProcAttr{CreationFlags: newConsole, HideWindow: true}
		in, err := run.StdinPipe() // open, so that the program waits
		require.NoError(t, err)
		defer in.Close()
		run.Stderr = os.Stderr
		if err := run.Run(); !errors.As(err, new(*exec.ExitError)) {
			require.NoError(t, err)
		}
		return uint32(run.ProcessState.ExitCode())
	}
	// One program handles the interrupt, the other does not.
	require.EqualValues(t, 7, interrupted(t, "heed"))
	for _, program := range []string{"heed", "child"} {
		alone := interrupted(t, program, "0")
		for _, flag := range []string{"--serve=false", "--serve"} {
			t.Run(program+" "+flag, func(t *testing.T) {
				assert.Equal(t, alone, interrupted(t, "vercelaws", "exec", "--role-arn", roleARN, flag, "--", program, "0"))
			})
		}
	}
}
