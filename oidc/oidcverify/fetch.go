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
	got = keys{address: address, byID: make(map[string][]*rsa.PublicKey)}
	isSet := false // if not, the answer does not say that there are no keys
	err = s.document(ctx, address, func(name string, v jwtjson.Value) (err error) {
		if name == "keys" {
			isSet, err = v.Items(got.add)
		}
		return err
	})
	if err == nil && !isSet {
		err = errors.New("the answer has no list of keys")
	}
	if err != nil {
		return keys{}, fmt.Errorf("the keys: %w", err)
	}
	return got, nil
}

// discover returns where the keys are.
func (s *keySet) discover(ctx context.Context) (address string, err error) {
	var issuer string
	err = s.document(ctx, s.issuer+"/.well-known/openid-configuration", func(name string, v jwtjson.Value) error {
		switch name {
		case "issuer":
			issuer, _ = v.Text()
		case "jwks_uri":
			address, _ = v.Text()
		}
		return nil
	})
	if err != nil {
		return "", err
	}
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
func (s *keySet) document(ctx context.Context, address string, member func(name string, v jwtjson.Value) error) error {
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
	if response.StatusCode/100 == 3 {
		return fmt.Errorf("status %d; redirects are not followed", response.StatusCode)
	}
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
	if err := jwtjson.Members(string(body), member); err != nil {
		return fmt.Errorf("the answer is not the JSON that it should be: %w", err)
	}
	return nil
}

// add adds a key if it can verify tokens: RFC 7517, section 5, has a reader pass
// over keys that it cannot use.
func (k *keys) add(v jwtjson.Value) error {
	k.offered++
	if id, key := readKey(v); key != nil && len(k.byID[id]) < maxSameID {
		k.byID[id] = append(k.byID[id], key)
	}
	return nil
}

// readKey returns a key that can verify RS256 signatures (RFC 7517, section 4, and
// RFC 7518, section 6.3.1), or nil.
func readKey(v jwtjson.Value) (id string, key *rsa.PublicKey) {
	var kind string
	var modulus, exponent big.Int
	fit := true
	err := jwtjson.Members(string(v), func(name string, v jwtjson.Value) (err error) {
		s, _ := v.Text()
		if v == "null" {
			return nil // as if it were not there
		}
		switch name {
		case "kty":
			kind = s
		case "kid":
			id = s
		case "n":
			err = setInt(&modulus, s)
		case "e":
			err = setInt(&exponent, s)
		case "use":
			fit = fit && s == "sig"
		case "alg":
			fit = fit && s == "RS256"
		case "key_ops":
			verifies := false
			_, err = v.Items(func(op jwtjson.Value) error {
				s, _ := op.Text()
				verifies = verifies || s == "verify"
				return nil
			})
			fit = fit && verifies
		case "d": // a private key that is given away is no one's
			fit = false
		}
		return err
	})
	bits := modulus.BitLen()
	switch {
	case err != nil, !fit, kind != "RSA", id == "", bits < minModulus, bits > maxModulus,
		exponent.Bit(0) == 0, exponent.BitLen() < 2, exponent.BitLen() > 31: // what crypto/rsa takes
		return "", nil
	}
	return id, &rsa.PublicKey{N: &modulus, E: int(exponent.Int64())}
}

// setInt reads a Base64urlUInt (RFC 7518, section 2).
func setInt(n *big.Int, s string) error {
	b, err := jwtjson.Part(s)
	n.SetBytes([]byte(b))
	return err
}
