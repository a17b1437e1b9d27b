package oidc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vercelaws/vercelaws/internal/deployment"
)

// Header is the request header in which Vercel hands a function its token. Read
// it with http.Header's Get, which finds it in any case; as a key of that map it
// is X-Vercel-Oidc-Token. See https://vercel.com/docs/oidc/reference.
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
	values, name := present(r.Header[canonicalHeader]), Header
	if len(values) == 0 && os.Getenv("VERCEL") != "" {
		values, name = present(r.Header[canonicalInternalHeader]), internalHeader
	}
	if len(values) > 1 && slices.ContainsFunc(values[1:], func(v string) bool { return v != values[0] }) {
		return &carrier{Context: r.Context(), header: name, values: len(values)}
	}
	if len(values) == 0 {
		return requestContext(r.Context(), "")
	}
	return requestContext(r.Context(), values[0])
}

// present returns values, or nothing if the only one is empty.
func present(values []string) []string {
	if len(values) == 1 && values[0] == "" {
		return nil
	}
	return values
}

// HeaderContext is [RequestContext] for a framework whose request is not an
// *http.Request. Get returns the value of the request header of a name, which it
// takes in any case, or "" if there is none. With fiber:
//
//	oidc.HeaderContext(ctx, func(name string) string { return c.Get(name) })
//
// The token is copied: fasthttp, which fiber is built on, uses the text's memory
// again once the handler has returned.
func HeaderContext(ctx context.Context, get func(name string) string) context.Context {
	raw := get(Header)
	if raw == "" && os.Getenv("VERCEL") != "" {
		raw = get(internalHeader)
	}
	return requestContext(ctx, raw)
}

// requestContext is ctx with the token raw of a request, "" if it has none.
func requestContext(ctx context.Context, raw string) context.Context {
	c := &carrier{Context: ctx, header: Header}
	switch {
	case raw == "":
		if carrierOf(ctx) != nil {
			return ctx
		}
	case looksLikeJWT(raw):
		c.values = 1
		c.raw.Store(recentTokens.Add(raw))
	default: // not worth remembering; why it is no token, whoever uses it is told
		c.values = 1
		raw := strings.Clone(raw)
		c.raw.Store(&raw)
	}
	return c
}

// Middleware gives every request of next the context that [RequestContext]
// returns for it, so that handlers pass r.Context() as usual.
func Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(RequestContext(r)))
	})
}

// ContextWithToken returns a context with a token of the caller's choice, for a
// program that acts for other parties. The text is copied.
//
// The token is taken at its word: no other stands in for it where it fails, it
// is not remembered for other callers, and it may be of any project. Since a
// provider has one set of credentials, such a program makes one provider for
// each party; see the example. Callers who wait for the same fetch share its
// outcome, so for the requests of a deployment use [RequestContext] or
// [HeaderContext].
func ContextWithToken(ctx context.Context, raw string) context.Context {
	raw = strings.Clone(raw)
	c := &carrier{Context: ctx, values: 1, given: true}
	c.raw.Store(&raw)
	return c
}

// carrier is a context that carries a token. It is a type of its own, and not
// a context.WithValue, to save an allocation on every request.
type carrier struct {
	context.Context
	raw    atomic.Pointer[string] // atomic only because no printer follows it
	values int                    // how many header values: 0, 1, or too many that differ
	header string                 // where they were
	given  bool                   // from ContextWithToken
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

// token returns the token that c carries, also an expired one, or why there is
// none. A nil carrier is a context without a request.
func (c *carrier) token() (Token, error) {
	switch {
	case c == nil:
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the context carries no request; %s", ErrNoToken,
			byPlace("pass oidc.RequestContext(r) to the SDK call, or wrap the handler in oidc.Middleware"))}
	case c.given:
		return parseFrom("ContextWithToken", *c.raw.Load())
	case c.values == 0:
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the request has no %s header; %s", ErrNoToken, Header,
			byPlace("enable OIDC in the Vercel project's settings (Security, Secure backend access with OIDC federation) and deploy again"))}
	case c.values > 1:
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the request has %d %s headers that differ; Vercel sends exactly one, so a proxy or the client added another", ErrMalformed, c.values, c.header)}
	default:
		return parseFrom("request", *c.raw.Load())
	}
}

// byPlace is what to do about a missing token: deployed in a deployment, and on a
// developer's machine first what gives a token there.
func byPlace(deployed string) string {
	if deployment.Variable() != "" {
		return deployed
	}
	return "on your machine run `vercel link` and `vercel env pull`; in a deployment " + deployed
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
	d := &carrier{Context: context.Background(), values: c.values, header: c.header, given: c.given}
	d.raw.Store(c.raw.Load())
	return d
}
