//go:build !unix

package oidc

import "os/exec"

// endChildrenToo does nothing, since there are no process groups: the end of
// cmd's context ends only cmd.
func endChildrenToo(*exec.Cmd) {}

// nonBlocking is not needed: a pipe cannot have a file's path.
const nonBlocking = 0
