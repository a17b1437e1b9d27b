package oidcverify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/vercelaws/vercelaws/oidc"
)

// MiddlewareOptions are the choices of [Middleware].
type MiddlewareOptions struct {
	// Header names the header that holds the token, and nothing else. If empty
	// or "Authorization", the token is the one of that header's scheme Bearer
	// (RFC 6750). It must not be x-vercel-oidc-token: Vercel puts the
	// deployment's own token there on every request, whoever sends it.
	Header string

	// OnError gets the error of each refused request. The response does not
	// contain it. OnError runs before the response is written.
	OnError func(*http.Request, error)
}

// Middleware returns a middleware that passes on requests whose token verifies. The
// handler gets the token with [FromContext].
//
// Other requests are answered with a status and no detail: 401 if the token is
// missing, given more than once, or refused, and 403 if it is valid and not
// allowed, both with WWW-Authenticate as in RFC 6750, section 3; 503 if it could
// not be verified now; 500 if the verifier is nil or not configured.
func Middleware(verifier *Verifier, optFns ...func(*MiddlewareOptions)) func(http.Handler) http.Handler {
	var o MiddlewareOptions
	for _, fn := range optFns {
		fn(&o)
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, err := o.verify(verifier, r)
			if err == nil {
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tokenKey{}, token)))
				return
			}
			if o.OnError != nil {
				o.OnError(r, err)
			}
			status, challenge := http.StatusInternalServerError, ""
			switch {
			case errors.Is(err, errNoToken): // RFC 6750: then no error code
				status, challenge = http.StatusUnauthorized, realm
			case errors.Is(err, ErrNotAllowed):
				status, challenge = http.StatusForbidden, realm+`, error="insufficient_scope"`
			case errors.Is(err, ErrRefused):
				status, challenge = http.StatusUnauthorized, realm+`, error="invalid_token"`
			case errors.Is(err, ErrUnavailable):
				status = http.StatusServiceUnavailable
			}
			if challenge != "" {
				w.Header().Set("WWW-Authenticate", challenge)
			}
			http.Error(w, http.StatusText(status), status)
		})
	}
}

const realm = `Bearer realm="Vercel OIDC"`

// errNoToken is of a request that does not try to authenticate in this way.
var errNoToken = fmt.Errorf("%w: the request has no token", ErrRefused)

type tokenKey struct{}

// FromContext returns the token that [Middleware] verified, and whether there
// is one.
func FromContext(ctx context.Context) (oidc.Token, bool) {
	token, ok := ctx.Value(tokenKey{}).(oidc.Token)
	return token, ok
}

func (o *MiddlewareOptions) verify(verifier *Verifier, r *http.Request) (oidc.Token, error) {
	header := http.CanonicalHeaderKey(o.Header)
	switch header {
	case "":
		header = "Authorization"
	case "X-Vercel-Oidc-Token", "X-Vercel-Internal-Oidc-Token":
		return oidc.Token{}, fmt.Errorf("oidcverify: %w: MiddlewareOptions.Header is %s, which on Vercel holds the deployment's own token on every request, whoever sends it", ErrNotConfigured, header)
	}
	values := r.Header[header]
	if len(values) == 0 {
		return oidc.Token{}, fmt.Errorf("oidcverify: %w: it has 0 headers %s", errNoToken, header)
	}
	if len(values) > 1 {
		return oidc.Token{}, fmt.Errorf("oidcverify: %w: the request has %d headers %s, not one", ErrRefused, len(values), header)
	}
	raw := strings.TrimSpace(values[0])
	if header == "Authorization" {
		scheme, rest, _ := strings.Cut(raw, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return oidc.Token{}, fmt.Errorf("oidcverify: %w: the scheme of its header Authorization is not Bearer", errNoToken)
		}
		raw = strings.TrimLeft(rest, " ")
	}
	return verifier.Verify(r.Context(), raw)
}
