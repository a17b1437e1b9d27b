//go:build !unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
)

// become runs another program in place of this one, and returns its exit
// status as a *childExit. A console sends its interrupts to the child as well,
// so this program only has to outlive them.
func become(path string, args, environ []string) error {
	signal.Ignore(os.Interrupt)
	child := exec.Command(path)
	child.Args = args
	child.Env = environ
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := child.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &childExit{exit.ExitCode()}
	}
	return err
}
