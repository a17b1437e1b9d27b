package vercelaws

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/vercelaws/vercelaws/internal/deployment"
	"github.com/vercelaws/vercelaws/internal/guard"
	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/recent"
	"github.com/vercelaws/vercelaws/oidc"
)

const (
	// refusedLately is how long a refused token comes after all others. What
	// refused it may be mended, and a flood of new tokens must not keep the good
	// one out then.
	refusedLately = 30 * time.Second

	// tokenGrace is how long a fetch that has run out of tokens waits for a
	// request that brings one. In that time the requests that came together
	// with the first have all been seen.
	tokenGrace = 10 * time.Millisecond
)

// tokenLeaf is a part of the token source that has no other source inside it.
type tokenLeaf = leaf.Leaf[oidc.Token]

// candidate is a token that STS may accept, as it came.
type candidate struct {
	token oidc.Token
	leaf  *tokenLeaf // which says what is done to it before STS is given it
	own   bool       // it is the context's own
	given bool       // it was given by oidc.ContextWithToken
}

// lives reports whether c is a candidate, and its token has not expired.
func (c candidate) lives() bool { return c.leaf != nil && c.token.CheckExpiry(time.Now()) == nil }

// candidates yields the tokens of a fetch, in the order in which they are tried, or
// the error of a source that has none. Then the candidate's own reports whether the
// source is the context.
//
// A token that comes up at several places is tried once.
func (f *fetcher) candidates(ctx context.Context) iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		w := &walk{fetcher: f, ctx: ctx, yield: yield}
		if l := f.request(); l != nil && l.Request.Given(ctx) {
			// The caller's choice: nothing stands in for it.
			c, err := w.read(l)
			c.given = true
			yield(c, err)
			return
		}
		for i := range f.leaves {
			l := &f.leaves[i]
			if l.Request == nil {
				w.offer(w.read(l)) // 4. file, variable, CLI, a source of the user's own
				continue
			}
			w.offer(w.read(l)) // 1. the request's own token
			w.accepted()       // 2. the token that STS accepted last
			w.recent()         // 3. those of recent requests
		}
		w.refusedLately() // 5. those that STS refused lately, the one refused longest ago first
		w.justExpired()   // 6. those that have just expired, which STS still takes
		w.meanwhile()     // 7. those that requests bring meanwhile, until there is none for a moment
	}
}

// walk is one way through the candidates.
type walk struct {
	*fetcher
	ctx   context.Context
	yield func(candidate, error) bool
	over  bool     // the fetch wants no other candidate
	tried []string // JWTs; pacing keeps them few

	draws  int  // of recent
	newest bool // the next one goes by newness

	refused []candidate // put off to 5
	expired []candidate // put off to 6
}

// request returns the leaf that is oidc.FromRequest, or nil. Only a source that
// has it borrows.
func (f *fetcher) request() *tokenLeaf {
	for i := range f.leaves {
		if f.leaves[i].Request != nil {
			return &f.leaves[i]
		}
	}
	return nil
}

// read asks a leaf for its token.
func (w *walk) read(l *tokenLeaf) (candidate, error) {
	c := candidate{leaf: l, own: l.Request != nil}
	if w.over {
		return c, nil
	}
	var err error
	if c.own {
		c.token, err = l.Read(w.ctx)
	} else { // it may be a user's own
		c.token, err = guard.Do(w.ctx, &w.sourceCalls, "Options.TokenSource", userGrace, l.Read)
	}
	if err != nil {
		return c, err
	}
	if err := l.Check(c.token); err != nil && !inGrace(c.token) {
		return c, err
	}
	if c.own && !l.Request.Given(w.ctx) {
		if err := foreign(c.token); err != nil {
			return c, err
		}
	}
	return c, nil
}

// foreign says why a request's token is not of this deployment, or nil.
func foreign(t oidc.Token) error {
	if err := deployment.Foreign(t.ProjectID, t.Environment); err != nil {
		return fmt.Errorf("%w but one that is not used: %w", oidc.ErrNoToken, err)
	}
	return nil
}

// inGrace reports whether t has expired and STS takes it all the same.
func inGrace(t oidc.Token) bool {
	now := time.Now()
	return t.Raw() != "" && t.CheckExpiry(now) != nil && now.Before(t.Expiry.Add(leaf.Grace))
}

// give yields c, unless it was tried.
func (w *walk) give(c candidate) {
	if raw := c.token.Raw(); !w.over && !slices.Contains(w.tried, raw) {
		w.tried = append(w.tried, raw)
		w.over = !w.yield(c, nil)
	}
}

// offer yields c, or puts it off to a later place. If err is not nil, there is no
// token, and offer yields the error.
func (w *walk) offer(c candidate, err error) {
	switch {
	case w.over:
	case err != nil:
		w.over = !w.yield(c, err) || w.ctx.Err() != nil
	case inGrace(c.token):
		w.expired = append(w.expired, c)
	case time.Since(w.known.When(c.token.Raw())) < refusedLately:
		w.refused = append(w.refused, c)
	default:
		w.give(c)
	}
}

// accepted offers the token that STS accepted last, while it can be used.
func (w *walk) accepted() {
	if c := w.last(); c.lives() || inGrace(c.token) {
		w.offer(c, nil)
	}
}

// recent offers tokens of recent requests that STS has not refused: in turn the
// one that most requests brought and the newest. Every third turn is for the one
// that was refused longest ago, if not lately, so that a role which was mended
// serves again soon. It reports whether there was one.
//
// A token is drawn when its turn has come: a better one may come while the
// others before it are paced.
func (w *walk) recent() (any bool) {
	for !w.over && w.refusals.Wait(w.ctx) == nil {
		fresh, refused := w.borrowable()
		if len(fresh) == 0 {
			return any
		}
		any = true
		w.draws++
		if w.draws%3 == 0 && len(refused) > 0 {
			if oldest := slices.MinFunc(refused, byRefusal); time.Since(oldest.refused) >= refusedLately {
				w.give(oldest.candidate)
				continue
			}
		}
		if w.newest {
			w.give(slices.MaxFunc(fresh, byArrival).candidate)
		} else {
			w.give(slices.MaxFunc(fresh, byCount).candidate)
		}
		w.newest = !w.newest
	}
	return any
}

// refusedLately yields the tokens that STS refused, the one refused longest ago
// first.
func (w *walk) refusedLately() {
	for !w.over && w.refusals.Wait(w.ctx) == nil {
		_, all := w.borrowable()
		for _, c := range w.refused {
			if !slices.Contains(w.tried, c.token.Raw()) {
				all = append(all, borrowed{candidate: c, refused: w.known.When(c.token.Raw())})
			}
		}
		if len(all) == 0 {
			return
		}
		w.give(slices.MinFunc(all, byRefusal).candidate)
	}
}

// justExpired yields tokens that have expired and that STS still accepts.
func (w *walk) justExpired() {
	if l := w.request(); l != nil {
		for _, s := range l.Request.Recent().All(isForeign) {
			if inGrace(s.Token) && w.mayBorrow(s.Token) {
				w.expired = append(w.expired, candidate{token: s.Token, leaf: l})
			}
		}
	}
	for _, c := range w.expired {
		w.give(c)
	}
}

// meanwhile waits a moment for a request that brings another token. One that
// brings none which can be used ends the fetch.
//
// A caller who joins between the last look here and the end of the SDK's single
// flight shares its failure all the same, and so does one who joins a fetch that
// has no time left for its token. That gap cannot be closed from inside;
// TestPoisonWindow measures it.
func (w *walk) meanwhile() {
	for more := w.request() != nil; more && !w.over; more = w.recent() {
		timer := time.NewTimer(tokenGrace)
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// borrowed is a token of a recent request.
type borrowed struct {
	candidate
	recent.Seen[oidc.Token]
	refused time.Time // when STS refused it, or zero
}

func byArrival(a, b borrowed) int { return cmp.Compare(a.Arrived, b.Arrived) }
func byCount(a, b borrowed) int   { return cmp.Or(cmp.Compare(a.Count, b.Count), byArrival(a, b)) }
func byRefusal(a, b borrowed) int { return a.refused.Compare(b.refused) }

// borrowable returns the tokens of recent requests that can be tried: those that STS
// has never refused to this provider, and the others.
func (w *walk) borrowable() (fresh, refused []borrowed) {
	l := w.request()
	if l == nil {
		return nil, nil
	}
	for _, s := range l.Request.Recent().All(isForeign) {
		if slices.Contains(w.tried, s.Token.Raw()) || l.Check(s.Token) != nil || !w.mayBorrow(s.Token) {
			continue
		}
		b := borrowed{candidate{token: s.Token, leaf: l}, s, w.known.When(s.Token.Raw())}
		if b.refused.IsZero() {
			fresh = append(fresh, b)
		} else {
			refused = append(refused, b)
		}
	}
	return fresh, refused
}

// mayBorrow reports whether a token of another request may stand in: it must be
// of the identity that STS accepted last, if there is one.
func (w *walk) mayBorrow(t oidc.Token) bool {
	last := w.last()
	return last.leaf == nil && !last.given || last.token.SameIdentity(t)
}

func isForeign(t oidc.Token) bool { return foreign(t) != nil }

// RetryNow reports whether a fetch failed for want of a good token, and a request
// has brought one since that can be tried.
func (f *fetcher) RetryNow(err error) bool {
	if nextAfter(err) != another {
		return false
	}
	fresh, _ := (&walk{fetcher: f}).borrowable()
	return len(fresh) > 0
}
