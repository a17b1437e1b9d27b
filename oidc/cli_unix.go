//go:build unix

package oidc

import (
	"os/exec"
	"syscall"
)

// endChildrenToo makes cmd end with all programs that it started when its context
// ends: the CLI is a script that starts others.
func endChildrenToo(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(cmd.SysProcAttr)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// nonBlocking opens a pipe without waiting for a writer.
const nonBlocking = syscall.O_NONBLOCK
