// Package refusals remembers which tokens were refused lately.
package refusals

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// SameAnswer is how long a refusal is given again without asking, so that
	// callers of a misconfigured deployment have it at once.
	SameAnswer = time.Second

	// most is how many are remembered: more than the tokens of requests that
	// are.
	most = 2048
)

// Memory is for the tokens of one asker. Its zero value is ready to use, and its
// methods are safe for concurrent use. Setting the wall clock does not touch it.
type Memory struct {
	mu    sync.Mutex // guards what follows
	known map[uint64]refusal
}

// refusal is one. Its time is only used for its monotonic reading.
type refusal struct {
	at  time.Time
	err error
}

var seed = maphash.MakeSeed()

// digest tells tokens apart without being one. Nobody outside knows the seed, so
// nobody can make two tokens with one digest.
func digest(raw string) uint64 { return maphash.String(seed, raw) }

// Add takes note of a refusal.
func (m *Memory) Add(raw string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[uint64]refusal{}
	}
	now, oldest := time.Now(), digest(raw)
	m.known[oldest] = refusal{now, err}
	for id, r := range m.known {
		if r.err != nil && now.Sub(r.at) >= SameAnswer {
			m.known[id] = refusal{at: r.at} // the error may be large
		}
		if r.at.Before(m.known[oldest].at) {
			oldest = id
		}
	}
	if len(m.known) > most {
		delete(m.known, oldest)
	}
}

// Forget drops what is known of a token that was accepted after all.
func (m *Memory) Forget(raw string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, digest(raw))
}

// When is when a token was refused last, or the zero time.
func (m *Memory) When(raw string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[digest(raw)].at
}

// Answer is how a token was refused less than SameAnswer ago, or nil.
func (m *Memory) Answer(raw string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.known[digest(raw)]; time.Since(r.at) < SameAnswer {
		return r.err
	}
	return nil
}
