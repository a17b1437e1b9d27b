// Package recent remembers the tokens of recent requests. Work without a request, or
// with a request whose token is bad, can use one of them.
//
// A request only stores the token's text, since that must cost little. [Store.All]
// reads each text once. Text that is not a token, and expired tokens, are removed
// then.
//
// Nothing here verifies a token, so anybody can have one stored. A token is more
// likely to be genuine if many requests have brought it over some time, or if it is
// new. When there is no room, tokens are removed that are neither.
package recent

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Least is how many tokens are kept when others are removed to make room.
	Least = 512

	most     = 2 * Least
	longest  = 20_000 // characters of the longest token that STS accepts
	maxBytes = 256 * longest

	// mostDropped is how many digests of removed tokens are kept at least: those of
	// more than a minute, if a hundred new tokens come each second.
	mostDropped = 8192

	// slot is the time in which a token counts once, however many requests bring
	// it. So a forged token that is sent a thousand times at once counts no more than
	// a genuine one, and forged tokens that change all the time count once each.
	slot = 400 * time.Millisecond

	// halfLife is the time after which a count is halved.
	halfLife = time.Minute
)

// Store holds the tokens of recent requests. Make one with [New]. Its methods are
// safe for concurrent use. T is oidc.Token.
type Store[T any] struct {
	read func(raw string) (token T, ends time.Time, ok bool)

	newest atomic.Pointer[entry[T]] // the one that arrived last

	mu      sync.Mutex // guards what follows
	entries map[string]*entry[T]
	bytes   int                    // of the entries' text
	clock   uint64                 // number of arrivals
	dropped [2]map[uint64]struct{} // digests of tokens that were removed to make room, the newer ones first
}

// entry is a text that is remembered. The second group of fields is guarded by mu.
type entry[T any] struct {
	raw   string
	again atomic.Bool // it arrived again, and that has not been counted yet

	arrived uint64    // the Store's clock at the last arrival
	count   float64   // of arrivals, at the time counted
	counted time.Time // when the last arrival was counted
	isRead  bool
	token   T
	ends    time.Time
}

// New returns an empty store. Read reads a text, and returns when STS stops accepting
// the token. It returns false if the text is not a token.
func New[T any](read func(raw string) (token T, ends time.Time, ok bool)) *Store[T] {
	return &Store[T]{read: read, entries: map[string]*entry[T]{}}
}

// Add stores raw, which a request brought and which has the form of a token. It
// returns the store's own copy.
//
// If raw is also the token that arrived last, as is usual, this takes no lock and
// allocates nothing. If the store has it, this takes one short lock.
func (s *Store[T]) Add(raw string) *string {
	if e := s.newest.Load(); e != nil && e.raw == raw {
		if !e.again.Load() { // a load first, so that the cores do not all write
			e.again.Store(true)
		}
		return &e.raw
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[raw]
	if e == nil {
		e = &entry[T]{raw: strings.Clone(raw)} // a header's text may be a part of a larger one, or be overwritten
		if len(raw) > longest {
			return &e.raw
		}
		if s.wasDropped(raw) { // its earlier arrival counts too
			e.count, e.counted = 1, time.Now().Add(-slot)
		}
		s.entries[e.raw] = e
		s.bytes += len(raw)
	}
	e.arrive(time.Now())
	s.clock++
	e.arrived = s.clock
	s.newest.Store(e)
	if len(s.entries) > most || s.bytes > maxBytes {
		s.makeRoom()
	}
	return &e.raw
}

// arrive needs mu. It counts an arrival, once in a slot. It uses the absolute age,
// since time can run backwards when a test ends that had a clock of its own.
func (e *entry[T]) arrive(now time.Time) {
	if now.Sub(e.counted).Abs() >= slot {
		e.count, e.counted = e.countAt(now)+1, now
	}
}

// countAt needs mu.
func (e *entry[T]) countAt(now time.Time) float64 {
	return e.count * math.Exp2(-float64(now.Sub(e.counted).Abs())/float64(halfLife))
}

// remove needs mu.
func (s *Store[T]) remove(e *entry[T]) {
	delete(s.entries, e.raw)
	s.bytes -= len(e.raw)
	s.newest.CompareAndSwap(e, nil)
}

// Seen is a token that requests brought.
type Seen[T any] struct {
	Token   T
	Arrived uint64  // a larger number arrived later
	Count   float64 // of the requests that brought it lately
}

// All returns the tokens of the store. It first removes those for which drop reports
// true.
func (s *Store[T]) All(drop func(T) bool) []Seen[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := make([]Seen[T], 0, len(s.entries))
	for _, e := range s.entries {
		if e.again.Swap(false) {
			e.arrive(now)
		}
		ok := true
		if !e.isRead {
			e.token, e.ends, ok = s.read(e.raw)
			e.isRead = true
		}
		if !ok || !now.Before(e.ends) || drop(e.token) {
			s.remove(e)
			continue
		}
		all = append(all, Seen[T]{e.token, e.arrived, e.countAt(now)})
	}
	return all
}

// makeRoom needs mu. It keeps Least entries, or fewer that have half the bytes. Half
// of them are the newest, and the others those that most requests have brought.
func (s *Store[T]) makeRoom() {
	now := time.Now()
	all := make([]*entry[T], 0, len(s.entries))
	counts := make(map[*entry[T]]float64, len(s.entries))
	for _, e := range s.entries {
		all = append(all, e)
		counts[e] = e.countAt(now)
	}
	byNewness := func(a, b *entry[T]) int { return cmp.Compare(b.arrived, a.arrived) }
	slices.SortFunc(all, byNewness)
	all = keep(all)
	slices.SortFunc(all, func(a, b *entry[T]) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), byNewness(a, b)) })
	for _, e := range keep(all) {
		s.remove(e)
		if len(s.dropped[0]) >= mostDropped {
			s.dropped[0], s.dropped[1] = nil, s.dropped[0]
		}
		if s.dropped[0] == nil {
			s.dropped[0] = make(map[uint64]struct{})
		}
		s.dropped[0][maphash.String(seed, e.raw)] = struct{}{}
	}
}

// wasDropped needs mu. It reports whether raw was removed to make room.
func (s *Store[T]) wasDropped(raw string) bool {
	id := maphash.String(seed, raw)
	_, newer := s.dropped[0][id]
	_, older := s.dropped[1][id]
	return newer || older
}

var seed = maphash.MakeSeed()

// keep returns all without the first entries, of which as many are kept as half of
// what makeRoom keeps.
func keep[T any](all []*entry[T]) []*entry[T] {
	bytes := 0
	for i, e := range all {
		bytes += len(e.raw)
		if i == Least/2 || bytes > maxBytes/4 {
			return all[i:]
		}
	}
	return nil
}

// Forget drops the tokens for which drop reports true. Test issuers call it
// when they close, so that one test's tokens are not tried in another's.
func (s *Store[T]) Forget(drop func(raw string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if drop(e.raw) {
			s.remove(e)
		}
	}
	if len(s.entries) == 0 {
		s.dropped = [2]map[uint64]struct{}{}
	}
}
