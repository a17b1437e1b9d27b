//go:build !unix

package credserver

// room is how many connections can wait to show the token.
func room() int { return most }
