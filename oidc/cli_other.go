//go:build !unix

package oidc

import "os/exec"

// endChildrenToo does nothing where there are no process groups: the end of
// cmd's context ends cmd alone.
func endChildrenToo(*exec.Cmd) {}

// nonBlocking is not needed where a pipe has no place among files.
const nonBlocking = 0
