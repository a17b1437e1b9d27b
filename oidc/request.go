package oidc

import (
	"context"
	"time"

	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/recent"
)

// FromRequest returns the source of tokens that come with requests: of the one
// that [RequestContext], [Middleware], [HeaderContext] or [ContextWithToken] put
// into the context, and of no other.
//
// A provider of package vercelaws that has this source borrows, where the
// context has no token or one that cannot be used, since all requests of a
// deployment carry the same identity: first the token that STS accepted last,
// then those of recent requests. A borrowed token is always of the project and
// environment of the one accepted last. This is what serves a goroutine that has
// no request, and what keeps one request's bad token from failing the others
// that wait with it. A provider whose source lacks FromRequest never borrows.
//
// At least 512 different tokens are remembered, or as many as fit into some 2.5
// MB. One is forgotten five minutes after its expiry, or sooner for want of
// room: then those stay that are new or that many requests have brought lately.
func FromRequest() TokenSource { return fromRequest{} }

type fromRequest struct{}

// Token gives the context's own token.
func (fromRequest) Token(ctx context.Context) (Token, error) {
	return live(carrierOf(ctx).token())
}

// Leaves makes the source one that a provider can take apart.
func (fromRequest) Leaves(leaf.Seal) []leaf.Leaf[Token] {
	return []leaf.Leaf[Token]{{
		Read:  func(ctx context.Context) (Token, error) { return carrierOf(ctx).token() },
		Check: checkNow,
		Request: &leaf.Request[Token]{
			Given:  func(ctx context.Context) bool { c := carrierOf(ctx); return c != nil && c.given },
			Recent: func() *recent.Store[Token] { return recentTokens },
		},
	}}
}

// recentTokens is one store for the process, because a process on Vercel has one
// identity, and RequestContext has no provider at hand.
var recentTokens = recent.New(func(raw string) (Token, time.Time, bool) {
	t, err := parseToken(raw)
	t.source = "recent request"
	return t, t.Expiry.Add(leaf.Grace), err == nil
})
