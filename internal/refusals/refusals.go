// Package refusals remembers which tokens were refused lately.
package refusals

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// SameAnswer is how long the error of a refusal is returned again without a
	// request, so that callers of a misconfigured deployment do not wait.
	SameAnswer = time.Second

	// most is how many refusals are remembered. It is more than package recent
	// remembers tokens.
	most = 2048
)

// Memory holds the refusals of one provider or exchange. Its zero value is ready to
// use, and its methods are safe for concurrent use. It uses the monotonic clock
// alone, so setting the wall clock has no effect.
type Memory struct {
	mu    sync.Mutex // guards what follows
	known map[uint64]refusal
}

// refusal is the last refusal of a token.
type refusal struct {
	at  time.Time
	err error
}

var seed = maphash.MakeSeed()

// digest returns a number that stands for a token. The seed is random, so nobody
// can make two tokens with one digest.
func digest(raw string) uint64 { return maphash.String(seed, raw) }

// Add remembers that raw was refused with err, and forgets the oldest refusal if
// there are too many.
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

// Forget removes the refusal of a token that was accepted later.
func (m *Memory) Forget(raw string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, digest(raw))
}

// When returns when a token was last refused, or the zero time.
func (m *Memory) When(raw string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[digest(raw)].at
}

// Answer returns the error with which a token was refused less than SameAnswer ago,
// or nil.
func (m *Memory) Answer(raw string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.known[digest(raw)]; time.Since(r.at) < SameAnswer {
		return r.err
	}
	return nil
}
