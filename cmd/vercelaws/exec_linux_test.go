package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inContainer has the command be the first process of a PID namespace, as it is
// in a container. A user without privileges has that in a user namespace.
func inContainer() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Cloneflags: syscall.CLONE_NEWPID}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// What loses its parent in a container does not stay a zombie.
func TestExecAsFirstProcessReaps(t *testing.T) {
	enter(t)
	r, _ := startExecIn(t, inContainer(), `(sh -c "exit 3" & sh -c "exit 4" & exec sleep 0.01) & (sleep 1000 &) ; wait; echo $$; read -r line; exit 6`, "--serve")
	// The sleep that goes on tells that orphans come to the first process.
	var zombies, living int
	require.Eventually(t, func() bool {
		zombies, living = children(t, r.Process.Pid)
		return zombies == 0 && living == 2 // the command itself, and the sleep
	}, 20*time.Second, 5*time.Millisecond, "%d zombies, %d others", zombies, living)
	require.NoError(t, r.in.Close())
	assert.Equal(t, 6, r.end(t).ExitStatus())
}

// children counts the children of a process.
func children(t *testing.T, parent int) (zombies, others int) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	child := regexp.MustCompile(fmt.Sprintf(`\) (.) %d `, parent))
	for _, file := range files {
		stat, _ := os.ReadFile(file)
		switch match := child.FindSubmatch(stat); {
		case match == nil:
		case string(match[1]) == "Z":
			zombies++
		default:
			others++
		}
	}
	return zombies, others
}

// Signals pass through the first process of a container, and so does the end:
// such a process ends by no signal of its own.
func TestExecAsFirstProcessPassesSignals(t *testing.T) {
	enter(t)
	for _, flags := range [][]string{nil, {"--serve"}} {
		r, _ := startExecIn(t, inContainer(), "exec heed 3", flags...)
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGWINCH, syscall.SIGINT} {
			require.NoError(t, r.Process.Signal(sig))
			line, err := r.out.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, sig.String()+"\n", line)
		}
		assert.Equal(t, 7, r.end(t).ExitStatus())
	}
	r, _ := startExecIn(t, inContainer(), "echo ready; exec cat", "--serve")
	require.NoError(t, r.Process.Signal(syscall.SIGTERM))
	start := time.Now()
	assert.Equal(t, 128+int(syscall.SIGTERM), r.end(t).ExitStatus())
	assert.Less(t, time.Since(start), 30*time.Second)
}
