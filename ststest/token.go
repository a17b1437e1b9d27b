package ststest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // its names are exact, and none may come twice
	"github.com/go-jose/go-jose/v4/jwt"
)

// clockSkew is how long after its exp STS still accepts a token. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_oidc.html.
// This package assumes that nbf and iat may be as far in the future.
const clockSkew = 5 * time.Minute

// algorithms are the signature algorithms that STS accepts. See WebIdentityToken in
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
// That page also says that dates must be integers.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

// claims are the claims that STS checks. Decoding fails for a date that is not an
// integer.
type claims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  jwt.Audience `json:"aud"`
	Expiry    *int64       `json:"exp"`
	NotBefore int64        `json:"nbf"`
	IssuedAt  *int64       `json:"iat"`
}

// verifyToken checks a token as STS does before it looks at the role.
func (s *Server) verifyToken(ctx context.Context, raw string) (*claims, error) {
	var said claims
	token, err := jwt.ParseSigned(raw, algorithms)
	if err == nil {
		err = token.UnsafeClaimsWithoutVerification(&said)
	}
	if err != nil {
		return nil, refuse("InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	s.mu.Lock()
	audiences, known := s.providers[said.Issuer]
	s.mu.Unlock()
	if !known {
		return nil, refuse("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %s", said.Issuer)
	}
	key, err := s.key(ctx, said.Issuer, token.Headers[0].KeyID)
	if err != nil {
		return nil, &Error{Code: noKey.Code, Message: noKey.Message, Status: noKey.Status}
	}
	if key == nil || token.Claims(key, &said) != nil {
		return nil, refuse("InvalidIdentityToken", "Couldn't verify the token's signature with the keys of your identity provider")
	}
	now := s.options.Now().Unix()
	const skew = int64(clockSkew / time.Second)
	switch {
	case said.Expiry == nil:
		return nil, refuse("InvalidIdentityToken", "Missing a required claim: exp")
	case said.IssuedAt == nil:
		return nil, refuse("InvalidIdentityToken", "Missing a required claim: iat")
	case said.Subject == "":
		return nil, refuse("InvalidIdentityToken", "Missing a required claim: sub")
	case !slices.ContainsFunc(audiences, said.Audience.Contains):
		return nil, refuse("InvalidIdentityToken", "Incorrect token audience")
	case now-skew >= *said.Expiry:
		return nil, refuse("ExpiredTokenException", "Token expired: current date/time %d must be before the expiration date/time %d", now, *said.Expiry)
	case now+skew < max(said.NotBefore, *said.IssuedAt):
		return nil, refuse("InvalidIdentityToken", "The token is not valid before %d", max(said.NotBefore, *said.IssuedAt))
	}
	return &said, nil
}

// key returns the issuer's key with the ID, or nil if it has none. It fetches the
// issuer's keys if it does not know the ID.
func (s *Server) key(ctx context.Context, issuer, id string) (*jose.JSONWebKey, error) {
	s.mu.Lock()
	set := s.keys[issuer]
	s.mu.Unlock()
	if len(set.Key(id)) == 0 {
		var err error
		if set, err = fetchKeys(ctx, s.options.HTTPClient, issuer); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.keys[issuer] = set
		s.mu.Unlock()
	}
	if found := set.Key(id); len(found) > 0 {
		return &found[0], nil
	}
	return nil, nil
}

func fetchKeys(ctx context.Context, client *http.Client, issuer string) (set jose.JSONWebKeySet, err error) {
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := fetchJSON(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &discovery); err != nil {
		return set, err
	}
	if discovery.Issuer != issuer {
		return set, errors.New("the discovery document is of another issuer")
	}
	return set, fetchJSON(ctx, client, discovery.Keys, &set)
}

func fetchJSON(ctx context.Context, client *http.Client, url string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	return json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(v)
}
