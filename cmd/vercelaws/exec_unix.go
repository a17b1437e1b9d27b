//go:build unix

package main

import "syscall"

// become replaces this program by another, which so gets every signal and
// gives its own exit status. It returns only on failure.
func become(path string, args, environ []string) error {
	return syscall.Exec(path, args, environ)
}
