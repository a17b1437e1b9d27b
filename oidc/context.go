package oidc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync/atomic"

	"github.com/vercelaws/vercelaws/internal/candidate"
	"github.com/vercelaws/vercelaws/internal/recent"
)

// Header is the request header in which Vercel hands a function its token. See
// https://vercel.com/docs/oidc/reference.
const Header = "x-vercel-oidc-token"

// internalHeader is the header that Vercel's own runtimes read where there is
// no public one (see the vercel package on PyPI). It is trusted no more than
// that: STS verifies the token.
const internalHeader = "x-vercel-internal-oidc-token"

// The headers as net/http stores them.
const (
	canonicalHeader         = "X-Vercel-Oidc-Token"
	canonicalInternalHeader = "X-Vercel-Internal-Oidc-Token"
)

// RequestContext returns r's context with the token that Vercel put on r, for
// SDK calls made on behalf of r. Nothing of r's header is kept but the token.
// On Vercel (where the environment variable VERCEL is set), a request without
// the public [Header] is served from x-vercel-internal-oidc-token.
//
// The token is also remembered for work that has no request, such as a
// background goroutine: see [FromRequest]. If r has no token and its context
// already carries one, that one stays.
func RequestContext(r *http.Request) context.Context {
	values, internal := present(r.Header[canonicalHeader]), false
	if len(values) == 0 && os.Getenv("VERCEL") != "" {
		values = present(r.Header[canonicalInternalHeader])
		internal = len(values) > 0
	}
	c := &carrier{Context: r.Context(), values: len(values), internal: internal}
	switch {
	case len(values) == 0:
		if carrierOf(c.Context) != nil {
			return c.Context
		}
	case slices.ContainsFunc(values[1:], func(v string) bool { return v != values[0] }):
	default:
		c.values = 1
		c.raw.Store(recent.Add(values[0], inspect))
	}
	return c
}

// present returns values, or nothing if the only one is empty.
func present(values []string) []string {
	if len(values) == 1 && values[0] == "" {
		return nil
	}
	return values
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
	c := &carrier{Context: ctx, values: 1, explicit: true}
	c.raw.Store(&raw)
	return c
}

// carrier is a context that carries a token. It is a type of its own, and not
// a context.WithValue, to save an allocation on every request.
type carrier struct {
	context.Context
	raw      atomic.Pointer[string] // atomic only because no printer follows it
	values   int                    // how many header values: 0, 1, or too many that differ
	internal bool                   // they were of internalHeader
	explicit bool                   // from ContextWithToken
}

type carrierKey struct{}

// Value finds c itself, and otherwise what its parent holds.
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
		return tokenFrom(ctx, Token{source: "ContextWithToken", explicit: true}, *c.raw.Load())
	case c.values == 0:
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the request has no %s header; enable OIDC in the Vercel project's settings (Security, Secure backend access with OIDC federation) and deploy again", ErrNoToken, Header)}
	case c.values > 1:
		name := Header
		if c.internal {
			name = internalHeader
		}
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the request has %d %s headers that differ; Vercel sends exactly one, so a proxy or the client added another", ErrMalformed, c.values, name)}
	default:
		return tokenFrom(ctx, Token{source: "request"}, *c.raw.Load())
	}
}

// WithoutToken returns a context under which sources pass t over, because STS
// refused it and the caller asks what else there is. A provider calls it; most
// programs have no need to. It can be used more than once.
func WithoutToken(ctx context.Context, t Token) context.Context {
	h := candidate.Of(ctx)
	raw, before := t.Raw(), h.Tried
	h.Tried = func(r string) bool { return r == raw || before != nil && before(r) }
	h.Turn++
	return candidate.With(ctx, h)
}

// WithProvenToken returns a context that tells sources which token STS
// accepted last. A source that would borrow a token from another request
// borrows t instead while it lives, and after that only one of the same
// project and environment. A provider calls it; most programs have no need to.
// A token that was given by [ContextWithToken] is not passed on.
func WithProvenToken(ctx context.Context, t Token) context.Context {
	if t.secret == nil || t.explicit {
		return ctx
	}
	h := candidate.Of(ctx)
	h.Proven = t.Raw()
	return candidate.With(ctx, h)
}

// Detach returns a context that has nothing of ctx but the token that
// [RequestContext], [Middleware] or [ContextWithToken] put into it: no
// deadline, no cancellation and no other values. It is for work that goes on
// after the request has been answered, such as a refresh of credentials in the
// background, and that must not keep what else is in the request's context
// alive, nor fire its trace hooks.
func Detach(ctx context.Context) context.Context {
	c := carrierOf(ctx)
	if c == nil {
		return context.Background()
	}
	d := &carrier{Context: context.Background(), values: c.values, internal: c.internal, explicit: c.explicit}
	d.raw.Store(c.raw.Load())
	return d
}
