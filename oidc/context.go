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

// internalHeader is the header that Vercel's own runtimes read if there is no
// public one (see the vercel package on PyPI). It is trusted as little as that:
// STS verifies the token.
const internalHeader = "x-vercel-internal-oidc-token"

// The headers as net/http stores them.
const (
	canonicalHeader         = "X-Vercel-Oidc-Token"
	canonicalInternalHeader = "X-Vercel-Internal-Oidc-Token"
)

// RequestContext returns r's context with the token that Vercel put on r, for
// SDK calls made on behalf of r. Nothing else of r's header is kept. On Vercel
// (if the environment variable VERCEL is set), the token of a request without the
// public [Header] is read from x-vercel-internal-oidc-token.
//
// The token is also remembered for work that has no request, such as a background
// goroutine: see [FromRequest]. If r has no token and its context already carries
// one, the context keeps it.
func RequestContext(r *http.Request) context.Context {
	values, name := present(r.Header[canonicalHeader]), Header
	if len(values) == 0 && os.Getenv("VERCEL") != "" {
		values, name = present(r.Header[canonicalInternalHeader]), internalHeader
	}
	if len(values) > 1 && slices.ContainsFunc(values[1:], func(v string) bool { return v != values[0] }) {
		return &carrier{Context: r.Context(), differ: len(values), header: name}
	}
	raw := ""
	if len(values) > 0 {
		raw = values[0]
	}
	return requestContext(r.Context(), raw)
}

// present returns values, or nothing if the only one is empty.
func present(values []string) []string {
	if len(values) == 1 && values[0] == "" {
		return nil
	}
	return values
}

// HeaderContext is [RequestContext] for a framework whose request is not an
// *http.Request. Get returns the value of a request header, or "" if there is none.
// It must ignore the case of the header's name. With fiber:
//
//	oidc.HeaderContext(ctx, func(name string) string { return c.Get(name) })
//
// The token is copied: fasthttp, which fiber is built on, reuses the memory of a
// header after the handler has returned.
func HeaderContext(ctx context.Context, get func(name string) string) context.Context {
	raw := get(Header)
	if raw == "" && os.Getenv("VERCEL") != "" {
		raw = get(internalHeader)
	}
	return requestContext(ctx, raw)
}

// requestContext is ctx with the token raw of a request, "" if it has none.
func requestContext(ctx context.Context, raw string) context.Context {
	if raw == "" && carrierOf(ctx) != nil {
		return ctx
	}
	c := &carrier{Context: ctx}
	switch {
	case looksLikeJWT(raw):
		c.raw.Store(recentTokens.Add(raw))
	case raw != "": // it is not remembered; FromRequest's error says what is wrong with it
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
// No other token is tried if it fails, it is not remembered for other callers, and
// it may be of any project. A provider has one set of credentials, so such a
// program makes one provider for each party; see the example. For the requests of
// a deployment use [RequestContext] or [HeaderContext]: callers who wait for the
// same fetch share its result, so one party's bad token would fail them all.
func ContextWithToken(ctx context.Context, raw string) context.Context {
	raw = strings.Clone(raw)
	c := &carrier{Context: ctx, given: true}
	c.raw.Store(&raw)
	return c
}

// carrier is a context that carries a token. It is a type of its own, and not
// a context.WithValue, to save an allocation on every request.
type carrier struct {
	context.Context
	raw    atomic.Pointer[string] // the token, or nil; atomic only because no printer follows it
	given  bool                   // from ContextWithToken
	differ int                    // how many headers the request has, if they differ; otherwise 0
	header string                 // the name of those that differ
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

// token returns the token that c carries, even an expired one. If there is none,
// the error says why. C is nil for a context without a request.
func (c *carrier) token() (Token, error) {
	switch {
	case c == nil:
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the context carries no request; %s", ErrNoToken,
			byPlace("pass oidc.RequestContext(r) to the SDK call, or wrap the handler in oidc.Middleware"))}
	case c.given:
		return parseFrom("ContextWithToken", *c.raw.Load())
	case c.differ > 0:
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the request has %d %s headers that differ; Vercel sends exactly one, so a proxy or the client added another", ErrMalformed, c.differ, c.header)}
	case c.raw.Load() == nil:
		return Token{}, &sourceError{"request", fmt.Errorf("%w: the request has no %s header; %s", ErrNoToken, Header,
			byPlace("enable OIDC in the Vercel project's settings (Security, Secure backend access with OIDC federation) and deploy again"))}
	default:
		return parseFrom("request", *c.raw.Load())
	}
}

// byPlace says what to do about a missing token. On a developer's machine it names
// the commands that get one there first.
func byPlace(deployed string) string {
	if deployment.Variable() != "" {
		return deployed
	}
	return "on your machine run `vercel link` and `vercel env pull`; in a deployment " + deployed
}

// Detach returns a context that has only the token that [RequestContext],
// [HeaderContext], [Middleware] or [ContextWithToken] put into ctx: no deadline, no
// cancellation and no other values. It is for work that goes on after the request
// has been answered, such as a refresh of credentials in the background. Such work
// must not keep the request's other values in memory, nor call its trace hooks.
func Detach(ctx context.Context) context.Context {
	c := carrierOf(ctx)
	if c == nil {
		return context.Background()
	}
	d := &carrier{Context: context.Background(), given: c.given, differ: c.differ, header: c.header}
	d.raw.Store(c.raw.Load())
	return d
}
