package oidctest

import (
	"cmp"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Claims are the claims of a token. Mint sets them as Vercel would for a
// production deployment of the project "web"; see
// https://vercel.com/docs/oidc/reference. In a build on Vercel, Mint sets the
// project ID and environment of that build, since there the library refuses a
// request's token of another one; see
// https://vercel.com/docs/environment-variables/system-environment-variables.
type Claims struct {
	Issuer      string    // iss
	Subject     string    // sub and scope; if empty, from Owner, Project and Environment
	Audience    string    // aud
	Owner       string    // owner: the team's slug
	OwnerID     string    // owner_id
	Project     string    // project
	ProjectID   string    // project_id; if empty, derived from Project, or for "web" VERCEL_PROJECT_ID where that is set
	Environment string    // environment; "production", unless VERCEL_TARGET_ENV or else VERCEL_ENV is set
	Plan        string    // plan
	UserID      string    // user_id; left out if empty
	ExternalSub string    // external_sub; left out if empty
	JTI         string    // jti; left out if empty
	IssuedAt    time.Time // iat; if zero, now
	NotBefore   time.Time // nbf; if zero, IssuedAt
	Expiry      time.Time // exp; if zero, two hours after IssuedAt, or 12 in the environment "development"

	// Extra claims are added last, and replace others of the same name. A nil
	// value removes a claim.
	Extra map[string]any
}

// Mint returns a signed token. The functions change its claims.
func (s *Server) Mint(optFns ...func(*Claims)) string {
	k := s.key()
	return sign(k.private, k.id, s.payload(optFns))
}

// MintForged returns a token that names a key of the server and is signed with
// another.
func (s *Server) MintForged(optFns ...func(*Claims)) string {
	return sign(stranger(), s.key().id, s.payload(optFns))
}

// MintUnknownKey returns a token that is signed with, and names, a key that the
// server does not publish.
func (s *Server) MintUnknownKey(optFns ...func(*Claims)) string {
	return sign(stranger(), "unknown", s.payload(optFns))
}

// MintUnsigned returns a token with the algorithm "none" and the signature part
// signature. In RFC 7519 that part is empty, but an attacker can put any text there.
func (s *Server) MintUnsigned(signature string, optFns ...func(*Claims)) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + e(s.payload(optFns)) + "." + e([]byte(signature))
}

// Tamper returns raw with its payload changed and its signature kept.
func Tamper(raw string, optFns ...func(claims map[string]any)) string {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		panic("oidctest: Tamper was not given a token")
	}
	var claims map[string]any
	if payload := must(base64.RawURLEncoding.DecodeString(parts[1])); json.Unmarshal(payload, &claims) != nil {
		panic("oidctest: Tamper was not given a token")
	}
	claims["tampered"] = true
	for _, fn := range optFns {
		fn(claims)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(must(json.Marshal(claims)))
	return strings.Join(parts, ".")
}

func (s *Server) payload(optFns []func(*Claims)) []byte {
	c := Claims{
		Issuer:      s.Issuer(),
		Audience:    s.Audience(),
		Owner:       s.options.Team,
		Project:     "web",
		Environment: cmp.Or(os.Getenv("VERCEL_TARGET_ENV"), os.Getenv("VERCEL_ENV"), "production"),
		Plan:        "pro",
	}
	for _, fn := range optFns {
		fn(&c)
	}
	if c.OwnerID == "" {
		c.OwnerID = "team_" + c.Owner
	}
	if c.ProjectID == "" {
		c.ProjectID = "prj_" + c.Project
		if here := os.Getenv("VERCEL_PROJECT_ID"); here != "" && c.Project == "web" {
			c.ProjectID = here
		}
	}
	if c.Subject == "" {
		c.Subject = fmt.Sprintf("owner:%s:project:%s:environment:%s", c.Owner, c.Project, c.Environment)
	}
	if c.IssuedAt.IsZero() {
		c.IssuedAt = s.options.Now()
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = c.IssuedAt
	}
	if c.Expiry.IsZero() {
		life := 2 * time.Hour
		if c.Environment == "development" {
			life = 12 * time.Hour
		}
		c.Expiry = c.IssuedAt.Add(life)
	}
	claims := map[string]any{
		"iss": c.Issuer, "sub": c.Subject, "scope": c.Subject, "aud": c.Audience,
		"owner": c.Owner, "owner_id": c.OwnerID, "project": c.Project, "project_id": c.ProjectID,
		"environment": c.Environment, "plan": c.Plan,
		"iat": c.IssuedAt.Unix(), "nbf": c.NotBefore.Unix(), "exp": c.Expiry.Unix(),
	}
	for name, value := range map[string]string{"user_id": c.UserID, "external_sub": c.ExternalSub, "jti": c.JTI} {
		if value != "" {
			claims[name] = value
		}
	}
	maps.Copy(claims, c.Extra)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return must(json.Marshal(claims))
}

func sign(private *rsa.PrivateKey, keyID string, payload []byte) string {
	key := jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: keyID}}
	signer := must(jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT")))
	return must(must(signer.Sign(payload)).CompactSerialize())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("oidctest: " + err.Error())
	}
	return v
}
