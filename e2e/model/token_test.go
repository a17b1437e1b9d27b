//go:build go1.25

package model

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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
		if w.recurs == "" || w.stsNow().After(w.good[w.recurs].Add(-10*time.Minute)) {
			w.recurs = w.mint(w.tokenLife, true, "prj_1")
		}
		return w.recurs
	case fresh:
		w.recurs = w.mint(w.tokenLife, true, "prj_1")
		return w.recurs
	case forged:
		return w.mint(2*time.Hour, false, "prj_1")
	case recurring:
		w.turn++
		n := w.turn % len(w.forgeries)
		if w.forgeries[n] == "" {
			w.forgeries[n] = w.mint(1000*time.Hour, false, "prj_1")
		}
		return w.forgeries[n]
	case foreign:
		return w.mint(2*time.Hour, false, "prj_2")
	case expired:
		return w.mint(-time.Hour, true, "prj_1")
	case garbage:
		return "no.token"
	}
	return ""
}

// mint needs mu. It makes a JWT that lives for life by STS's clock, which takes
// it if genuine.
func (w *world) mint(life time.Duration, genuine bool, project string) string {
	now := w.stsNow()
	w.minted++
	claims, err := json.Marshal(map[string]any{
		"iss": "https://oidc.vercel.com/acme", "aud": "https://vercel.com/acme", "sub": "owner:acme:project:" + project + ":environment:production",
		"project": project, "project_id": project, "environment": "production",
		"iat": now.Unix(), "exp": now.Add(life).Unix(), "jti": fmt.Sprint("token ", w.minted),
	})
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	payload, signature := encode(claims), encode(fmt.Appendf(nil, "the signature of token %d", w.minted))
	raw := encode([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + payload + "." + signature
	if genuine {
		w.good[raw] = now.Add(life)
	}
	w.secrets = append(w.secrets, payload, signature)
	return raw
}
