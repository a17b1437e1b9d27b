//go:build !unix

package postgres

import "os/exec"

// become is not called: [serverAccount] finds no account where nobody is root.
func (a *account) become(*exec.Cmd) {}
