//go:build unix

package postgres

import (
	"os/exec"
	"syscall"
)

// become has cmd run as the account.
func (a *account) become(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)},
	}
}
