// Package recent remembers the tokens of recent requests, so that work which
// has no request of its own, or one with a bad token, can borrow one. It is one
// small store for the process, because a process on Vercel has one identity.
//
// Nothing here verifies a token, so anybody can have one remembered. What
// speaks for a token is how many requests have brought it over a time, and how
// new it is: [Draw] goes by one and by the other in turn, and what is dropped
// for want of room is neither, so that neither who repeats a forged token nor
// who sends ever new ones keeps a good one out.
//
// A token goes when STS would no longer take it. Before that it ages: its count
// halves each minute.
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

	"github.com/vercelaws/vercelaws/internal/candidate"
)

const (
	// Least is how many tokens are kept at least, before any is dropped for
	// want of room.
	Least = 256

	most     = 2 * Least
	longest  = 20_000 // characters that STS takes
	maxBytes = Least * longest

	// slot is the time in which a token counts once, however many requests
	// bring it. Who sends one a thousand times is no more credible for it than
	// who sends it each half second; staying is what forged tokens that change
	// all the time cannot do.
	slot = 400 * time.Millisecond

	// enough bounds how often the fast path of Add writes: a number beyond it
	// would tell nothing more.
	enough = 1024
)

// Facts is what is kept of a token beside its text, in a fixed size. Digests
// are compared with each other and mean nothing here.
type Facts struct {
	Expiry   time.Time
	Project  [32]byte
	Identity [32]byte // of what a token speaks for
}

// token is one that is remembered. What is below the line is guarded by mu.
type token struct {
	raw   string
	hash  uint64
	facts Facts
	again atomic.Int64 // arrivals that are not yet counted

	arrived uint64    // order of the last arrival
	total   int64     // arrivals since it is remembered
	counted time.Time // when an arrival was last counted
}

var (
	seed     = maphash.MakeSeed()
	newest   atomic.Pointer[token] // the one that arrived last
	arrivals atomic.Int64          // how often a token came that was not remembered

	mu     sync.Mutex // guards what follows
	tokens = map[string]*token{}
	bytes  int // of the tokens' text
	counts sketch
	clock  uint64 // ticks with each arrival
)

// Add takes note that a request brought raw, and returns the store's own copy
// of it (or a new one, where raw is not remembered). It asks inspect about a
// token that it does not know, and remembers it if inspect says so and STS may
// still take it.
//
// The usual case, the same token as on the request before, takes no lock and
// allocates nothing. Another token that is known costs one short lock.
func Add(raw string, inspect func(raw string) (Facts, bool)) *string {
	if t := newest.Load(); t != nil && t.raw == raw {
		if t.again.Load() < enough {
			t.again.Add(1)
		}
		return &t.raw
	}
	if t := known(raw); t != nil {
		return &t.raw
	}
	facts, ok := inspect(raw)
	if !ok || len(raw) > longest || gone(facts, time.Now()) {
		other := raw
		return &other
	}
	t := &token{raw: strings.Clone(raw), facts: facts, hash: maphash.String(seed, raw)}
	mu.Lock()
	defer mu.Unlock()
	if known := tokens[raw]; known != nil { // came by another request meanwhile
		t = known
	} else {
		tokens[t.raw] = t
		bytes += len(t.raw)
		arrivals.Add(1)
	}
	arrive(t)
	if len(tokens) > most || bytes > maxBytes {
		makeRoom()
	}
	return &t.raw
}

// known returns the token raw and takes note of its arrival, if it is
// remembered.
func known(raw string) *token {
	if len(raw) > longest {
		return nil
	}
	mu.Lock()
	defer mu.Unlock()
	t := tokens[raw]
	if t != nil {
		arrive(t)
	}
	return t
}

// gone reports whether STS takes the token no more.
func gone(f Facts, now time.Time) bool { return !now.Before(f.Expiry.Add(candidate.Grace)) }

// arrive needs mu.
func arrive(t *token) {
	count(t, 1)
	clock++
	t.arrived = clock
	newest.Store(t)
}

// count needs mu. It counts arrivals of t, for evidence once in a slot.
func count(t *token, n int64) {
	now := time.Now()
	counts.decay(now)
	if now.Sub(t.counted) >= halfLife {
		t.total = 0
	}
	t.total += n
	if t.counted.IsZero() || now.Sub(t.counted).Abs() >= slot {
		counts.add(t.hash)
		t.counted = now
	}
}

// settle needs mu. It counts what the fast path of Add put off.
func settle(t *token) {
	if n := t.again.Swap(0); n > 0 {
		count(t, n)
	}
}

// remove needs mu.
func remove(t *token) {
	delete(tokens, t.raw)
	bytes -= len(t.raw)
	newest.CompareAndSwap(t, nil)
}

// ranked is a token as it stood when it was looked at.
type ranked struct {
	*token
	arrived uint64
	count   uint16
	total   int64
}

func byNewness(a, b ranked) int { return cmp.Compare(b.arrived, a.arrived) }

func byCount(a, b ranked) int {
	return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(b.total, a.total), byNewness(a, b))
}

// living needs mu. It removes the tokens that are gone and returns the others.
func living(now time.Time) []ranked {
	counts.decay(now)
	all := make([]ranked, 0, len(tokens))
	for _, t := range tokens {
		if gone(t.facts, now) {
			remove(t)
			continue
		}
		settle(t)
		all = append(all, ranked{t, t.arrived, counts.of(t.hash), t.total})
	}
	return all
}

// makeRoom needs mu. It keeps Least tokens: half of them for being new, and the
// others for how many requests brought them.
func makeRoom() {
	all := living(time.Now())
	if len(all) <= Least {
		return
	}
	slices.SortFunc(all, byNewness)
	rest := all[Least/2:]
	slices.SortFunc(rest, byCount)
	for _, r := range rest[Least-Least/2:] {
		remove(r.token)
	}
}

// Arrivals counts how often a token came that was not remembered and now is.
func Arrivals() int64 { return arrivals.Load() }

// Draw returns the best remembered token for which fits reports true: at an
// even turn the one that most requests brought, the newest among equals; at an
// odd turn the newest.
func Draw(turn int, fits func(raw string, f Facts) bool) (raw string, ok bool) {
	mu.Lock()
	all := living(time.Now())
	mu.Unlock()
	order := byCount
	if turn%2 != 0 {
		order = byNewness
	}
	slices.SortFunc(all, order)
	for _, r := range all {
		if fits(r.raw, r.facts) {
			return r.raw, true
		}
	}
	return "", false
}

// Forget drops the tokens for which drop reports true. Test issuers call it
// when they close, so that one test's tokens are not tried in another's.
func Forget(drop func(raw string) bool) {
	mu.Lock()
	defer mu.Unlock()
	for _, t := range tokens {
		if drop(t.raw) {
			remove(t)
		}
	}
	if len(tokens) == 0 {
		counts = sketch{}
	}
}

const (
	rows     = 4
	columns  = 1 << 13 // with rows and 2 bytes each: 64 KiB
	halfLife = time.Minute

	// once is what an arrival counts for. A sixteenth of it is left after four
	// half-lives, so that a token which comes each few minutes stands out among
	// those that come but once.
	once = 16
)

// sketch counts the arrivals of any number of tokens in a fixed size, so that a
// token which a flood pushed out is known when it comes again. It is a
// count-min sketch with conservative update (Estan and Varghese, "New
// Directions in Traffic Measurement and Accounting", 2002): a count is never
// too low, and too high by little more than the arrivals of a half-life divided
// by the number of columns. The hash is keyed, so nobody can aim for another's
// counters.
type sketch struct {
	cells   [rows][columns]uint16
	decayed time.Time
}

func (s *sketch) cell(row int, hash uint64) *uint16 {
	return &s.cells[row][hash>>(13*row)%columns]
}

// of returns how often the token of hash has arrived lately.
func (s *sketch) of(hash uint64) uint16 {
	least := uint16(math.MaxUint16)
	for row := range rows {
		least = min(least, *s.cell(row, hash))
	}
	return least
}

func (s *sketch) add(hash uint64) {
	count := s.of(hash)
	count = min(count, math.MaxUint16-once) + once
	for row := range rows {
		c := s.cell(row, hash)
		*c = max(*c, count)
	}
}

// decay halves all counts for each half-life that has passed. It goes by the
// monotonic clock; only a test that leaves a fake clock sees that run backwards.
func (s *sketch) decay(now time.Time) {
	passed := now.Sub(s.decayed)
	switch {
	case s.decayed.IsZero() || passed < 0:
		s.decayed = now
	case passed >= 16*halfLife:
		*s = sketch{decayed: now}
	case passed >= halfLife:
		n := int(passed / halfLife)
		for row := range s.cells {
			for column := range s.cells[row] {
				s.cells[row][column] >>= n
			}
		}
		s.decayed = s.decayed.Add(time.Duration(n) * halfLife)
	}
}
