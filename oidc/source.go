package oidc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/candidate"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

// TokenSource gives a token. Implementations must be safe for concurrent use,
// read what they read at each call, and return errors that match [ErrNoToken],
// [ErrExpired] or [ErrMalformed] where those apply.
type TokenSource interface {
	Token(ctx context.Context) (Token, error)
}

// TokenSourceFunc is a function as a [TokenSource].
type TokenSourceFunc func(ctx context.Context) (Token, error)

// Token calls f.
func (f TokenSourceFunc) Token(ctx context.Context) (Token, error) { return f(ctx) }

// FirstOf returns a source that asks each source in turn and returns the first
// token that lives. A source that has none, or an expired or malformed one, is
// passed over. If none is left, the error names each source's reason and
// matches those reasons under [errors.Is].
//
// A token given by [ContextWithToken] ends the search, good or bad.
func FirstOf(sources ...TokenSource) TokenSource { return firstOf(sources) }

type firstOf []TokenSource

// Token asks each source in turn.
func (s firstOf) Token(ctx context.Context) (Token, error) {
	if len(s) == 0 {
		return Token{}, fmt.Errorf("oidc: %w: FirstOf was given no sources", ErrNoToken)
	}
	var failed sourcesError
	for _, source := range s {
		t, err := source.Token(ctx)
		if err == nil {
			if err = check(ctx, t); err == nil {
				return t, nil
			}
			err = &sourceError{cmp.Or(t.source, "custom source"), err}
		}
		if ctxErr := context.Cause(ctx); ctxErr != nil {
			return Token{}, ctxErr
		}
		var final *explicitError
		if errors.As(err, &final) {
			return Token{}, err
		}
		failed = append(failed, err)
	}
	return Token{}, failed
}

// check says why t cannot be used now, if it cannot. It is where the hints of
// a fetch of credentials take effect: see package candidate.
func check(ctx context.Context, t Token) error {
	h := candidate.Of(ctx)
	if t.explicit {
		h.Refused = nil // the caller's choice is asked about in every fetch
	}
	if h.PassOver(t.Raw()) {
		return fmt.Errorf("%w but one that STS refused", ErrNoToken)
	}
	return checkExpiry(h, t)
}

// checkExpiry is [Token.CheckExpiry] for now, unless a fetch that has tried
// everything else asks for tokens that STS may still take.
func checkExpiry(h candidate.Hints, t Token) error {
	now := time.Now()
	if h.AllowExpired && now.Before(t.Expiry.Add(candidate.Grace)) {
		return nil
	}
	return t.CheckExpiry(now)
}

// sourceError is why one source had no token.
type sourceError struct {
	source string
	err    error
}

// Error names the source and its reason.
func (e *sourceError) Error() string { return "oidc: " + e.source + ": " + e.err.Error() }

// Unwrap returns the reason.
func (e *sourceError) Unwrap() error { return e.err }

// tokenFrom finishes a source's work: it parses raw, marks it as origin is and
// checks that it can be used.
func tokenFrom(ctx context.Context, origin Token, raw string) (Token, error) {
	t, err := parseToken(raw)
	if err == nil {
		t.source, t.explicit = origin.source, origin.explicit
		err = check(ctx, t)
	}
	if err != nil {
		return Token{}, &sourceError{origin.source, err}
	}
	return t, nil
}

// sourcesError is the errors of all sources that had no live token.
type sourcesError []error

// The lengths of an error's text, where other code than this package's may have
// written it.
const (
	maxReason  = 1000 // bytes for a source
	maxReasons = 4000 // bytes for all
)

// Error lists the reasons on one line.
func (e sourcesError) Error() string {
	var b strings.Builder
	b.WriteString("oidc: no source has a live token")
	separator := ": "
	for _, err := range e {
		b.WriteString(separator)
		separator = "; "
		b.WriteString(scrub.Text(strings.TrimPrefix(err.Error(), "oidc: "), "", maxReason))
	}
	return scrub.Text(b.String(), "", maxReasons)
}

// Unwrap returns the reasons, for errors.Is.
func (e sourcesError) Unwrap() []error { return e }

// explicitError is the failure of a token that the caller chose. It ends a
// search.
type explicitError struct{ error }

// Unwrap returns the failure.
func (e *explicitError) Unwrap() error { return e.error }

// Final tells a fetch of credentials what it is; see candidate.Final.
func (*explicitError) Final() {}
