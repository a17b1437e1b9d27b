package oidcverify

import (
	"context"
	"crypto/rsa"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	keysStale = 5 * time.Minute  // keys of that age are fetched anew in the background
	keysOld   = time.Hour        // of that age, the fetch is given keysWait before they serve
	keysEnd   = 12 * time.Hour   // of that age, they serve no more; the longest that a token of Vercel's lives
	keysWait  = time.Second      // see keysOld
	coolDown  = 30 * time.Second // between fetches for unknown keys, and after a failure while keys serve
	minPause  = time.Second      // after a failure while no keys serve; doubles to coolDown
)

// keySet is a gooidc.KeySet: it holds the issuer's keys, and fetches them when
// that is called for. Its methods are safe for concurrent use.
type keySet struct {
	issuer   string
	client   *http.Client
	standing atomic.Int32 // attempts under way, those included that nobody waits for any more

	mu      sync.Mutex                  // guards what follows
	keys    map[string][]*rsa.PublicKey // by key ID
	address string                      // the jwks_uri; empty until known
	fetched time.Time                   // when the fetch of keys began
	fetch   *fetch                      // under way, or nil
	asked   time.Time                   // when a fetch for an unknown key began last
	failed  time.Time                   // when a fetch failed last
	pause   time.Duration               // after that, while no keys serve
	problem error                       // of the last fetch, if it failed
}

// fetch is one fetch of the keys, that any number of callers wait for.
type fetch struct {
	began time.Time
	done  chan struct{}
	err   error // to be read after done
}

// find returns the keys with an ID: nearly always one. The error matches
// ErrRefused where the issuer has none such, else ErrUnavailable.
func (s *keySet) find(ctx context.Context, id string) ([]*rsa.PublicKey, error) {
	s.mu.Lock()
	now := time.Now()
	age := elapsed(s.fetched, now)
	known := s.serving(id, age)
	if known != nil && age < keysStale {
		s.mu.Unlock()
		return known, nil
	}
	f, mine := s.fetch, false
	if f == nil && s.due(known != nil, age, now) {
		f, mine = s.start(now), true
	}
	problem, wait := s.problem, coolDown-elapsed(s.asked, now)
	s.mu.Unlock()

	var enough <-chan time.Time // nil where there is nothing to serve meanwhile
	switch {
	case known != nil && (f == nil || age < keysOld):
		return known, nil
	case known != nil:
		timer := time.NewTimer(keysWait - elapsed(f.began, now))
		defer timer.Stop()
		enough = timer.C
	case f == nil && age < keysEnd:
		return nil, fmt.Errorf("%w: it names a key that the issuer did not have a moment ago; the keys are fetched again in %s at the earliest", ErrUnavailable, wait.Round(time.Second))
	case f == nil:
		return nil, fmt.Errorf("%w: cannot reach the issuer for its keys: %w", ErrUnavailable, problem)
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
	found := s.serving(id, elapsed(s.fetched, time.Now()))
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

// serving needs mu. It returns the keys with an ID if keys of that age serve.
func (s *keySet) serving(id string, age time.Duration) []*rsa.PublicKey {
	if age >= keysEnd {
		return nil
	}
	return s.keys[id]
}

// due needs mu. It reports whether a fetch may begin, for a caller whose key is
// known or not.
func (s *keySet) due(known bool, age time.Duration, now time.Time) bool {
	switch {
	case age >= keysEnd:
		return elapsed(s.failed, now) >= s.pause
	case known:
		return elapsed(s.failed, now) >= coolDown
	case elapsed(s.asked, now) >= coolDown:
		s.asked = now
		return true
	default:
		return false
	}
}

// start needs mu. It begins a fetch, which is nobody's: neither a caller's
// leaving nor what its context carries touches it.
func (s *keySet) start(now time.Time) *fetch {
	f := &fetch{began: now, done: make(chan struct{})}
	s.fetch = f
	address := s.address
	go func() {
		out := s.get(address)
		s.mu.Lock()
		s.fetch, s.problem, s.address = nil, out.err, out.address
		if out.err == nil {
			s.keys, s.fetched, s.pause = out.keys, now, 0
		} else {
			s.failed, s.pause = time.Now(), min(max(2*s.pause, minPause), coolDown)
		}
		s.mu.Unlock()
		f.err = out.err
		close(f.done)
	}()
	return f
}

// elapsed returns how long ago since is: by the monotonic clock, which setting
// the wall clock does not touch, or by the wall clock if that says longer, as
// it does where the machine slept.
func elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

var _ gooidc.KeySet = (*keySet)(nil)

// VerifySignature returns the payload of a token that one of the issuer's keys
// has signed. The error matches ErrRefused or ErrUnavailable.
func (s *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, refuseSignature("") // go-jose's own words can hold parts of the token
	}
	id := signed.Signatures[0].Protected.KeyID
	if id == "" {
		return nil, refuseSignature("it names no key")
	}
	keys, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, refuseSignature("")
}
