package oidc

import (
	"context"
	"crypto/sha256"
	"os"

	"github.com/vercelaws/vercelaws/internal/candidate"
	"github.com/vercelaws/vercelaws/internal/recent"
)

// FromRequest returns the source of tokens that come with requests: the one
// that [RequestContext], [Middleware] or [ContextWithToken] put into the
// context.
//
// Where the context has none, or one that cannot be used, it borrows, since all
// requests of a deployment carry the same identity: first the token that STS
// accepted last (see [WithProvenToken]), then those of recent requests, in turn
// the one that most requests brought and the newest. A borrowed token is always
// of the proven token's project and environment, and of VERCEL_PROJECT_ID where
// that is set. This is what serves a goroutine that has no request, and what
// keeps one request's bad token from failing the others that wait with it. In a
// fetch of credentials, tokens that STS has refused in the last 30 seconds come
// after all other sources, whoever brings them again.
//
// At least 256 different tokens are remembered, in at most some 5 MB. One is
// forgotten five minutes after its expiry, or sooner for want of room: then
// those stay that are new or that many requests have brought lately.
func FromRequest() TokenSource { return TokenSourceFunc(fromRequest) }

// The Sources of tokens that the caller's own request did not bring.
const (
	sourceProven = "last accepted token"
	sourceRecent = "recent request"
)

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

// borrow finds a token of another request that can be used.
func borrow(ctx context.Context) (Token, bool) {
	h := candidate.Of(ctx)
	proven, err := parseToken(h.Proven)
	bound := err == nil // to the proven token's identity
	if bound {
		proven.source = sourceProven
		if check(ctx, proven) == nil {
			return proven, true
		}
	}
	projectID := os.Getenv(projectVariable)
	project, identity := digest(projectID), proven.identity()
	raw, ok := recent.Draw(h.Turn, func(raw string, f recent.Facts) bool {
		return (projectID == "" || f.Project == project) &&
			(!bound || f.Identity == identity) &&
			!h.PassOver(raw) && checkExpiry(h, Token{Expiry: f.Expiry}) == nil
	})
	if !ok {
		return Token{}, false
	}
	t, err := tokenFrom(ctx, Token{source: sourceRecent}, raw)
	return t, err == nil
}

const projectVariable = "VERCEL_PROJECT_ID"

// inspect says what is to be remembered of a request's token, if anything: not
// of garbage, nor of another project's token.
func inspect(raw string) (recent.Facts, bool) {
	t, err := parseToken(raw)
	if err != nil {
		return recent.Facts{}, false
	}
	if p := os.Getenv(projectVariable); p != "" && t.ProjectID != p {
		return recent.Facts{}, false
	}
	return recent.Facts{Expiry: t.Expiry, Project: digest(t.ProjectID), Identity: t.identity()}, true
}

func digest(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }
