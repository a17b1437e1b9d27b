package oidcverify

import (
	"context"
	"crypto/rsa"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/vercelaws/vercelaws/internal/clock"
	"github.com/vercelaws/vercelaws/internal/guard"
)

const (
	keysStale  = 5 * time.Minute  // keys of that age are fetched anew in the background
	keysOld    = time.Hour        // of that age, the fetch is given keysWait before they serve
	keysEnd    = 12 * time.Hour   // of that age, they serve no more; the longest that a token of Vercel's lives
	keysWait   = time.Second      // see keysOld
	addressEnd = 50 * time.Minute // a jwks_uri of that age is read again with the keys, so within the hour
	coolDown   = 30 * time.Second // between fetches for unknown keys, and after a failure while keys serve
	minPause   = time.Second      // after a failure while no keys serve; doubles to coolDown
	maxWaiting = 4096             // callers who wait for a fetch
)

// keySet holds the issuer's keys, and fetches them when that is called for. Its
// methods are safe for concurrent use.
type keySet struct {
	issuer string
	client http.Client
	calls  guard.Calls // of client

	mu      sync.Mutex // guards what follows
	current keys
	located time.Time     // when the fetch that read current.address began
	fetched time.Time     // when the fetch of current.byID began
	fetch   *fetch        // under way, or nil
	waiting int           // callers who wait for it
	asked   time.Time     // when a fetch for an unknown key began last
	failed  time.Time     // when a fetch failed last
	pause   time.Duration // after that, while no keys serve
	problem error         // of the last fetch, if it failed
}

// keys is what a fetch brings.
type keys struct {
	address string                      // the jwks_uri; empty if not known
	byID    map[string][]*rsa.PublicKey // those that can verify tokens; nearly always one an ID
	offered int                         // how many keys the issuer has, usable or not
}

// fetch is one fetch of the keys, that any number of callers wait for.
type fetch struct {
	began time.Time
	done  chan struct{}
	err   error // to be read after done
}

// find returns the keys with an ID. The error matches ErrRefused where the issuer
// has none such, else ErrUnavailable.
func (s *keySet) find(ctx context.Context, id string) ([]*rsa.PublicKey, error) {
	known, f, mine, err := s.look(id)
	if f == nil {
		return known, err
	}
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()
	var enough <-chan time.Time // nil where there is nothing to serve meanwhile
	if known != nil {
		timer := time.NewTimer(keysWait - clock.Elapsed(f.began, time.Now()))
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.done:
	case <-enough:
		return known, nil
	case <-ctx.Done():
		if known != nil {
			return known, nil
		}
		return nil, fmt.Errorf("%w: the wait for the issuer's keys was given up: %w", ErrUnavailable, context.Cause(ctx))
	}

	s.mu.Lock()
	found := s.serving(id, clock.Elapsed(s.fetched, time.Now()))
	s.mu.Unlock()
	switch {
	case found != nil:
		return found, nil
	case f.err != nil:
		return nil, fmt.Errorf("%w: cannot reach the issuer for its keys: %w", ErrUnavailable, f.err)
	case mine:
		return nil, refuseSignature("it names a key that the issuer does not have")
	default: // the issuer may have answered before it had the key
		return nil, fmt.Errorf("%w: it names a key that the issuer did not have a moment ago", ErrUnavailable)
	}
}

// look returns the keys with an ID, or why there are none, or a fetch to wait for,
// whether it was begun for this caller, and the keys that serve if it takes long.
// The caller is then counted as waiting.
func (s *keySet) look(id string) (known []*rsa.PublicKey, f *fetch, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	age := clock.Elapsed(s.fetched, now)
	known = s.serving(id, age)
	f = s.fetch
	if f == nil && s.due(known != nil, age, now) {
		f, mine = s.start(now, known == nil), true
	}
	switch {
	case known != nil && (f == nil || age < keysOld || s.waiting == maxWaiting):
		return known, nil, false, nil
	case f != nil && s.waiting == maxWaiting:
		return nil, nil, false, fmt.Errorf("%w: %d others wait for the issuer's keys", ErrUnavailable, maxWaiting)
	case f != nil:
		s.waiting++
		return known, f, mine, nil
	case s.problem != nil && s.none(age):
		return nil, nil, false, fmt.Errorf("%w: cannot reach the issuer for its keys: %w", ErrUnavailable, s.problem)
	default:
		wait := coolDown - clock.Elapsed(s.asked, now)
		return nil, nil, false, fmt.Errorf("%w: it names a key that the issuer did not have a moment ago; the keys are fetched again in %s at the earliest", ErrUnavailable, wait.Round(time.Second))
	}
}

// none needs mu. It reports whether there are no keys that serve.
func (s *keySet) none(age time.Duration) bool { return age >= keysEnd || len(s.current.byID) == 0 }

// serving needs mu. It returns the keys with an ID if keys of that age serve.
func (s *keySet) serving(id string, age time.Duration) []*rsa.PublicKey {
	if s.none(age) {
		return nil
	}
	return s.current.byID[id]
}

// due needs mu. It reports whether a fetch may begin, for a caller whose key is
// known or not.
func (s *keySet) due(known bool, age time.Duration, now time.Time) bool {
	switch {
	case s.none(age):
		return clock.Elapsed(s.failed, now) >= s.pause
	case known:
		return age >= keysStale && clock.Elapsed(s.failed, now) >= coolDown
	case clock.Elapsed(s.asked, now) >= coolDown:
		s.asked = now
		return true
	default:
		return false
	}
}

// start needs mu. It begins a fetch, which is nobody's: neither a caller's
// leaving nor what its context carries touches it. It reads the address of the
// keys again if the one that is known is old or afresh is set.
func (s *keySet) start(now time.Time, afresh bool) *fetch {
	f := &fetch{began: now, done: make(chan struct{})}
	s.fetch = f
	address := s.current.address
	if afresh || clock.Elapsed(s.located, now) >= addressEnd {
		address = ""
	}
	go func() {
		got, err := s.get(address)
		s.mu.Lock()
		s.fetch, s.current.address = nil, got.address // after a failure it is read again
		if err == nil {
			s.current, s.fetched = got, now
			if address == "" {
				s.located = now
			}
			if len(got.byID) == 0 {
				err = fmt.Errorf("none of its %d keys is an RSA key of %d bits or more, with an ID, for RS256 signatures", got.offered, minModulus)
			}
		}
		if s.problem = err; err == nil {
			s.pause = 0
		} else {
			s.failed, s.pause = time.Now(), min(max(2*s.pause, minPause), coolDown)
		}
		s.mu.Unlock()
		f.err = err
		close(f.done)
	}()
	return f
}
