// Package refusals remembers which tokens were refused a moment ago, by STS or
// by Vercel's exchange.
package refusals

import (
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

const (
	// SameAnswer is how long a refusal is given again without asking, so that
	// callers of a misconfigured deployment have it at once.
	SameAnswer = time.Second

	// LastChoice is how long a refused token comes after all others. What
	// refused it may be mended, and a flood of new tokens must not keep the good
	// one out then.
	LastChoice = 30 * time.Second
)

// Memory is for the tokens of one asker, who bounds how many are refused in a
// time: no more than those of LastChoice are remembered. Its zero value is ready
// to use, and its methods are safe for concurrent use. Setting the wall clock
// does not touch it.
type Memory struct {
	mu    sync.Mutex // guards what follows
	known map[id]refusal
}

// id tells tokens apart without being one.
type id [sha256.Size]byte

func idOf(raw string) id { return sha256.Sum256([]byte(raw)) }

// refusal is one. Its time is only used for its monotonic reading.
type refusal struct {
	err error
	at  time.Time
}

// Add takes note of a refusal.
func (m *Memory) Add(raw string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[id]refusal{}
	}
	maps.DeleteFunc(m.known, func(_ id, r refusal) bool { return time.Since(r.at) >= LastChoice })
	m.known[idOf(raw)] = refusal{err, time.Now()}
}

// Forget drops what is known of a token that was accepted after all.
func (m *Memory) Forget(raw string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, idOf(raw))
}

// Has reports whether a token was refused less than LastChoice ago.
func (m *Memory) Has(raw string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.known[idOf(raw)].at) < LastChoice // if none, it was long ago
}

// Answer is how a token was refused less than SameAnswer ago, or nil.
func (m *Memory) Answer(raw string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.known[idOf(raw)]; time.Since(r.at) < SameAnswer {
		return r.err
	}
	return nil
}
