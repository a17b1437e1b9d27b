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
// A provider of package vercelaws that has this source also uses the tokens of
// other requests, if the context has no token or one that cannot be used. It can,
// because all requests of a deployment carry the same identity. First it tries the
// token that STS accepted last, then those of recent requests of the same project
// and environment. So a goroutine without a request gets credentials, and one
// request's bad token does not fail the other callers that wait with it. A
// provider whose source lacks FromRequest never uses another request's token.
//
// At least 512 different tokens are remembered, or as many as fit into some 2.5
// MB. A token is forgotten five minutes after its expiry, or when there is no room
// left. Then those are kept that are new or that many requests have brought lately.
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
// identity, and RequestContext does not know the provider.
var recentTokens = recent.New(func(raw string) (Token, time.Time, bool) {
	t, err := parseToken(raw)
	t.source = "recent request"
	return t, t.Expiry.Add(leaf.Grace), err == nil
})
