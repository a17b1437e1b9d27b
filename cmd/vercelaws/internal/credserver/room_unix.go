//go:build unix

package credserver

import "syscall"

// room is how many connections can wait to show the token: half of the files
// that this process may open, and no more than most.
func room() int {
	limit := syscall.Rlimit{Cur: most}
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return int(max(1, min(uint64(limit.Cur)/2, most)))
}
