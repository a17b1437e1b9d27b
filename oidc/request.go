package oidc

import (
	"context"
	"os"

	"github.com/vercelaws/vercelaws/internal/recent"
)

// FromRequest returns the source of tokens that come with requests: the one
// that [RequestContext], [Middleware] or [ContextWithToken] put into the
// context.
//
// Where the context has none, or a bad one, it borrows: first the token that
// STS accepted last (see [WithProvenToken]), then those of the last few
// requests, newest first, since all requests of a deployment carry the same
// identity. A borrowed token is always of the proven token's project and
// environment, and of VERCEL_PROJECT_ID where that is set. This is what serves
// a goroutine that has no request, and what keeps one request's bad token from
// failing the others that wait with it.
func FromRequest() TokenSource { return TokenSourceFunc(fromRequest) }

// sourceRecent is the Source of tokens that other requests brought.
const sourceRecent = "recent request"

func fromRequest(ctx context.Context) (Token, error) {
	c := carrierOf(ctx)
	t, err := c.token(ctx)
	if err == nil {
		return t, nil
	}
	if c != nil && c.explicit {
		return Token{}, &explicitError{err}
	}
	if t, ok := borrow(ctx); ok {
		return t, nil
	}
	return Token{}, err
}

// borrow finds a live token of another request.
func borrow(ctx context.Context) (Token, bool) {
	h := hintsOf(ctx)
	if h.proven.secret != nil && check(ctx, h.proven) == nil {
		return h.proven, true
	}
	projectID := os.Getenv("VERCEL_PROJECT_ID")
	for _, raw := range recent.All() {
		t, err := tokenFrom(ctx, sourceRecent, raw)
		switch {
		case err != nil:
		case projectID != "" && t.ProjectID != projectID:
		case h.proven.secret != nil && !t.sameIdentity(h.proven):
		default:
			return t, true
		}
	}
	return Token{}, false
}
