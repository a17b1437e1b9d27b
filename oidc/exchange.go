package oidc

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/pace"
	"github.com/vercelaws/vercelaws/internal/refusals"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

// ExchangeURL is where Vercel exchanges tokens.
const ExchangeURL = "https://oidc.vercel.com/~token"

const (
	exchangeLimit  = 10 * time.Second // for one exchange in all
	exchangeMargin = 30 * time.Second // before its expiry, a kept token is replaced
	maxExchanged   = 256              // exchanged tokens kept by one source
	maxExchanges   = 1024             // under way at a time
	maxAudience    = 2048             // characters
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
	// ten seconds. Redirects are not followed in any case: a token must not
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
// A token that was exchanged is kept until half a minute before its end, or as
// long as the endpoint says. Where it cannot be exchanged anew, it serves to its
// end. A call takes at most 10 seconds where source heeds its context. A fault
// that may pass is tried again, twice. A refusal is given again for a second
// without asking.
//
// Calls do not wait for each other. While an endpoint does nothing but fail, it
// gets at most three requests and two a second after that, counted from the first
// failure, from all sources of the process. How many refused tokens a second it
// gets from this source is not bounded: each call is the caller's decision. A
// provider of package vercelaws, which tries one token after the other, bounds
// that itself.
func Exchange(source TokenSource, audience string, optFns ...func(*ExchangeOptions)) TokenSource {
	var o ExchangeOptions
	for _, fn := range optFns {
		fn(&o)
	}
	e := &exchange{source: source, exchanger: newExchanger(audience, o)}
	_, notURL := url.Parse(e.exchanger.endpoint)
	invalid := ""
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
	invalid   error
	exchanger *exchanger
	refused   refusals.Memory // tokens that the endpoint refused
	calls     singleflight.Group
	underWay  atomic.Int32 // of them

	mu   sync.Mutex
	kept []exchanged // newest first; guarded by mu
}

// exchanged is a token as it came and what it was exchanged for.
type exchanged struct {
	raw   func() string // of the token as it came; a function, as no printer looks into one
	token Token
	until time.Time // when it is to be exchanged anew; zero: at once
}

// Invalid says what is wrong with the source's options, or nil.
func (e *exchange) Invalid(leaf.Seal) error { return e.invalid }

// Leaves makes the source one that a provider can take apart.
func (e *exchange) Leaves(leaf.Seal) []leaf.Leaf[Token] { return withStep(e.source, e.step) }

// Token gives an exchanged token.
func (e *exchange) Token(ctx context.Context) (Token, error) {
	if e.invalid != nil {
		return Token{}, e.invalid
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeLimit)
	defer cancel()
	from, err := live(e.source.Token(ctx))
	if err != nil {
		return Token{}, err
	}
	for attempt := 1; ; attempt++ {
		token, err := e.step(ctx, from)
		failure, _ := err.(*ExchangeError)
		if err == nil {
			return live(token, nil)
		}
		// What the endpoint did not answer has been tried again already.
		if failure == nil || failure.Refused || failure.Status == 0 || attempt == exchangeAttempts || !pace.Pause(ctx, attempt) {
			return Token{}, err
		}
	}
}

// step exchanges one token, with the one answer that the endpoint gives: what it
// says may be about this token, so whoever has another tries that before this
// one again. Its error is an *ExchangeError.
func (e *exchange) step(ctx context.Context, from Token) (Token, error) {
	if e.invalid != nil {
		return Token{}, e.invalid
	}
	kept, until := e.find(from)
	if time.Now().Before(until) {
		return kept, nil
	}
	token, err := e.exchange(ctx, from)
	if err != nil && checkNow(kept) == nil {
		return kept, nil
	}
	return token, err
}

// exchange makes the exchange, or joins the one that is under way for this
// token. The caller's context ends its wait, not the exchange.
func (e *exchange) exchange(ctx context.Context, from Token) (Token, error) {
	if err := e.refused.Answer(from.Raw()); err != nil {
		return Token{}, err
	}
	id := sha256.Sum256([]byte(from.Raw())) // a printer may look into calls
	answers := e.calls.DoChan(string(id[:]), func() (any, error) {
		defer e.underWay.Add(-1)
		if e.underWay.Add(1) > maxExchanges {
			return nil, e.exchanger.fault(from, 0, "too many other exchanges are under way")
		}
		// A little less than a caller has, so that a caller hears what went wrong.
		ctx, cancel := context.WithTimeout(context.Background(), exchangeLimit-2*clientGrace)
		defer cancel()
		token, until, failure := e.exchanger.exchange(ctx, from)
		switch {
		case failure == nil:
			e.keep(exchanged{from.Raw, token, until})
		case failure.Refused:
			e.refused.Add(from.Raw(), failure)
			return nil, failure
		default:
			return nil, failure
		}
		e.refused.Forget(from.Raw())
		return token, nil
	})
	select {
	case a := <-answers:
		if a.Err != nil {
			return Token{}, a.Err
		}
		return a.Val.(Token), nil
	case <-ctx.Done():
		return Token{}, e.exchanger.ended(from, "no answer in time", context.Cause(ctx))
	}
}

// find returns what from was exchanged for last, and until when that need not be
// done anew.
func (e *exchange) find(from Token) (Token, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range e.kept {
		if k.raw() == from.Raw() {
			return k.token, k.until
		}
	}
	return Token{}, time.Time{}
}

func (e *exchange) keep(k exchanged) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = slices.DeleteFunc(e.kept, func(other exchanged) bool { return other.raw() == k.raw() })
	e.kept = slices.Insert(e.kept, 0, k)
	e.kept = e.kept[:min(len(e.kept), maxExchanged)]
}
