//go:build linux || freebsd

package oidc

import "syscall"

// endWithParent has a program end when the thread that starts it does. See
// prctl(2), PR_SET_PDEATHSIG, and procctl(2), PROC_PDEATHSIG_CTL.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
