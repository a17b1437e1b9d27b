//go:build unix

package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/terminal"
)

// become replaces this program by another, which then gets every signal, and whose
// exit status is this process's. It returns only on failure.
func become(path string, args, environ []string) error {
	return syscall.Exec(path, args, environ)
}

// lastSignal is the highest number of a signal anywhere.
const lastSignal = 64

// relayed are the signals that are passed on. Not among them are those that no
// program can receive, those by which the system and Go inform this program about
// itself, and those that Go does not deliver: PROF, and 32 to 34, which the C
// libraries use.
func relayed() (all []os.Signal) {
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		switch sig {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGPROF, 32, 33, 34:
		default:
			all = append(all, sig)
		}
	}
	return all
}

// supervise runs another program to its end, passes signals on to it, and ends
// as it did: by the same signal, or with its exit status in a *childExit.
func supervise(path string, args, environ []string) error {
	signals := make(chan os.Signal, lastSignal)
	signal.Notify(signals, heeded(relayed()...)...)
	defer signal.Stop(signals)
	child, err := os.StartProcess(path, args, &os.ProcAttr{Env: environ, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- await(child.Pid) }()
	for {
		select {
		case sig := <-signals:
			if !sentByTerminal(sig) {
				_ = child.Signal(sig)
			}
		case err := <-ended:
			return err
		}
	}
}

// await returns how the child ended. The first process of a container waits for
// all other processes that end there too, since they would stay zombies. When the
// child is stopped by the terminal (Ctrl-Z), this program stops itself as well, since
// the shell waits for that.
func await(child int) error {
	which := child
	if os.Getpid() == 1 {
		which = -1
	}
	for {
		var status syscall.WaitStatus
		process, err := syscall.Wait4(which, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case process != child:
		case !status.Stopped():
			return endLike(status)
		case status.StopSignal() != syscall.SIGSTOP: // the terminal does not send SIGSTOP
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
	}
}

// sentByTerminal reports whether a signal can come from a key in the terminal. Then
// the child has got it too, and some programs abort at a second one.
func sentByTerminal(sig os.Signal) bool {
	return (sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGTSTP) && terminal.InForeground()
}

// endLike returns how a child ended. If that was by a signal, sameEnd ends this
// program by the same one.
func endLike(status syscall.WaitStatus) error {
	if status.Signaled() {
		return &childExit{status: 128 + int(status.Signal()), signal: status.Signal()} // as a POSIX shell says it
	}
	return &childExit{status: status.ExitStatus()}
}

// sameEnd ends this program by the signal that ended the child, so that a shell
// can tell an interrupted program from one that failed. It returns if that is not
// possible: the Go runtime would print a crash for other signals, and no signal
// ends the first process of a container.
func sameEnd(sig syscall.Signal) {
	if os.Getpid() == 1 {
		return
	}
	switch sig {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL:
		signal.Reset(sig)
		if syscall.Kill(os.Getpid(), sig) == nil {
			time.Sleep(time.Second) // the end can be a moment away
		}
	}
}
