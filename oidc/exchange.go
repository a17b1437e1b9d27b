package oidc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ExchangeURL is where Vercel exchanges tokens.
const ExchangeURL = "https://oidc.vercel.com/~token"

const (
	maxExchanged    = 16               // exchanged tokens kept by one source
	exchangeLimit   = 10 * time.Second // for one exchange in all
	exchangeMargin  = 30 * time.Second // before expiry, a new one is fetched
	exchangeRefusal = time.Second      // how long a refusal is given again without asking
	maxAudience     = 2048             // characters
)

// ExchangeOptions are the choices of [Exchange].
type ExchangeOptions struct {
	// JTI becomes the jti claim of the exchanged tokens. If empty, Vercel
	// chooses.
	JTI string

	// Endpoint is where tokens are exchanged. If empty, ExchangeURL.
	Endpoint string

	// HTTPClient makes the requests. If nil, one with default settings.
	// Redirects are not followed in any case: a token must not follow one.
	HTTPClient *http.Client
}

// Exchange returns a source that exchanges source's tokens at Vercel for ones
// with another audience, such as "https://sts.amazonaws.com", so that a
// service which is shown one cannot use it elsewhere.
//
// The issuer of an exchanged token is always the team's,
// https://oidc.vercel.com/<team>, also where the project is in global issuer
// mode: the trust policy must name that one.
//
// Exchanged tokens are kept while they live, and an exchange that fails leaves
// one that lives in use. An exchange takes at most 10 seconds. A fault that may
// pass is tried again, a refusal is not; after a refusal another token of
// source is tried once.
func Exchange(source TokenSource, audience string, optFns ...func(*ExchangeOptions)) TokenSource {
	var o ExchangeOptions
	for _, fn := range optFns {
		fn(&o)
	}
	e := &exchange{source: source, audience: audience, exchanger: newExchanger(audience, o)}
	switch {
	case audience == "":
		e.invalid = errors.New("oidc: Exchange: the audience is empty")
	case len(audience) > maxAudience:
		e.invalid = fmt.Errorf("oidc: Exchange: the audience has %d characters; at most %d make sense", len(audience), maxAudience)
	case strings.ContainsFunc(audience, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		e.invalid = fmt.Errorf("oidc: Exchange: the audience %q has a space or control character", audience)
	}
	return e
}

// exchange is the source. Its audience, jti and endpoint are its own, so its
// tokens are told apart by the source token alone.
type exchange struct {
	source    TokenSource
	audience  string
	invalid   error
	exchanger exchanger

	mu      sync.Mutex
	entries []*exchanged // newest first; guarded by mu
}

// exchanged is what is known of one source token.
type exchanged struct {
	id      [sha256.Size]byte // of the source token
	from    Token             // the source token
	token   Token             // what it was exchanged for; zero if nothing yet
	until   time.Time         // token is given out until then
	refused error             // the endpoint refused from
	at      time.Time         // when it did
	call    *exchangeCall     // under way, or nil
}

// exchangeCall is one exchange that any number of callers wait for.
type exchangeCall struct {
	done  chan struct{}
	token Token // to be read after done
	err   error
}

// Token gives an exchanged token.
func (e *exchange) Token(ctx context.Context) (Token, error) {
	if e.invalid != nil {
		return Token{}, e.invalid
	}
	proven := hintsOf(ctx).proven
	inner := e.translate(ctx)
	var first error
	for range 2 { // the first choice, and one other if that is refused
		from, err := e.source.Token(inner)
		if err == nil {
			err = from.CheckExpiry(time.Now())
		}
		if borrowed := err != nil || from.source == sourceRecent; borrowed && proven.secret != nil && check(ctx, proven) == nil {
			var final *explicitError
			if !errors.As(err, &final) {
				return proven, nil // the last accepted comes before what others brought
			}
		}
		if err != nil {
			if first != nil {
				err = first
			}
			return Token{}, err
		}
		token, err := e.exchange(ctx, from)
		if err == nil {
			return token, nil
		}
		if from.explicit {
			return Token{}, &explicitError{err}
		}
		if token, ok := e.stillAlive(ctx, from); ok {
			return token, nil
		}
		if first == nil {
			first = err
		}
		var refused *exchangeRefused
		if !errors.As(err, &refused) {
			break
		}
		inner = WithoutToken(inner, from)
	}
	return Token{}, first
}

// translate returns ctx with its hints, which speak of exchanged tokens,
// speaking of the tokens that those came from.
func (e *exchange) translate(ctx context.Context) context.Context {
	h := hintsOf(ctx)
	var inner hints
	e.mu.Lock()
	for _, entry := range e.entries {
		raw := entry.token.Raw()
		if raw == "" {
			continue
		}
		if raw == h.proven.Raw() {
			inner.proven = entry.from
		}
		if h.refuses(entry.token) {
			inner.refused = append(inner.refused, entry.from)
		}
	}
	e.mu.Unlock()
	return context.WithValue(ctx, hintsKey{}, &inner)
}

// exchange returns the token for which from is exchanged: one that is kept, or
// a new one. The caller's context ends its wait, not the exchange.
func (e *exchange) exchange(ctx context.Context, from Token) (Token, error) {
	now := time.Now()
	e.mu.Lock()
	entry := e.entry(from)
	if token := entry.token; token.secret != nil && now.Before(entry.until) {
		e.mu.Unlock()
		return token, nil
	}
	if refused := entry.refused; refused != nil && now.Sub(entry.at) < exchangeRefusal {
		e.mu.Unlock()
		return Token{}, refused
	}
	call := entry.call
	if call == nil {
		call = &exchangeCall{done: make(chan struct{})}
		entry.call = call
		go e.run(context.WithoutCancel(ctx), entry, call)
	}
	e.mu.Unlock()
	select {
	case <-call.done:
		return call.token, call.err
	case <-ctx.Done():
		return Token{}, &sourceError{"exchange", context.Cause(ctx)}
	}
}

// run makes one exchange and stores its outcome.
func (e *exchange) run(ctx context.Context, entry *exchanged, call *exchangeCall) {
	ctx, cancel := context.WithTimeout(ctx, exchangeLimit)
	defer cancel()
	token, until, err := e.exchanger.exchange(ctx, entry.from)
	if err != nil {
		err = &sourceError{"exchange for " + e.audience, err}
	}
	e.mu.Lock()
	entry.call, entry.refused = nil, nil
	var refused *exchangeRefused
	switch {
	case err == nil:
		entry.token, entry.until = token, until
	case errors.As(err, &refused):
		entry.refused, entry.at = err, time.Now()
	}
	e.mu.Unlock()
	call.token, call.err = token, err
	close(call.done)
}

// entry needs mu. It returns what is known of from, and makes room for it.
func (e *exchange) entry(from Token) *exchanged {
	id := sha256.Sum256([]byte(from.Raw()))
	for _, entry := range e.entries {
		if entry.id == id {
			return entry
		}
	}
	entry := &exchanged{id: id, from: from}
	e.entries = append([]*exchanged{entry}, e.entries...)
	if len(e.entries) > maxExchanged {
		e.entries = e.entries[:maxExchanged:maxExchanged]
	}
	return entry
}

// stillAlive returns an exchanged token of from's identity that lives.
func (e *exchange) stillAlive(ctx context.Context, from Token) (Token, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, entry := range e.entries {
		if entry.token.secret != nil && !entry.token.explicit && !entry.until.IsZero() &&
			entry.from.sameIdentity(from) && check(ctx, entry.token) == nil {
			return entry.token, true
		}
	}
	return Token{}, false
}
