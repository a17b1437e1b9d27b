package oidcverify_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// FuzzVerify gives Verify whole tokens, made of a header, a payload and a
// signature of the fuzzer's: none passes but what the issuer signed, each error
// has one class, and none holds the token.
func FuzzVerify(f *testing.F) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	w := newWire(issuer)
	v := over(issuer, w)
	good := issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(10000 * time.Hour) })
	parts := strings.Split(good, ".")
	part := func(i int) string {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		require.NoError(f, err)
		return string(b)
	}
	header, payload, signature := part(0), part(1), part(2)
	for _, h := range []string{header, `{"alg":"none"}`, `{"alg":"HS256","kid":"mrk-1"}`, `{"alg":"RS256","kid":"new"}`, `{"alg":"RS256"}`,
		`{"alg":"RS256","kid":"mrk-1","crit":["b64"],"b64":false}`, `{"alg":"fetching keys","kid":"mrk-1"}`, `{`, ``} {
		f.Add(h, payload, signature, "")
	}
	f.Add(header, `{"iss":"x"}`, "x", "")
	f.Add(header, strings.Replace(payload, "production", "preview", 1), signature, "")
	f.Add("", "", "", good+".")
	f.Add("", "", "", `{"payload":"`+parts[1]+`","protected":"`+parts[0]+`","signature":"`+parts[2]+`"}`)
	f.Fuzz(func(t *testing.T, header, payload, signature, whole string) {
		e := base64.RawURLEncoding.EncodeToString
		raw := whole
		if raw == "" {
			raw = e([]byte(header)) + "." + e([]byte(payload)) + "." + e([]byte(signature))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		token, err := v.Verify(ctx, raw)
		if err == nil {
			require.Equal(t, good[:strings.LastIndexByte(good, '.')], raw[:strings.LastIndexByte(raw, '.')])
			require.Equal(t, raw, token.Raw())
			return
		}
		refused, unavailable := errors.Is(err, oidcverify.ErrRefused), errors.Is(err, oidcverify.ErrUnavailable)
		require.True(t, refused != unavailable, err)
		require.False(t, errors.Is(err, oidcverify.ErrNotAllowed), "an open verifier refuses no good token")
		require.Empty(t, token.Raw())
		require.Less(t, len(err.Error()), 2500)
		for _, part := range strings.Split(raw, ".") {
			if len(part) > 40 {
				require.NotContains(t, err.Error(), part)
			}
		}
		require.LessOrEqual(t, w.fetches(jwks), 3+int(time.Since(started)/(30*time.Second)))
	})
}

var started = time.Now()

// FuzzKeys gives the verifier a key set of the fuzzer's: whatever it is, Verify
// ends with an answer, and a forged token does not pass.
func FuzzKeys(f *testing.F) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	for _, set := range []string{string(document(issuer, jwks)), `{"keys":[]}`, `{"keys":[{"kty":"RSA","kid":"mrk-1","n":"AQAB","e":"AQAB"}]}`,
		`{"keys":[{"kty":"oct","kid":"mrk-1","k":"AQAB"}]}`, `{"keys":[{"kty":"RSA","kid":"mrk-1","x5c":["AQAB"],"n":"AQAB","e":"AQAB"}]}`, `null`, `[`} {
		f.Add(set)
	}
	forged := issuer.MintForged()
	f.Fuzz(func(t *testing.T, set string) {
		w := newWire(issuer)
		w.set(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, discovery) {
				return w.next.RoundTrip(r)
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(set)), Request: r}, nil
		})
		_, err := over(issuer, w).Verify(t.Context(), forged)
		require.Error(t, err)
		require.True(t, errors.Is(err, oidcverify.ErrRefused) != errors.Is(err, oidcverify.ErrUnavailable), err)
	})
}
