// Package process runs the servers and programs that the tests need. Each of them
// ends when it is told to, or with the tests, however these end.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopTime is how long a program may take to end after it was told to.
const stopTime = 15 * time.Second

// Process is a running program.
type Process struct {
	cmd    *exec.Cmd
	output *os.File      // what the program writes; it has no name any more
	ended  chan struct{} // closed once err is set
	err    error         // how the program ended
}

// Start starts cmd, and keeps its output for [Process.Output]. If the tests end
// before they have stopped it, cmd and the programs that it started are killed, and
// the named folders are removed.
func Start(cmd *exec.Cmd, folders ...string) (*Process, error) {
	output, err := os.CreateTemp("", "output-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(output.Name()); err != nil {
		return nil, errors.Join(err, output.Close())
	}
	// A file, and not a pipe: what the program has written before it answers
	// a request can be read after the answer.
	cmd.Stdout, cmd.Stderr = output, output
	watch, err := startWatch(folders)
	if err != nil {
		return nil, errors.Join(err, output.Close())
	}
	inOwnGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, watch.end(), output.Close())
	}
	watch.over(cmd.Process.Pid)
	p := &Process{cmd: cmd, output: output, ended: make(chan struct{})}
	go func() {
		p.err = errors.Join(cmd.Wait(), watch.end())
		close(p.ended)
	}()
	return p, nil
}

// Run runs cmd to its end, which is no later than that of ctx. The error holds
// the output.
func Run(ctx context.Context, cmd *exec.Cmd) error {
	p, err := Start(cmd)
	if err != nil {
		return err
	}
	defer p.output.Close()
	select {
	case <-p.ended:
	case <-ctx.Done():
		killGroup(cmd)
		<-p.ended
		return fmt.Errorf("%s: %w\n%s", p, context.Cause(ctx), p.Output())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p, p.err, p.Output())
	}
	return nil
}

// Output returns what the program has written so far, on standard output and
// standard error. It is empty after [Process.Stop].
func (p *Process) Output() string {
	b, _ := io.ReadAll(io.NewSectionReader(p.output, 0, math.MaxInt64))
	return string(b)
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// WaitUntil asks ready again and again until it says yes. It fails when the
// program ends or ctx is done before that; the error holds the output.
func (p *Process) WaitUntil(ctx context.Context, ready func() bool) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !ready() {
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p, p.err, p.Output())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p, context.Cause(ctx), p.Output())
		case <-poll.C:
		}
	}
	return nil
}

// Stop sends the program a signal that asks it to end, and waits until it has.
// It returns how the program ended, if not well: an end by that signal is well.
// One that does not end in 15 seconds is killed.
func (p *Process) Stop(signal syscall.Signal) error {
	defer p.output.Close()
	select {
	case <-p.ended:
		return fmt.Errorf("%s had ended before it was stopped: %w\n%s", p, p.err, p.Output())
	default:
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timeout := time.NewTimer(stopTime)
	defer timeout.Stop()
	select {
	case <-p.ended:
	case <-timeout.C:
		killGroup(p.cmd)
		<-p.ended
		return fmt.Errorf("%s did not end within %s of %s and was killed\n%s", p, stopTime, signal, p.Output())
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == signal {
			return nil
		}
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p, p.err, p.Output())
	}
	return nil
}

// Kill ends the program, and what it started, if it has not ended: a test that
// fails before it stops the program leaves nothing waiting for it.
func (p *Process) Kill() {
	select {
	case <-p.ended:
	default:
		killGroup(p.cmd)
		<-p.ended
		p.output.Close()
	}
}

// String returns the program's name.
func (p *Process) String() string { return filepath.Base(p.cmd.Path) }
