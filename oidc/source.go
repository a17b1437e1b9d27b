package oidc

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/vercelaws/vercelaws/internal/leaf"
)

// TokenSource gives a token. Implementations must be safe for concurrent use.
// They should look for the token anew at each call, and return errors that match
// [ErrNoToken], [ErrExpired] or [ErrMalformed] where those apply.
//
// A provider of package vercelaws asks a source of your own once for each fetch
// of credentials. It takes the sources of this package apart (see [FirstOf],
// [Exchange] and [Map]) and can try each of their tokens. A type of your own that
// wraps one of them gives one token, and none of other requests. Use [Map] to log
// or to filter.
type TokenSource interface {
	Token(ctx context.Context) (Token, error)
}

// TokenSourceFunc is a function as a [TokenSource]. A provider gets one token from
// it, even if the function calls a source of this package; see [TokenSource].
type TokenSourceFunc func(ctx context.Context) (Token, error)

// Token calls f.
func (f TokenSourceFunc) Token(ctx context.Context) (Token, error) { return f(ctx) }

// FirstOf returns a source that asks each source in turn and returns the first
// token that has not expired. A source that returns an error or an expired token is
// skipped. If all are skipped, the error names each source's reason and matches
// those reasons under [errors.Is].
//
// A provider of package vercelaws also goes on to the next source after STS has
// refused a token.
func FirstOf(sources ...TokenSource) TokenSource { return firstOf(sources) }

type firstOf []TokenSource

// Token asks each source in turn.
func (s firstOf) Token(ctx context.Context) (Token, error) {
	if len(s) == 0 {
		return Token{}, errNoSources
	}
	var failed leaf.Reasons
	for _, source := range s {
		t, err := live(source.Token(ctx))
		if err == nil {
			return t, nil
		}
		if ctx.Err() != nil {
			return Token{}, context.Cause(ctx)
		}
		failed = append(failed, err)
	}
	return Token{}, failed
}

var errNoSources = fmt.Errorf("oidc: %w: FirstOf was given no sources", ErrNoToken)

// Leaves makes the source one that a provider can take apart.
func (s firstOf) Leaves(leaf.Seal) []leaf.Leaf[Token] {
	if len(s) == 0 {
		return []leaf.Leaf[Token]{{Read: s.Token, Check: checkNow}}
	}
	var all []leaf.Leaf[Token]
	for _, source := range s {
		all = append(all, leavesOf(source)...)
	}
	return all
}

// leavesOf takes source apart. A source of another package is one leaf.
func leavesOf(source TokenSource) []leaf.Leaf[Token] {
	if s, ok := source.(interface {
		Leaves(leaf.Seal) []leaf.Leaf[Token]
	}); ok {
		return s.Leaves(leaf.Seal{})
	}
	// Not source.Token: of a source that is nil, that would panic here and now.
	read := func(ctx context.Context) (Token, error) { return source.Token(ctx) }
	return []leaf.Leaf[Token]{{Read: read, Check: checkNow}}
}

// withStep returns the leaves of source, with one more step added to each.
func withStep(source TokenSource, step func(context.Context, Token) (Token, error)) []leaf.Leaf[Token] {
	all := leavesOf(source)
	for i := range all {
		all[i].Steps = append(all[i].Steps[:len(all[i].Steps):len(all[i].Steps)], step)
	}
	return all
}

// Map returns a source that passes each token of source to f and returns f's
// result. F may log a token, refuse it with an error, or return another in its
// place. It must be safe for concurrent use.
//
// A provider of package vercelaws still takes source apart, and calls f for each
// token that it tries.
func Map(source TokenSource, f func(ctx context.Context, t Token) (Token, error)) TokenSource {
	return mapped{source, f}
}

type mapped struct {
	source TokenSource
	f      func(context.Context, Token) (Token, error)
}

// Token passes the source's token to f.
func (m mapped) Token(ctx context.Context) (Token, error) {
	t, err := m.source.Token(ctx)
	if err != nil {
		return Token{}, err
	}
	return m.f(ctx, t)
}

// Leaves makes the source one that a provider can take apart.
func (m mapped) Leaves(leaf.Seal) []leaf.Leaf[Token] { return withStep(m.source, m.f) }

// single is a source of this package that has one token.
type single struct {
	name string
	read func() (string, error)
}

// Token returns the token, if it has not expired.
func (s single) Token(ctx context.Context) (Token, error) {
	return live(s.asItCame(ctx))
}

// Leaves makes the source one that a provider can take apart.
func (s single) Leaves(leaf.Seal) []leaf.Leaf[Token] {
	return []leaf.Leaf[Token]{{Read: s.asItCame, Check: checkNow}}
}

func (s single) asItCame(context.Context) (Token, error) {
	raw, err := s.read()
	if err != nil {
		return Token{}, &sourceError{s.name, err}
	}
	return parseFrom(s.name, raw)
}

// parseFrom reads a token that came from the source of that name.
func parseFrom(name, raw string) (Token, error) {
	t, err := parseToken(raw)
	if err != nil {
		return Token{}, &sourceError{name, err}
	}
	t.source = name
	return t, nil
}

// live returns what a source returned, or an error if the token has expired.
func live(t Token, err error) (Token, error) {
	if err == nil {
		err = checkNow(t)
	}
	if err != nil {
		return Token{}, err
	}
	return t, nil
}

// checkNow returns nil if t has not expired. Its error names t's source.
func checkNow(t Token) error {
	err := t.CheckExpiry(time.Now())
	switch {
	case t.secret == nil:
		err = fmt.Errorf("%w: the source returned a zero Token and no error", ErrNoToken)
	case err == nil:
		return nil
	case t.source == envVariable:
		err = fmt.Errorf("%w; %s", err, freshVariable())
	}
	return &sourceError{cmp.Or(t.source, "a source of your own"), err}
}

// sourceError says why one source had no token that can be used.
type sourceError struct {
	source string
	err    error
}

// Error names the source and its reason.
func (e *sourceError) Error() string { return "oidc: " + e.source + ": " + e.err.Error() }

// Unwrap returns the reason.
func (e *sourceError) Unwrap() error { return e.err }
