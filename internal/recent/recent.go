// Package recent remembers the tokens of the last few requests, so that work
// which has no request of its own can borrow one. It is one small set for the
// process, because a process on Vercel has one identity.
package recent

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Size is how many different tokens are remembered. Vercel hands the same
// token to many requests, so more than two at a time are rare.
const Size = 8

// maxLen is the longest token STS takes; longer header values are not kept.
const maxLen = 20_000

var (
	newest   atomic.Pointer[string] // the head of tokens, for Add's fast path
	arrivals atomic.Int64           // how often another token became the newest

	mu     sync.Mutex
	tokens []string // newest first; guarded by mu
)

// Add remembers raw as the newest token. It does not look inside it. The usual
// case, the same token as on the request before, takes no lock and allocates
// nothing.
func Add(raw string) {
	if raw == "" || len(raw) > maxLen {
		return
	}
	if n := newest.Load(); n != nil && *n == raw {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	if i := slices.Index(tokens, raw); i >= 0 {
		tokens = slices.Delete(tokens, i, i+1)
	}
	tokens = slices.Insert(tokens, 0, raw)
	arrivals.Add(1)
	if len(tokens) > Size {
		clear(tokens[Size:]) // do not keep what is no longer remembered alive
		tokens = tokens[:Size]
	}
	setNewest()
}

// Arrivals counts how often Add was given another token than the newest.
func Arrivals() int64 { return arrivals.Load() }

// All returns the remembered tokens, newest first.
func All() []string {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(tokens)
}

// Forget drops the tokens for which drop reports true. Test issuers call it
// when they close, so that one test's tokens are not tried in another's.
func Forget(drop func(raw string) bool) {
	mu.Lock()
	defer mu.Unlock()
	tokens = slices.DeleteFunc(tokens, drop)
	setNewest()
}

// setNewest needs mu.
func setNewest() {
	if len(tokens) == 0 {
		newest.Store(nil)
		return
	}
	head := tokens[0]
	newest.Store(&head)
}

// Demote puts raw last, if it is remembered: STS refused it, so the others are
// the better choice.
func Demote(raw string) {
	mu.Lock()
	defer mu.Unlock()
	if i := slices.Index(tokens, raw); i >= 0 {
		tokens = append(slices.Delete(tokens, i, i+1), raw)
		setNewest()
	}
}
