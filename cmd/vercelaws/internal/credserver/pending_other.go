//go:build !unix

package credserver

// pendingLimit is how many connections may be open that have not sent the token.
func pendingLimit() int { return maxPending }
