//go:build linux || freebsd

package oidc

import "syscall"

// endWithParent makes a program end when the thread that started it ends. See
// prctl(2), PR_SET_PDEATHSIG, and procctl(2), PROC_PDEATHSIG_CTL.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
