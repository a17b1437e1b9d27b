//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// become replaces this program by another, which so gets every signal and
// gives its own exit status. It returns only on failure.
func become(path string, args, environ []string) error {
	return syscall.Exec(path, args, environ)
}

// relayed are the signals that are sent to stop a program or to tell it
// something. The rest have to do with jobs of a shell, which sends them to both.
func relayed() []os.Signal {
	return []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2}
}

// supervise runs another program to its end, passes signals on to it, and ends
// as it did: by the same signal, or with its exit status in a *childExit.
func supervise(path string, args, environ []string) error {
	signals := make(chan os.Signal, 16)
	if all := heeded(relayed()...); len(all) > 0 { // Notify takes none for all
		signal.Notify(signals, all...)
		defer signal.Stop(signals)
	}

	child := exec.Command(path)
	child.Args = args
	child.Env = environ
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for {
		select {
		case sig := <-signals:
			if !sentByTerminal(sig) {
				_ = child.Process.Signal(sig)
			}
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				return err
			}
			return endLike(exit.Sys().(syscall.WaitStatus))
		}
	}
}

// sentByTerminal reports whether a signal can be a key of the terminal. The
// child has had it then, and a second one makes some programs give up in haste.
func sentByTerminal(sig os.Signal) bool {
	return (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && inForeground()
}

// endLike returns how a child ended. Where that was a signal, sameEnd ends this
// program by it too.
func endLike(status syscall.WaitStatus) error {
	if status.Signaled() {
		return &childExit{status: 128 + int(status.Signal()), signal: status.Signal()} // as a POSIX shell says it
	}
	return &childExit{status: status.ExitStatus()}
}

// sameEnd ends this program by the signal that ended the child, so that a shell
// can tell an interrupted program from one that failed. It returns where that
// is not possible: the Go runtime would make a crash of the others.
func sameEnd(sig syscall.Signal) {
	switch sig {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL:
		signal.Reset(sig)
		if syscall.Kill(os.Getpid(), sig) == nil {
			time.Sleep(time.Second) // the end can be a moment away
		}
	}
}
