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

	// lastChoice is how long a refused token comes after all others. A role may
	// be mended, and a flood of new tokens must not keep the good one out then.
	lastChoice = 30 * time.Second

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
	any   refusal // the last one that another token would have met too
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
	latest := refusal{err, time.Now()}
	r.known[idOf(token.Raw())] = latest
	if !anotherMayDo(err) {
		r.any = latest
	}
}

// has reports whether STS has refused a token lately: others come before it.
func (r *refusals) has(raw string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.known[idOf(raw)]
	return ok && time.Since(known.at) < lastChoice
}

// forget drops what is known of a token that STS has accepted after all, as
// after its trust policy was mended.
func (r *refusals) forget(token oidc.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, idOf(token.Raw()))
}

// recent is how STS refused token, or whatever token it was, less than
// sameAnswer ago, or nil.
func (r *refusals) recent(token oidc.Token) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, known := range []refusal{r.any, r.known[idOf(token.Raw())]} {
		if known.err != nil && time.Since(known.at) < sameAnswer {
			return known.err
		}
	}
	return nil
}
