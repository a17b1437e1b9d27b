//go:build unix

package credserver

import "syscall"

// pendingLimit is how many connections may be open that have not sent the token:
// half of the files that this process may open, and no more than maxPending.
func pendingLimit() int {
	limit := syscall.Rlimit{Cur: maxPending}
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return int(max(1, min(uint64(limit.Cur)/2, maxPending)))
}
