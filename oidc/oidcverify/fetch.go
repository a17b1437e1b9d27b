package oidcverify

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/guard"
	"github.com/vercelaws/vercelaws/internal/http1"
	"github.com/vercelaws/vercelaws/internal/jwtjson"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

const (
	attempts     = 2               // in one fetch; the second only where the first got no answer in time
	attemptLimit = 4 * time.Second // for the discovery document and the keys together
	maxDocument  = 256 << 10       // 256 KiB; Vercel's key set has less than two
	minModulus   = 2048            // bits; RFC 7518, section 3.3
	maxModulus   = 8192            // bits, as in crypto/tls: the cost of a verification grows with their square
	maxSameID    = 4               // keys with one ID that are tried
)

func newKeySet(issuer string, given *http.Client) *keySet {
	s := &keySet{issuer: issuer}
	if given != nil {
		s.client = *given
	} else {
		s.client.Transport, _ = http1.Shared(nil) // fails only where it is given certificates
	}
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

// get fetches the keys from address, or from where the discovery document says if
// that is empty.
func (s *keySet) get(address string) (got keys, err error) {
	for range attempts {
		ctx, cancel := context.WithTimeout(context.Background(), attemptLimit)
		got, err = guard.Do(ctx, &s.calls, "Options.HTTPClient", 0, func(ctx context.Context) (keys, error) {
			return s.request(ctx, address)
		})
		late := ctx.Err() != nil
		cancel()
		if err == nil || !late {
			break
		}
		err = fmt.Errorf("it did not answer within %s", attemptLimit)
	}
	return got, err
}

// request makes the requests of an attempt.
func (s *keySet) request(ctx context.Context, address string) (got keys, err error) {
	if address == "" {
		if address, err = s.discover(ctx); err != nil {
			return keys{}, fmt.Errorf("the discovery document: %w", err)
		}
	}
	set, err := s.document(ctx, address)
	if err != nil {
		return keys{}, fmt.Errorf("the keys: %w", err)
	}
	list, ok := set["keys"].List()
	if !ok { // so it does not say that there are no keys
		return keys{}, errors.New("the keys: the answer has no list of keys")
	}
	got = keys{address: address, byID: make(map[string][]*rsa.PublicKey), offered: len(list)}
	for _, v := range list {
		if id, key := readKey(v); key != nil && len(got.byID[id]) < maxSameID {
			got.byID[id] = append(got.byID[id], key)
		}
	}
	return got, nil
}

// discover returns where the keys are.
func (s *keySet) discover(ctx context.Context) (address string, err error) {
	d, err := s.document(ctx, s.issuer+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	issuer, _ := d["issuer"].Text()
	address, _ = d["jwks_uri"].Text()
	if issuer != s.issuer { // OpenID Connect Discovery 1.0, section 4.3
		return "", fmt.Errorf("it is of the issuer %s, not %q", quote(issuer), s.issuer)
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && strings.HasPrefix(s.issuer, "http://")) {
		return "", fmt.Errorf("its jwks_uri is %s, which is not an https address", quote(address))
	}
	return address, nil
}

// document makes one request and reads the JSON object of its answer. Errors hold
// no text of the server's but what the transport puts there.
func (s *keySet) document(ctx context.Context, address string) (map[string]jwtjson.Value, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%s is not an address", quote(address))
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return nil, errors.New(scrub.Text(err.Error(), "", maxQuoted))
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 3 {
		return nil, fmt.Errorf("status %d; redirects are not followed", response.StatusCode)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer broke off: %s", scrub.Text(err.Error(), "", maxQuoted))
	case len(body) > maxDocument:
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxDocument)
	}
	members, err := jwtjson.Object(string(body))
	if err != nil {
		return nil, fmt.Errorf("the answer is not the JSON that it should be: %w", err)
	}
	return members, nil
}

// readKey returns a key that can verify RS256 signatures (RFC 7517, section 4, and
// RFC 7518, section 6.3.1), or nil. A reader passes over keys that it cannot use
// (RFC 7517, section 5).
func readKey(v jwtjson.Value) (id string, key *rsa.PublicKey) {
	k, err := jwtjson.Object(string(v))
	id, _ = k["kid"].Text()
	n, e := integer(k["n"]), integer(k["e"])
	operations, _ := k["key_ops"].List()
	switch {
	case err != nil, id == "", !is(k["kty"], "RSA"),
		given(k["use"]) && !is(k["use"], "sig"),
		given(k["alg"]) && !is(k["alg"], "RS256"),
		given(k["key_ops"]) && !slices.ContainsFunc(operations, func(v jwtjson.Value) bool { return is(v, "verify") }),
		given(k["d"]), // a private key that is given away is no one's
		n.BitLen() < minModulus, n.BitLen() > maxModulus,
		e.Bit(0) == 0, e.BitLen() < 2, e.BitLen() > 31: // what crypto/rsa takes
		return "", nil
	}
	return id, &rsa.PublicKey{N: n, E: int(e.Int64())}
}

func given(v jwtjson.Value) bool { return v != "" && v != "null" }

func is(v jwtjson.Value, text string) bool {
	s, ok := v.Text()
	return ok && s == text
}

// integer returns a Base64urlUInt (RFC 7518, section 2), or 0 if v is none.
func integer(v jwtjson.Value) *big.Int {
	s, _ := v.Text()
	b, _ := jwtjson.Part(s)
	return new(big.Int).SetBytes([]byte(b))
}
