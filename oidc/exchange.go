package oidc

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/candidate"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

// ExchangeURL is where Vercel exchanges tokens.
const ExchangeURL = "https://oidc.vercel.com/~token"

const (
	exchangeLimit = 10 * time.Second // for one exchange in all
	maxAudience   = 2048             // characters
)

// ExchangeOptions are the choices of [Exchange].
type ExchangeOptions struct {
	// JTI becomes the jti claim of the exchanged tokens. If empty, Vercel
	// chooses.
	JTI string

	// Endpoint is where tokens are exchanged. If empty, ExchangeURL.
	Endpoint string

	// HTTPClient makes the requests. If nil, one that speaks HTTP/1.1 through
	// the proxy that the environment names, and keeps an idle connection for
	// five seconds. Redirects are not followed in any case: a token must not
	// follow one.
	HTTPClient *http.Client
}

// ExchangeError says that [Exchange] had a token and could not exchange it.
// Find it with [errors.As]. Where a context ended it, it matches that context's
// cause, such as context.DeadlineExceeded. It matches no other error of this
// package: a source that has no token to exchange says so itself.
type ExchangeError struct {
	Audience string // the audience that was asked for
	Issuer   string // iss of the token that was to be exchanged
	Subject  string // its sub

	// Status is the HTTP status of the last answer, 0 if there was none.
	Status int

	// Refused says that asking again with this token will not help until
	// something is changed. Otherwise the fault may pass by itself.
	Refused bool

	message string
	ended   error // the cause of the context's end, or nil
}

// Error says what was asked for, with which token, and what went wrong.
func (e *ExchangeError) Error() string {
	about := ""
	if e.Issuer != "" {
		about = fmt.Sprintf(" (token of issuer %s, subject %s)", scrub.Quote(e.Issuer, maxClaim), scrub.Quote(e.Subject, maxClaim))
	}
	return fmt.Sprintf("oidc: exchange for %s: %s%s", scrub.Quote(e.Audience, maxClaim), e.message, about)
}

// Unwrap returns the cause of the context's end, if that ended the exchange.
func (e *ExchangeError) Unwrap() error { return e.ended }

// Exchange returns a source that exchanges source's tokens at Vercel for ones
// with another audience, such as "https://sts.amazonaws.com", so that a
// service which is shown one cannot use it elsewhere. See
// https://vercel.com/docs/oidc. Where it has a token and cannot exchange it, its
// error matches *[ExchangeError].
//
// The issuer of an exchanged token is always the team's,
// https://oidc.vercel.com/<team>, also where the project is in global issuer
// mode: the trust policy must name that one.
//
// Exchanged tokens are kept while they live, and an exchange that fails leaves
// one that lives in use. A call takes at most 10 seconds where source heeds its
// context. A fault that may pass is tried again, twice in an exchange. Where a
// token is refused, source is asked for another, and those that were refused in
// the last 30 seconds come last.
//
// The cost is bounded for a source as a whole: four refused exchanges and two a
// second after that; while the endpoint faults, as it does also with a token that
// has expired, three requests and two a second after that. At most 64 exchanges
// are under way at a time, and four requests, also where they never return.
func Exchange(source TokenSource, audience string, optFns ...func(*ExchangeOptions)) TokenSource {
	var o ExchangeOptions
	for _, fn := range optFns {
		fn(&o)
	}
	e := &exchange{source: source, audience: audience, exchanger: newExchanger(audience, o)}
	invalid := ""
	_, notURL := url.Parse(e.exchanger.endpoint)
	switch {
	case audience == "":
		invalid = "the audience is empty"
	case len(audience) > maxAudience:
		invalid = fmt.Sprintf("the audience has %d characters; at most %d make sense", len(audience), maxAudience)
	case strings.ContainsFunc(audience, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		invalid = "the audience has a space or control character"
	case notURL != nil:
		invalid = "ExchangeOptions.Endpoint is not a URL"
	}
	if invalid != "" {
		e.invalid = &ExchangeError{Audience: audience, Refused: true, message: invalid}
	}
	return e
}

// exchange is the source. Its audience, jti and endpoint are its own, so its
// tokens are told apart by the source token alone.
type exchange struct {
	source    TokenSource
	audience  string
	invalid   error
	exchanger *exchanger
	memory    exchangeMemory
}

// Token gives an exchanged token.
func (e *exchange) Token(ctx context.Context) (Token, error) {
	if e.invalid != nil {
		return Token{}, e.invalid
	}
	h := candidate.Of(ctx)
	proven, _ := tokenFrom(ctx, Token{source: sourceProven + exchangedSuffix}, h.Proven)
	ctx, cancel := context.WithTimeout(ctx, exchangeLimit)
	defer cancel()

	tried := map[tokenID]bool{}
	var first error
	var faulted Token // by what may pass; one more of its kind is tried, lest it be the token's fault
	for {
		from, err := e.next(ctx, h, tried)
		var final *explicitError
		borrowed := err != nil && !errors.As(err, &final) || from.source == sourceRecent
		if borrowed && proven.secret != nil {
			return proven, nil // the last accepted comes before what others brought
		}
		if err != nil {
			return Token{}, cmp.Or(first, err)
		}
		if faulted.secret != nil && !from.sameIdentity(faulted) {
			return Token{}, first
		}
		tried[idOf(from.Raw())] = true

		token, err := e.exchange(ctx, from)
		if err == nil {
			token.source, token.explicit = from.source+exchangedSuffix, from.explicit
			if err = check(ctx, token); err == nil {
				return token, nil
			}
			err = &sourceError{token.source, err}
		}
		if from.explicit {
			return Token{}, &explicitError{err}
		}
		if token, ok := e.memory.alive(ctx, from); ok {
			return token, nil
		}
		first = cmp.Or(first, err)
		var failure *ExchangeError
		if errors.As(err, &failure) && !failure.Refused {
			if failure.Status == 0 || faulted.secret != nil {
				return Token{}, first
			}
			faulted = from
		}
	}
}

const exchangedSuffix = ", exchanged"

// next asks the source for a token that this call has not tried: one that the
// endpoint has not refused, if there is any.
func (e *exchange) next(ctx context.Context, outer candidate.Hints, tried map[tokenID]bool) (Token, error) {
	inner := e.translate(outer, tried)
	anew := inner.Refused // what the caller of this source passes over
	inner.Refused = func(raw string) bool { return anew(raw) || e.memory.refused.Has(raw) }
	t, err := e.ask(ctx, inner)
	var final *explicitError
	if err == nil || errors.As(err, &final) || ctx.Err() != nil {
		return t, err
	}
	inner.Refused = anew
	if t, again := e.ask(ctx, inner); again == nil {
		return t, nil
	}
	return Token{}, err
}

// ask asks the source, which may be a user's own that knows nothing of hints.
func (e *exchange) ask(ctx context.Context, h candidate.Hints) (Token, error) {
	ctx = candidate.With(ctx, h)
	t, err := e.source.Token(ctx)
	if err != nil {
		return Token{}, err
	}
	if t.secret == nil {
		return Token{}, fmt.Errorf("oidc: %w: the source of Exchange returned a zero Token and no error", ErrNoToken)
	}
	if err := check(ctx, t); err != nil {
		return Token{}, &sourceError{t.source, err}
	}
	return t, nil
}

// translate returns hints, which speak of exchanged tokens, speaking of the
// tokens that those came from.
func (e *exchange) translate(h candidate.Hints, tried map[tokenID]bool) candidate.Hints {
	became := func(raw string, report func(string) bool) bool {
		if report == nil {
			return false
		}
		token := e.memory.becameOf(idOf(raw))
		return token != "" && report(token)
	}
	return candidate.Hints{
		Proven:       e.memory.originOf(h.Proven),
		Tried:        func(raw string) bool { return tried[idOf(raw)] || became(raw, h.Tried) },
		Refused:      func(raw string) bool { return !h.AllowRefused && became(raw, h.Refused) },
		AllowExpired: h.AllowExpired,
		Turn:         h.Turn + len(tried),
	}
}

// exchange returns the token for which from is exchanged: one that is kept, or
// a new one. The caller's context ends its wait, not the exchange.
func (e *exchange) exchange(ctx context.Context, from Token) (Token, error) {
	call, token, err := e.memory.lookUp(from, func(call *exchangeCall) { go e.run(from, call) })
	switch {
	case err == errBusy:
		return Token{}, e.exchanger.fault(from, 0, err.Error())
	case call == nil:
		return token, err
	}
	select {
	case <-call.done:
		return call.token, call.err
	case <-ctx.Done():
		return Token{}, e.exchanger.ended(from, "no answer in time", context.Cause(ctx))
	}
}

// run makes one exchange and stores its outcome. It is nobody's in particular:
// it ends with none of its callers, and sees nothing of their contexts.
func (e *exchange) run(from Token, call *exchangeCall) {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeLimit)
	defer cancel()
	token, until, err := e.exchanger.exchange(ctx, from)
	e.memory.store(from, call, token, until, err)
}

// tokenID tells tokens apart without being one.
type tokenID [sha256.Size]byte

func idOf(raw string) tokenID { return sha256.Sum256([]byte(raw)) }
