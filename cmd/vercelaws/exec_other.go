//go:build !unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// become runs another program in place of this one, and returns its exit
// status as a *childExit.
func become(path string, args, environ []string) error { return supervise(path, args, environ) }

// supervise runs another program to its end, and returns its exit status as a
// *childExit. A console sends its interrupts to the child as well, and tells both
// when it closes, so this program only has to outlive them. On Windows a signal
// that is ignored ends a program all the same; one that is received does not.
func supervise(path string, args, environ []string) error {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	child := exec.Command(path)
	child.Args = args
	child.Env = environ
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := child.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &childExit{status: exit.ExitCode()}
	}
	return err
}

// sameEnd does nothing: no program here ends by a signal.
func sameEnd(syscall.Signal) {}
