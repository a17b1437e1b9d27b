package oidcverify

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/vercelaws/vercelaws/internal/scrub"
)

const (
	attempts     = 2               // in one fetch; the second only where the first got no answer in time
	attemptLimit = 4 * time.Second // for the discovery document and the keys together
	maxStanding  = 4               // attempts that a client may leave unfinished
	maxDocument  = 256 << 10       // 256 KiB; Vercel's key set has less than two
	minModulus   = 2048            // bits; RFC 7518, section 3.3
	maxSameID    = 4               // keys with one ID that are tried
)

func newKeySet(issuer string, given *http.Client) *keySet {
	s := &keySet{issuer: issuer, client: &http.Client{}}
	if given != nil {
		*s.client = *given
	} else {
		s.client.Transport = newTransport()
	}
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

// newTransport returns one that speaks HTTP/1.1 and keeps an idle connection
// just long enough for the second request of a fetch: one that died silently
// in between is not used again.
func newTransport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: attemptLimit}).DialContext,
		Protocols:              &protocols,
		IdleConnTimeout:        2 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// outcome is what a fetch brought.
type outcome struct {
	address string                      // the jwks_uri
	keys    map[string][]*rsa.PublicKey // by key ID
	err     error
}

// get fetches the keys from address, or from where the discovery document says
// if that is not known. A fetch that fails forgets the address, so the next
// one asks for it again.
func (s *keySet) get(address string) outcome {
	var out outcome
	for range attempts {
		var hung bool
		if out, hung = s.attempt(address); !hung {
			break
		}
	}
	return out
}

// attempt makes one attempt. It ends in time whatever the client does: one that
// ignores its context is left standing, and one that panics has failed.
func (s *keySet) attempt(address string) (out outcome, hung bool) {
	if s.standing.Load() >= maxStanding {
		return outcome{err: fmt.Errorf("%d requests have not returned; Options.HTTPClient must honour a request's context", maxStanding)}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), attemptLimit)
	defer cancel()
	done := make(chan outcome, 1)
	s.standing.Add(1)
	go func() {
		out := outcome{err: errors.New("Options.HTTPClient panicked or ended its goroutine")}
		defer func() {
			_ = recover()
			s.standing.Add(-1)
			done <- out
		}()
		out = s.request(ctx, address)
	}()
	select {
	case out = <-done:
	case <-ctx.Done():
	}
	if out.keys == nil && ctx.Err() != nil {
		return outcome{err: fmt.Errorf("it did not answer within %s", attemptLimit)}, true
	}
	return out, false
}

// request makes the requests of an attempt.
func (s *keySet) request(ctx context.Context, address string) outcome {
	if address == "" {
		var discovery gooidc.ProviderConfig
		where := strings.TrimSuffix(s.issuer, "/") + "/.well-known/openid-configuration"
		if err := s.read(ctx, where, &discovery); err != nil {
			return outcome{err: fmt.Errorf("the discovery document: %w", err)}
		}
		if discovery.IssuerURL != s.issuer { // OpenID Connect Discovery 1.0, section 4.3
			return outcome{err: fmt.Errorf("the discovery document is of the issuer %s, not %q", quote(discovery.IssuerURL), s.issuer)}
		}
		address = discovery.JWKSURL
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && strings.HasPrefix(s.issuer, "http://")) {
			return outcome{err: fmt.Errorf("the discovery document's jwks_uri is %s, which is not an https address", quote(address))}
		}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := s.read(ctx, address, &set); err != nil {
		return outcome{err: fmt.Errorf("the keys: %w", err)}
	}
	keys := make(map[string][]*rsa.PublicKey)
	for _, raw := range set.Keys {
		if id, key := readKey(raw); key != nil && len(keys[id]) < maxSameID {
			keys[id] = append(keys[id], key)
		}
	}
	if len(keys) == 0 {
		return outcome{err: fmt.Errorf("none of its %d keys is an RSA key of %d bits or more, with an ID, for RS256 signatures", len(set.Keys), minModulus)}
	}
	return outcome{address: address, keys: keys}
}

// readKey returns a key that can verify tokens, or nil: RFC 7517, section 5,
// has a reader pass over keys that it cannot use.
func readKey(raw json.RawMessage) (id string, key *rsa.PublicKey) {
	var kind struct {
		Type    string          `json:"kty"`
		Private json.RawMessage `json:"d"`
	}
	if json.Unmarshal(raw, &kind) != nil || kind.Type != "RSA" || kind.Private != nil {
		return "", nil // go-jose advises against reading private keys of others
	}
	var k jose.JSONWebKey
	if k.UnmarshalJSON(raw) != nil {
		return "", nil
	}
	key, ok := k.Key.(*rsa.PublicKey)
	switch {
	case !ok, k.KeyID == "", key.N.BitLen() < minModulus,
		k.Use != "" && k.Use != "sig",
		k.Algorithm != "" && k.Algorithm != string(jose.RS256):
		return "", nil
	}
	return k.KeyID, key
}

// read makes one request and reads the JSON of its answer into v. Errors hold
// no text of the server's but what the transport puts there.
func (s *keySet) read(ctx context.Context, address string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("%s is not an address", quote(address))
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return errors.New(scrub.Text(err.Error(), "", maxQuoted))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	switch {
	case err != nil:
		return fmt.Errorf("the answer broke off: %s", scrub.Text(err.Error(), "", maxQuoted))
	case len(body) > maxDocument:
		return fmt.Errorf("the answer is longer than %d bytes", maxDocument)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return errors.New("the answer is not the JSON that it should be")
	}
	return nil
}
