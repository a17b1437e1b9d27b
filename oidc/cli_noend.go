//go:build unix && !linux && !freebsd

package oidc

import "syscall"

// endWithParent does nothing: the system cannot do it.
func endWithParent(*syscall.SysProcAttr) {}
