//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// running is an exec of the command whose child has said that it is ready.
type running struct {
	*exec.Cmd
	in  io.WriteCloser // open, so that the child can wait for more
	out *bufio.Reader
}

func init() { programs["heed"] = heed }

// heed is a program that says "ready", then each signal that it gets, and exits
// with 7 after as many as its argument says. A shell is no use for that: a
// signal that comes just before a read is not seen before the read ends.
func heed() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, relayed()...)
	fmt.Println("ready")
	for n, _ := strconv.Atoi(os.Args[1]); n > 0; n-- {
		fmt.Println(<-signals)
	}
	os.Exit(7)
}

// startExec starts a shell script under exec, without a terminal, and waits for
// its first line, which it returns. What is left of it ends with the test.
func startExec(t *testing.T, script string, flags ...string) (running, string) {
	t.Helper()
	return startExecWith(t, endSession, script, flags...)
}

// startExecIn does that in another process group than the test's, or the like.
func startExecIn(t *testing.T, attr *syscall.SysProcAttr, script string, flags ...string) (running, string) {
	t.Helper()
	return startExecWith(t, func(c *exec.Cmd) {
		c.SysProcAttr = attr
		c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	}, script, flags...)
}

func startExecWith(t *testing.T, change func(*exec.Cmd), script string, flags ...string) (running, string) {
	t.Helper()
	args := append([]string{"exec", "--role-arn", roleARN}, flags...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel) // also where it does not start
	r := running{Cmd: exec.CommandContext(ctx, "vercelaws", append(args, "--", "sh", "-c", script)...)}
	change(r.Cmd)
	var err error
	r.in, err = r.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.in.Close() })
	out, err := r.StdoutPipe()
	require.NoError(t, err)
	err = r.Start()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("this user cannot have that: ", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { cancel(); _ = r.Wait() })
	r.out = bufio.NewReader(out)
	line, err := r.out.ReadString('\n')
	require.NoError(t, err)
	return r, strings.TrimSpace(line)
}

// endSession has a command run in a session of its own, all of which ends when
// its context does.
func endSession(c *exec.Cmd) {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setsid = true
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}

// end waits for the command, and returns how it ended.
func (r running) end(t *testing.T) syscall.WaitStatus {
	t.Helper()
	_, _ = io.Copy(io.Discard, r.out)
	_ = r.Wait()
	return r.ProcessState.Sys().(syscall.WaitStatus)
}

// Signals reach the child of exec, and what it makes of them reaches the
// parent.
func TestExecPassesSignals(t *testing.T) {
	enter(t)
	for _, sig := range relayed() {
		if signal.Ignored(sig) { // as under nohup: a child would ignore what is not caught here
			caught := make(chan os.Signal, 1)
			signal.Notify(caught, sig)
			defer signal.Ignore(sig)
		}
	}
	for _, flags := range [][]string{nil, {"--serve"}} {
		t.Run(fmt.Sprint(flags, " handled"), func(t *testing.T) {
			r, _ := startExec(t, fmt.Sprint("exec heed ", len(relayed())), flags...)
			for _, sig := range relayed() {
				require.NoError(t, r.Process.Signal(sig))
				line, err := r.out.ReadString('\n')
				require.NoError(t, err, "%s ended it", sig)
				assert.Equal(t, sig.String()+"\n", line)
			}
			assert.Equal(t, 7, r.end(t).ExitStatus())
		})
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			t.Run(fmt.Sprint(flags, sig, " not handled"), func(t *testing.T) {
				r, _ := startExec(t, `echo ready; exec cat`, flags...)
				require.NoError(t, r.Process.Signal(sig))
				assert.Equal(t, sig, r.end(t).Signal())
			})
		}
	}
	for script, want := range map[string]int{"kill -PIPE $$": 128 + int(syscall.SIGPIPE), "kill -USR1 $$": 128 + int(syscall.SIGUSR1)} {
		t.Run(script, func(t *testing.T) {
			r, _ := startExec(t, "echo ready; "+script, "--serve")
			assert.Equal(t, want, r.end(t).ExitStatus(), "as a shell says it")
		})
	}
}

// A program that is stopped as the terminal stops programs has the command stop,
// for the shell to see, and both go on together.
func TestExecStopsWithTheChild(t *testing.T) {
	enter(t)
	r, _ := startExecIn(t, &syscall.SysProcAttr{Setpgid: true}, `echo ready; while read -r line; do echo "$line"; done; exit 5`, "--serve")
	for range 3 {
		require.NoError(t, r.Process.Signal(syscall.SIGTSTP))
		var status syscall.WaitStatus
		_, err := syscall.Wait4(r.Process.Pid, &status, syscall.WUNTRACED, nil)
		require.NoError(t, err)
		require.True(t, status.Stopped(), "%#x", status)
		require.NoError(t, r.Process.Signal(syscall.SIGCONT))
		_, err = io.WriteString(r.in, "on it goes\n")
		require.NoError(t, err)
		line, err := r.out.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "on it goes\n", line)
	}
	require.NoError(t, r.in.Close())
	assert.Equal(t, 5, r.end(t).ExitStatus())
}

// Connections that send nothing, more than there are files, do not keep the
// program from its credentials, and nobody writes to its standard error.
func TestHalfOpenConnectionsLeaveRoom(t *testing.T) {
	enter(t)
	var stderr strings.Builder
	r, uri := startExecWith(t, func(c *exec.Cmd) {
		c.Args = append([]string{"sh", "-c", `ulimit -n 256; exec "$@"`, "sh"}, c.Args...)
		c.Path, _ = exec.LookPath("sh")
		c.Stderr = &stderr
	}, `echo "$AWS_CONTAINER_CREDENTIALS_FULL_URI"; echo "$AWS_CONTAINER_AUTHORIZATION_TOKEN"; read -r line`, "--serve")
	token, err := r.out.ReadString('\n')
	require.NoError(t, err)
	u, err := url.Parse(uri)
	require.NoError(t, err)
	for range 600 {
		conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
		require.NoError(t, err)
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /credentials HTTP/1.1\r\n") // and no more
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes a second or so
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", strings.TrimSpace(token))
	start := time.Now()
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	response.Body.Close()
	assert.Equal(t, http.StatusOK, response.StatusCode)
	t.Logf("answered within %s", time.Since(start).Round(time.Millisecond))
	require.NoError(t, r.in.Close())
	r.end(t)
	assert.Empty(t, stderr.String())
}

// A signal that was ignored when the command was started is so for the child.
func TestExecKeepsIgnoredSignals(t *testing.T) {
	enter(t)
	for _, flags := range []string{"", "--serve"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c",
			`trap '' HUP INT; vercelaws exec `+flags+` --role-arn `+roleARN+` -- sh -c 'kill -INT $$; kill -HUP $$; echo survived'`).CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Equal(t, "survived\n", string(out), flags)
	}
}

// When the child has ended, its endpoint has too.
func TestEndpointEndsWithTheChild(t *testing.T) {
	enter(t)
	r, uri := startExec(t, `echo "$AWS_CONTAINER_CREDENTIALS_FULL_URI"; read line`, "--serve")
	u, err := url.Parse(uri)
	require.NoError(t, err)
	dial := func() error {
		conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	}
	require.NoError(t, dial())
	require.NoError(t, r.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, syscall.SIGTERM, r.end(t).Signal())
	assert.ErrorIs(t, dial(), syscall.ECONNREFUSED)
}
