package vercelaws

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/vercelaws/vercelaws/oidc"
)

const (
	// refusalMemory is how long a refusal is given again without asking STS,
	// so that a misconfigured deployment under load does not hammer it.
	refusalMemory = time.Second

	// maxRefusals bounds how many refused tokens are remembered.
	maxRefusals = 16
)

// refusals remembers what STS said no to. Its zero value is ready to use.
type refusals struct {
	mu       sync.Mutex
	byToken  map[tokenID]refusal
	anyToken refusal   // holds for every token
	next     time.Time // when the allowance of refused fetches is whole again
}

// tokenID tells tokens apart without being one.
type tokenID [sha256.Size]byte

func idOf(t oidc.Token) tokenID { return sha256.Sum256([]byte(t.Raw())) }

type refusal struct {
	err error
	at  time.Time
}

func (r refusal) since(t time.Time) error {
	if r.err == nil || !r.at.After(t) {
		return nil
	}
	return r.err
}

// add remembers err if asking again would not change it.
func (r *refusals) add(token oidc.Token, err *AssumeRoleError, now time.Time) {
	switch {
	case err.kind == tokenRefused:
	case err.kind == requestRefused:
		r.pause(err, now)
		return
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byToken == nil {
		r.byToken = make(map[tokenID]refusal)
	}
	if len(r.byToken) >= maxRefusals {
		oldest, at := tokenID{}, now
		for id, known := range r.byToken {
			if !known.at.After(at) {
				oldest, at = id, known.at
			}
		}
		delete(r.byToken, oldest)
	}
	r.byToken[idOf(token)] = refusal{err, now}
}

// of returns how STS refused token after since, or nil.
func (r *refusals) of(token oidc.Token, since time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byToken[idOf(token)].since(since)
}

// pause remembers an error that no other token would change.
func (r *refusals) pause(err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.anyToken = refusal{err, now}
}

// pausing returns the error that pause remembers, while it does.
func (r *refusals) pausing(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.anyToken.since(now.Add(-refusalMemory))
}

// count takes note of a fetch in which every token was refused.
func (r *refusals) count(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next.Before(now) || r.next.Sub(now) > time.Minute { // the clock was set back
		r.next = now
	}
	r.next = r.next.Add(refusalMemory)
}

// turn waits until another fetch may follow the refused ones: the second at
// once, so that a good token after a bad one does not wait, and then one each
// refusalMemory. A flood of forged tokens, each of them new, costs STS no more
// than that.
func (r *refusals) turn(ctx context.Context) error {
	r.mu.Lock()
	pause := r.next.Add(-refusalMemory).Sub(wall())
	r.mu.Unlock()
	if pause <= 0 {
		return nil
	}
	timer := time.NewTimer(min(pause, refusalMemory))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
