package vercelaws

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/vercelaws/vercelaws/internal/allowance"
	"github.com/vercelaws/vercelaws/oidc"
)

const (
	// sameAnswer is how long a refusal is given again without asking STS, so
	// that callers of a misconfigured deployment have it at once.
	sameAnswer = time.Second

	// maxRefusals bounds how many refused tokens are remembered. At the rate
	// that is allowed, it takes eight minutes to fill.
	maxRefusals = 1024
)

// refusals remembers which tokens STS said no to, for this role, and bounds how
// often it may say so.
type refusals struct {
	allowed allowance.Allowance

	mu    sync.Mutex // guards what follows
	known map[tokenID]refusal
}

// tokenID tells tokens apart without being one.
type tokenID [sha256.Size]byte

func idOf(raw string) tokenID { return sha256.Sum256([]byte(raw)) }

// refusal is one. Its time is only used for its monotonic reading, which does
// not jump when the clock is set.
type refusal struct {
	err error
	at  time.Time
}

func (r *refusals) add(token oidc.Token, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[tokenID]refusal{}
	}
	if len(r.known) >= maxRefusals {
		var oldest tokenID
		at := time.Now()
		for id, known := range r.known {
			if !known.at.After(at) {
				oldest, at = id, known.at
			}
		}
		delete(r.known, oldest)
	}
	r.known[idOf(token.Raw())] = refusal{err, time.Now()}
}

// has reports whether STS has refused a token: others come before it.
func (r *refusals) has(raw string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.known[idOf(raw)]
	return ok
}

// forget drops what is known of a token that STS has accepted after all, as
// after its trust policy was mended.
func (r *refusals) forget(token oidc.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, idOf(token.Raw()))
}

// recent is how STS refused token less than sameAnswer ago, or nil.
func (r *refusals) recent(token oidc.Token) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[idOf(token.Raw())] // if none, it was long ago
	if time.Since(known.at) >= sameAnswer {
		return nil
	}
	return known.err
}
