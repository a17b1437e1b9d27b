package vercelaws

import (
	"crypto/sha256"
	"maps"
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
)

// refusals remembers which tokens STS said no to, for this role, and bounds how
// often it may say so.
type refusals struct {
	allowed allowance.Allowance

	mu    sync.Mutex // guards what follows
	known map[tokenID]refusal
	sure  refusal // the last one that another token would have met too
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
	// So they are few: no more than are allowed in that time.
	maps.DeleteFunc(r.known, func(_ tokenID, known refusal) bool { return time.Since(known.at) >= lastChoice })
	latest := refusal{err, time.Now()}
	r.known[idOf(token.Raw())] = latest
	if !anotherMayDo(err) {
		r.sure = latest
	}
}

// has reports whether STS has refused a token lately: others come before it.
func (r *refusals) has(raw string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.known[idOf(raw)].at) < lastChoice // if none, it was long ago
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
	for _, known := range []refusal{r.sure, r.known[idOf(token.Raw())]} {
		if time.Since(known.at) < sameAnswer {
			return known.err
		}
	}
	return nil
}
