//go:build go1.25

package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/oidc"
)

const (
	vercelAudience   = "https://vercel.com/acme"
	exchangeAudience = "https://sts.amazonaws.com"
)

// fakeExchange is Vercel's exchange endpoint, and the way to it.
type fakeExchange struct {
	server
	client   *http.Client  // that reaches it
	life     time.Duration // of exchanged tokens; 0: that of the source token
	uncached bool          // whether it forbids to keep them

	garbled bool // whether the last garbage was all garbage; guarded by mu
}

func (w *world) newExchange(name string, life time.Duration, uncached bool) *fakeExchange {
	e := &fakeExchange{server: server{w: w, name: name + "'s exchange", apart: true, since: -time.Hour}, life: life, uncached: uncached}
	e.client = &http.Client{Transport: e}
	return e
}

// source is what vercelaws makes of Options.Audience, with an endpoint of ours,
// which knows by the jti who asks.
func (e *fakeExchange) source(next oidc.TokenSource, name string) oidc.TokenSource {
	return oidc.Exchange(next, exchangeAudience, func(o *oidc.ExchangeOptions) { o.HTTPClient, o.JTI = e.client, name })
}

// RoundTrip implements [http.RoundTripper].
func (e *fakeExchange) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	var in struct{ Token, Aud, JTI string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Aud != exchangeAudience {
		e.w.problem("%s: a request for audience %q: %v", e.name, in.Aud, err)
		return nil, errors.New("no request")
	}
	e.w.inspect(&e.server, in.Token)
	request, f, err := e.meet(r.Context(), in.JTI, in.Token)
	if err != nil {
		return nil, err
	}
	before, _ := e.w.made(in.Token)
	status, body, o := e.answer(f, in.Token)
	if o == refused && before.kept {
		o = lapsed // the operation goes on with what is kept
	}
	e.end(request, o)
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

func (e *fakeExchange) answer(f fault, raw string) (status int, body string, o outcome) {
	switch f {
	case unavailable:
		return 503, "<html>try later", faulted
	case throttles:
		return 429, `{"error":"too many requests"}`, faulted
	case answersGarbage:
		e.mu.Lock()
		e.garbled = !e.garbled
		garbled := e.garbled
		e.mu.Unlock()
		if garbled {
			return 200, "<html>" + raw, faulted
		}
		return 200, fmt.Sprintf(`{"token":%q`, e.w.exchanged(raw, e.life)), faulted // broken off
	case empty:
		return 200, `{"token":""}`, faulted
	case expiredOnArrival: // by either clock: to one that is behind it would be a good answer
		return 200, fmt.Sprintf(`{"token":%q}`, e.w.exchanged(raw, -time.Minute+min(0, offset()))), faulted
	case refuses:
		return 403, `{"error":"forbidden"}`, refused
	case badPolicy:
		return 400, `{"error":"audience not allowed"}`, refused
	case echoes:
		return 401, fmt.Sprintf(`{"error":"no: %s"}`, raw), refused
	}
	switch t, known := e.w.made(raw); {
	case !known || t.forged || t.audience != vercelAudience:
		return 401, `{"error":"bad signature"}`, refused
	case !e.w.stsNow().Before(t.end):
		return 401, `{"error":"expired"}`, refused
	}
	token := e.w.exchanged(raw, e.life)
	if e.uncached {
		return 200, fmt.Sprintf(`{"token":%q}`, token), served
	}
	t, _ := e.w.made(token)
	return 200, fmt.Sprintf(`{"token":%q,"expiry":%d}`, token, t.end.Unix()), served
}
