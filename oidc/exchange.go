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
	exchangeLimit  = 10 * time.Second // for one exchange with all its attempts
	exchangeMargin = 30 * time.Second // how long before its expiry a kept token is replaced
	maxExchanged   = 256              // exchanged tokens that one source keeps
	maxExchanges   = 1024             // exchanges of one source at a time
	maxAudience    = 2048             // characters
)

// ExchangeOptions are the choices of [Exchange].
type ExchangeOptions struct {
	// JTI becomes the jti claim of the exchanged tokens. If empty, Vercel
	// chooses.
	JTI string

	// Endpoint is where tokens are exchanged. If empty, ExchangeURL.
	Endpoint string

	// HTTPClient makes the requests. If nil, one that speaks HTTP/1.1, uses the
	// proxy that the environment names, and keeps an idle connection for ten
	// seconds. Neither follows a redirect: the token must go nowhere else.
	HTTPClient *http.Client
}

// ExchangeError says that [Exchange] had a token and could not exchange it.
// Find it with [errors.As]. If a context ended the exchange, it matches that
// context's cause, such as context.DeadlineExceeded. It matches no other error of
// this package: a source without a token returns an error of its own.
type ExchangeError struct {
	Audience string // the audience that was asked for
	Issuer   string // iss of the token that was to be exchanged
	Subject  string // its sub

	// Status is the HTTP status of the last answer, 0 if there was none.
	Status int

	// Refused reports whether the exchange of this token will fail again until
	// something is changed. If false, the fault may pass by itself.
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

// Unwrap returns the cause of the context that ended the exchange, or nil.
func (e *ExchangeError) Unwrap() error { return e.ended }

// Exchange returns a source that exchanges source's tokens at Vercel for ones
// with another audience, such as "https://sts.amazonaws.com", so that a service
// that receives one cannot use it elsewhere. See https://vercel.com/docs/oidc. If
// source has a token and it cannot be exchanged, the error matches
// *[ExchangeError].
//
// The issuer of an exchanged token is always the team's,
// https://oidc.vercel.com/<team>, even if the project is in global issuer mode:
// the trust policy must name that one.
//
// An exchanged token is kept until half a minute before its expiry, or before the time
// that the endpoint gives, if that is earlier. If the endpoint gives none, each call
// makes an exchange. If an exchange fails, the last token is used until it expires. A
// call takes at most 10 seconds if source heeds its
// context. A fault that may pass is tried again, twice. For a second after a
// refusal, the same error is returned without a request.
//
// Calls do not wait for each other. While an endpoint only fails, it gets at most
// three requests and two a second after that, counted from the first failure, from
// all sources of the process. The number of refused tokens is not bounded: each
// call is the caller's decision. A provider of package vercelaws, which tries one
// token after the other, bounds it.
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

// exchange is the source. It has one audience, jti and endpoint, so the token to be
// exchanged decides which exchanged token is used.
type exchange struct {
	source    TokenSource
	invalid   error
	exchanger *exchanger
	refused   refusals.Memory // tokens that the endpoint refused
	calls     singleflight.Group
	underWay  atomic.Int32 // number of calls

	mu   sync.Mutex
	kept []exchanged // newest first; guarded by mu
}

// exchanged is the result of an exchange.
type exchanged struct {
	raw   func() string // JWT that was exchanged; a function, since no printer looks into one
	token Token         // that it was exchanged for
	until time.Time     // when it is to be exchanged anew; zero: at once
}

// Invalid says what is wrong with the source's options, or nil.
func (e *exchange) Invalid(leaf.Seal) error { return e.invalid }

// Leaves makes the source one that a provider can take apart.
func (e *exchange) Leaves(leaf.Seal) []leaf.Leaf[Token] { return withStep(e.source, e.step) }

// Token returns an exchanged token. It makes another attempt after an answer that
// is no refusal; step has already repeated attempts without an answer.
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
		if err == nil {
			return live(token, nil)
		}
		failure, _ := err.(*ExchangeError)
		if failure == nil || failure.Refused || failure.Status == 0 || attempt == exchangeAttempts || !pace.Pause(ctx, attempt) {
			return Token{}, err
		}
	}
}

// step exchanges one token. It returns at the endpoint's first answer, since a
// failure may be this token's: a caller with other tokens tries those first. Its
// error is an *ExchangeError.
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

// exchange makes the exchange, or waits for the one of the same token that is under
// way. The end of ctx ends the wait and not the exchange.
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
		// The exchange ends a little before its callers do, so that they get its error.
		ctx, cancel := context.WithTimeout(context.Background(), exchangeLimit-2*clientGrace)
		defer cancel()
		got, failure := e.exchanger.exchange(ctx, from)
		if failure == nil {
			e.keep(got)
			return got.token, nil
		}
		if failure.Refused {
			e.refused.Add(from.Raw(), failure)
		}
		return nil, failure
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

// find returns the kept token that from was exchanged for, and the time at which
// from is to be exchanged anew.
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
