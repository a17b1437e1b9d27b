//go:build go1.25

package model

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/vercelaws/vercelaws/oidc"
)

// tokenKind is a token as a request may bring it.
type tokenKind int

const (
	good       tokenKind = iota // the newest good one, which recurs
	fresh                       // a good one that is minted for this request
	forged                      // a forged one that nobody has seen
	recurring                   // one of two forged ones, again and again
	foreign                     // a good one of another project, which the role does not admit
	expired                     // past what STS allows for
	explicit                    // the newest good one, by ContextWithToken
	garbage                     // not a token
	missing                     // a request without one
	background                  // no request
)

func (k tokenKind) String() string {
	return [...]string{"good", "fresh", "forged", "recurring forged", "foreign", "expired", "explicit", "garbage", "missing", "no request"}[k]
}

// context is that of a request with a token of kind k.
func (w *world) context(k tokenKind) context.Context {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	switch raw := w.token(k); {
	case k == background:
		return context.Background()
	case k == explicit:
		return oidc.ContextWithToken(context.Background(), raw)
	case raw != "":
		r.Header.Set(oidc.Header, raw)
	}
	return oidc.RequestContext(r)
}

// token returns one of kind k, empty for none.
func (w *world) token(k tokenKind) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch k {
	case good, explicit:
		if w.recurs == "" || w.stsNow().After(w.tokens[w.recurs].end.Add(-10*time.Minute)) {
			w.recurs = w.mint(w.tokenLife, minted{})
		}
		return w.recurs
	case fresh:
		w.recurs = w.mint(w.tokenLife, minted{})
		return w.recurs
	case forged:
		return w.mint(2*time.Hour, minted{forged: true})
	case recurring:
		w.turn++
		n := w.turn % len(w.forgeries)
		if w.forgeries[n] == "" {
			w.forgeries[n] = w.mint(1000*time.Hour, minted{forged: true})
		}
		return w.forgeries[n]
	case foreign:
		return w.mint(2*time.Hour, minted{project: "prj_2"})
	case expired:
		return w.mint(-time.Hour, minted{})
	case garbage:
		return "no.token"
	}
	return ""
}

const project = "prj_1" // the one that roles admit

// minted is a token that was made.
type minted struct {
	end      time.Time
	project  string // if empty, the one that roles admit
	audience string // if empty, Vercel's
	forged   bool   // not signed by Vercel
}

// mint needs mu. It makes a JWT that lives for life by STS's clock.
func (w *world) mint(life time.Duration, t minted) string {
	now := w.stsNow()
	t.end = now.Add(life)
	t.project, t.audience = cmp.Or(t.project, project), cmp.Or(t.audience, vercelAudience)
	n := len(w.tokens)
	claims, err := json.Marshal(map[string]any{
		"iss": "https://oidc.vercel.com/acme", "aud": t.audience, "sub": "owner:acme:project:" + t.project + ":environment:production",
		"project": t.project, "project_id": t.project, "environment": "production",
		"iat": now.Unix(), "exp": t.end.Unix(), "jti": fmt.Sprint("token ", n),
	})
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	payload, signature := encode(claims), encode(fmt.Appendf(nil, "the signature of token %d", n))
	raw := encode([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + payload + "." + signature
	w.tokens[raw] = t
	w.secrets = append(w.secrets, signature)
	// Messages are shortened, so a token's beginning must not stand in one. It is
	// the same of all tokens for an audience.
	if beginning := payload[:48]; !slices.Contains(w.secrets, beginning) {
		w.secrets = append(w.secrets, beginning)
	}
	return raw
}

// made returns what is known of a token, false if nobody made it.
func (w *world) made(raw string) (minted, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.tokens[raw]
	return t, ok
}

// exchanged returns a token for which raw is exchanged. It lives for life and no
// longer than raw, or as long where life is 0.
func (w *world) exchanged(raw string, life time.Duration) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tokens[raw]
	left := t.end.Sub(w.stsNow())
	if life != 0 {
		left = min(left, life)
	}
	return w.mint(left, minted{project: t.project, audience: exchangeAudience, forged: t.forged})
}
