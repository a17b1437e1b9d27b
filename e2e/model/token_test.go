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
	preview                     // a good one of another environment, which it does
	expired                     // past what STS allows for
	explicit                    // a good one by ContextWithToken, which recurs
	rejected                    // a forged one by ContextWithToken
	garbage                     // not a token
	missing                     // a request without one
	background                  // no request
)

func (k tokenKind) String() string {
	return [...]string{"good", "fresh", "forged", "recurring forged", "foreign", "preview", "expired", "chosen", "chosen and forged", "garbage", "missing", "no request"}[k]
}

// context is that of a request with a token of kind k. One who acts for another
// party chooses that one's tokens.
func (s *subject) context(k tokenKind) context.Context {
	if s.party != "" {
		return oidc.ContextWithToken(s.w.context(good), s.w.tokenOf(s.party, k))
	}
	return s.w.context(k)
}

func (w *world) context(k tokenKind) context.Context {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	switch raw := w.token(k); {
	case k == background:
		return context.Background()
	case k == explicit, k == rejected:
		return oidc.ContextWithToken(context.Background(), raw)
	case raw != "":
		r.Header.Set(oidc.Header, raw)
	}
	return oidc.RequestContext(r)
}

// again is the good token that recurs under a name, until it is about to end or a
// new one is wanted. It needs mu.
func (w *world) again(name string, anew bool, t minted) string {
	if raw := w.recurs[name]; !anew && raw != "" && w.stsNow().Before(w.tokens[raw].end.Add(-10*time.Minute)) {
		return raw
	}
	w.recurs[name] = w.mint(w.tokenLife, t)
	return w.recurs[name]
}

// renew has the next good token that is chosen be a new one, of each party.
func (w *world) renew() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.recurs {
		if name != "" {
			delete(w.recurs, name)
		}
	}
}

// tokenOf returns a token of a party, of a kind like k.
func (w *world) tokenOf(party string, k tokenKind) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := minted{project: party, chosen: true}
	switch k {
	case forged, recurring, rejected:
		t.forged = true
		return w.mint(2*time.Hour, t)
	case expired:
		return w.mint(-time.Hour, t)
	case garbage:
		return "no.token"
	}
	return w.again(party, k == fresh, t)
}

// token returns one of kind k, empty for none.
func (w *world) token(k tokenKind) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch k {
	case good, fresh:
		return w.again("", k == fresh, minted{})
	case explicit:
		return w.again("chosen", false, minted{chosen: true})
	case rejected:
		return w.mint(2*time.Hour, minted{forged: true, chosen: true})
	case preview:
		return w.mint(2*time.Hour, minted{environment: "preview"})
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
	end         time.Time
	project     string // if empty, the one that roles admit
	environment string // if empty, production
	audience    string // if empty, Vercel's
	forged      bool   // not signed by Vercel
	chosen      bool   // for ContextWithToken alone
	from        string // the JWT that was exchanged for it, if any
	kept        bool   // it was exchanged for one that may be kept
}

// same reports whether the token is of the deployment's identity.
func (t minted) same() bool { return t.project == project && t.environment == production }

const production = "production"

// mint needs mu. It makes a JWT that lives for life by STS's clock.
func (w *world) mint(life time.Duration, t minted) string {
	now := w.stsNow()
	t.end = now.Add(life)
	t.project, t.environment, t.audience = cmp.Or(t.project, project), cmp.Or(t.environment, production), cmp.Or(t.audience, vercelAudience)
	n := len(w.tokens)
	claims, err := json.Marshal(map[string]any{
		"iss": "https://oidc.vercel.com/acme", "aud": t.audience, "sub": "owner:acme:project:" + t.project + ":environment:" + t.environment,
		"project": t.project, "project_id": t.project, "environment": t.environment,
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
	t.kept = true
	w.tokens[raw] = t
	left := t.end.Sub(w.stsNow())
	if life != 0 {
		left = min(left, life)
	}
	t.audience, t.from = exchangeAudience, raw
	return w.mint(left, t)
}

// origin is the token that was exchanged for raw, or raw.
func (w *world) origin(raw string) (minted, string) {
	t, _ := w.made(raw)
	if t.from != "" {
		raw = t.from
		t, _ = w.made(raw)
	}
	return t, raw
}

// inspect is what is promised of the tokens that a server sees.
func (w *world) inspect(s *server, raw string) {
	switch t, _ := w.origin(raw); {
	case t.chosen && t.project != cmp.Or(s.party, project):
		w.problem("%s: it was shown a token of another party, %s", s.name, t.project)
	case !t.chosen && t.environment != production:
		w.problem("%s: it was shown a request's token of environment %s", s.name, t.environment)
	case !t.chosen && t.project != project && w.knownProject:
		w.problem("%s: it was shown a request's token of %s", s.name, t.project)
	}
}
