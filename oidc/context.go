package oidc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/vercelaws/vercelaws/internal/recent"
)

// Header is the request header in which Vercel hands a function its token. See
// https://vercel.com/docs/oidc/reference.
const Header = "x-vercel-oidc-token"

// canonicalHeader is Header as net/http stores it.
const canonicalHeader = "X-Vercel-Oidc-Token"

// RequestContext returns r's context with the token that Vercel put on r, for
// SDK calls made on behalf of r. The token is not looked at until credentials
// are needed.
//
// The token is also remembered for work that has no request, such as a
// background goroutine: see [FromRequest]. If r has no token and its context
// already carries one, that one stays.
func RequestContext(r *http.Request) context.Context {
	values := r.Header[canonicalHeader]
	parent := r.Context()
	if absent(values) {
		if carrierOf(parent) != nil {
			return parent
		}
	} else if !conflicting(values) {
		recent.Add(values[0])
	}
	return &carrier{Context: parent, values: values}
}

// Middleware gives every request of next the context that [RequestContext]
// returns for it, so that handlers pass r.Context() as usual.
func Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(RequestContext(r)))
	})
}

// ContextWithToken returns a context with a token of the caller's choice, for
// tokens that come by another way than a request's header. It is taken at its
// word: no other source stands in for it where it fails, and it is not
// remembered for other callers. Callers who wait for the same fetch of
// credentials share its outcome, so prefer [RequestContext] for requests.
func ContextWithToken(ctx context.Context, raw string) context.Context {
	return &carrier{Context: ctx, values: []string{raw}, explicit: true}
}

// carrier is a context that carries a token. It is a type of its own, and not
// a context.WithValue, to save an allocation on every request.
type carrier struct {
	context.Context
	values   []string // of the header: none, one, or too many
	explicit bool     // from ContextWithToken
}

type carrierKey struct{}

func (c *carrier) Value(key any) any {
	if key == (carrierKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// String hides the token from code that prints contexts.
func (c *carrier) String() string { return fmt.Sprint(c.Context) + ".WithVercelToken" }

// Format implements [fmt.Formatter], so that every verb prints String.
func (c *carrier) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

func carrierOf(ctx context.Context) *carrier {
	c, _ := ctx.Value(carrierKey{}).(*carrier)
	return c
}

// token returns the token that c carries, or why it cannot be used. A nil
// carrier is a context without a request.
func (c *carrier) token(ctx context.Context) (Token, error) {
	switch {
	case c == nil:
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the context carries no request; pass oidc.RequestContext(r) to the SDK call, or wrap the handler in oidc.Middleware", ErrNoToken)}
	case c.explicit:
		t, err := tokenFrom(ctx, "ContextWithToken", c.values[0])
		t.explicit = true
		return t, err
	case absent(c.values):
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the request has no %s header; enable OIDC in the Vercel project's settings (Security, Secure Backend Access with OIDC Federation) and deploy again", ErrNoToken, Header)}
	case conflicting(c.values):
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the request has %d %s headers that differ; Vercel sends exactly one, so a proxy or the client added another", ErrMalformed, len(c.values), Header)}
	default:
		return tokenFrom(ctx, "request", c.values[0])
	}
}

func absent(values []string) bool {
	return len(values) == 0 || (len(values) == 1 && values[0] == "")
}

func conflicting(values []string) bool {
	return slices.ContainsFunc(values[1:], func(v string) bool { return v != values[0] })
}

// hints is what a provider tells sources about earlier tokens.
type hints struct {
	proven  Token
	refused []string // raw tokens
}

type hintsKey struct{}

func hintsOf(ctx context.Context) hints {
	h, _ := ctx.Value(hintsKey{}).(*hints)
	if h == nil {
		return hints{}
	}
	return *h
}

func (h hints) refuses(t Token) bool { return slices.Contains(h.refused, t.Raw()) }

// WithoutToken returns a context under which sources pass t over, because STS
// refused it and the caller asks what else there is. A provider calls it; most
// programs have no need to. It can be used more than once.
func WithoutToken(ctx context.Context, t Token) context.Context {
	h := hintsOf(ctx)
	h.refused = append(slices.Clip(h.refused), t.Raw())
	return context.WithValue(ctx, hintsKey{}, &h)
}

// WithProvenToken returns a context that tells sources which token STS
// accepted last. A source that would borrow a token from another request
// borrows t instead while it lives, and after that only one of the same
// project and environment. A provider calls it; most programs have no need to.
// A token that was given by [ContextWithToken] is not passed on.
func WithProvenToken(ctx context.Context, t Token) context.Context {
	if t.jwt == nil || t.explicit {
		return ctx
	}
	h := hintsOf(ctx)
	h.proven = t
	return context.WithValue(ctx, hintsKey{}, &h)
}
