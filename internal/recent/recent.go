// Package recent remembers the tokens of recent requests, so that work which
// has no request of its own, or one with a bad token, can borrow one.
//
// A request only leaves the token's text here, since a request must stay cheap.
// Whoever looks for a token has each text read once; what is no token, or has
// ended, leaves the store then.
//
// Nothing here verifies a token, so anybody can have one remembered. What speaks
// for a token is how many requests have brought it over a time, and how new it
// is. What is dropped for want of room is neither.
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
	// Least is how many tokens are kept at least, before any is dropped for
	// want of room.
	Least = 512

	most     = 2 * Least
	longest  = 20_000 // characters that STS takes
	maxBytes = 256 * longest

	// mostDropped is how many digests of dropped tokens are kept at least: for
	// more than a minute in which a hundred new ones a second come.
	mostDropped = 8192

	// slot is the time in which a token counts once, however many requests
	// bring it. Who sends one a thousand times is no more credible for it than
	// who sends it each half second; staying is what forged tokens that change
	// all the time cannot do.
	slot = 400 * time.Millisecond

	// halfLife is when a count is worth half.
	halfLife = time.Minute
)

// Store is the tokens of recent requests. Make one with [New]. Its methods are
// safe for concurrent use. T is oidc.Token.
type Store[T any] struct {
	read func(raw string) (token T, ends time.Time, ok bool)

	newest atomic.Pointer[entry[T]] // the one that arrived last

	mu      sync.Mutex // guards what follows
	entries map[string]*entry[T]
	bytes   int                    // of the entries' text
	clock   uint64                 // ticks with each arrival
	dropped [2]map[uint64]struct{} // digests of what was dropped for want of room, the newer ones first
}

// entry is a text that is remembered. What is below the line is guarded by mu.
type entry[T any] struct {
	raw   string
	again atomic.Bool // it arrived again, which is not yet counted

	arrived uint64    // order of the last arrival
	count   float64   // of arrivals, as it was when the last was counted
	counted time.Time // when that was
	isRead  bool
	token   T
	ends    time.Time
}

// New returns an empty store. Read reads a text, and says when STS will not take
// the token any more; ok is false where the text is no token.
func New[T any](read func(raw string) (token T, ends time.Time, ok bool)) *Store[T] {
	return &Store[T]{read: read, entries: map[string]*entry[T]{}}
}

// Add takes note that a request brought raw, whose form is a token's, and
// returns the store's own copy of it.
//
// The usual case, the same token as on the request before, takes no lock and
// allocates nothing. Another token that is known costs one short lock.
func (s *Store[T]) Add(raw string) *string {
	if e := s.newest.Load(); e != nil && e.raw == raw {
		if !e.again.Load() { // so that the cores do not all write to it
			e.again.Store(true)
		}
		return &e.raw
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[raw]
	if e == nil {
		e = &entry[T]{raw: strings.Clone(raw)} // a header's text may be part of a larger one, or be reused
		if len(raw) > longest {
			return &e.raw
		}
		if s.wasDropped(raw) {
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

// arrive needs mu. It counts an arrival, once in a slot. The age is absolute
// since only a test that leaves a clock of its own sees time run backwards.
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

// All returns the tokens that are remembered, but for those of which drop
// reports true: those leave the store.
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

// makeRoom needs mu. It keeps Least entries, or half the bytes: half of them for
// being new, and the others for how many requests brought them.
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

// wasDropped needs mu. It knows a token that a flood of others pushed out when
// that comes again.
func (s *Store[T]) wasDropped(raw string) bool {
	id := maphash.String(seed, raw)
	_, newer := s.dropped[0][id]
	_, older := s.dropped[1][id]
	return newer || older
}

var seed = maphash.MakeSeed()

// keep takes those off the beginning of all for which there is room in half of
// what makeRoom keeps, and returns the others.
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
