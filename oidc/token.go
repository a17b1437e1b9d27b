package oidc

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vercelaws/vercelaws/internal/jwtjson"
	"github.com/vercelaws/vercelaws/internal/scrub"
)

// MaxTokenLength is the longest token, in characters, that STS accepts
// (AssumeRoleWithWebIdentity, parameter WebIdentityToken). ParseUnverified refuses
// longer ones.
const MaxTokenLength = 20_000

// maxClaim is how many characters of a claim a message shows.
const maxClaim = 200

// clockLeeway is how long after its expiry a token counts as expired, since the local
// clock may be ahead of Vercel's. STS decides by its own clock.
const clockLeeway = time.Minute

var (
	// ErrNoToken says that a source has no token. The error that wraps it
	// says where the source looked and what to do.
	ErrNoToken = errors.New("no token")
	// ErrExpired says that the token of a source has expired. The error that
	// wraps it says when.
	ErrExpired = errors.New("token expired")
	// ErrMalformed says that a value is not a JSON Web Token (RFC 7519), or
	// that a request carries two different ones.
	ErrMalformed = errors.New("malformed token")
)

// Token is a Vercel OIDC token: its claims, and the JWT they were read from.
// The claims are not verified: STS verifies them when it is given the token, and
// package oidcverify verifies the tokens of callers.
//
// The JWT leaves a Token only through [Token.Raw]: no fmt verb and no
// marshaller shows it. Compare two tokens by Raw, since a Token is not
// comparable and [reflect.DeepEqual] does not look inside it. For the meaning of each
// claim see https://vercel.com/docs/oidc/reference.
type Token struct {
	Issuer      string    // iss: https://oidc.vercel.com/<team>, or https://oidc.vercel.com in global issuer mode
	Subject     string    // sub: owner:<team>:project:<project>:environment:<environment>
	Audience    []string  // aud: https://vercel.com/<team>, or what the token was exchanged for
	Expiry      time.Time // exp
	IssuedAt    time.Time // iat; zero if the token has none
	NotBefore   time.Time // nbf; zero if the token has none
	Owner       string    // owner: the team's slug
	OwnerID     string    // owner_id: team_…
	Project     string    // project: the project's name
	ProjectID   string    // project_id: prj_…
	Environment string    // environment: production, preview, development, or a custom environment's name
	Plan        string    // plan: the team's plan
	UserID      string    // user_id: who pulled it; development tokens only

	// secret returns the JWT and its payload. It is a function because no
	// printer shows what a function holds. Package fmt can follow a pointer, and
	// debugging printers follow all pointers.
	secret func() (raw, payload string)
	source string
}

// ParseUnverified reads a JWT's structure and claims. It does not check the signature,
// and an expired token parses. The error matches [ErrMalformed] and never
// holds any of raw.
//
// A token must have three base64url parts (RFC 7515, section 7.1), at most
// [MaxTokenLength] characters, and the claims iss, sub and exp, without which STS
// would refuse it. The names of claims must be exact, and no name may be there
// twice. STS does not read the claims that only Vercel defines, so any type is
// accepted for them: a number is read as its digits, and other values that are not
// strings are ignored.
func ParseUnverified(raw string) (Token, error) {
	t, err := parseToken(raw)
	if err != nil {
		return Token{}, fmt.Errorf("oidc: %w", err)
	}
	return t, nil
}

// parseToken is ParseUnverified without the package's name in its errors.
func parseToken(raw string) (Token, error) {
	t, err := decode(raw)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return t, nil
}

func decode(raw string) (Token, error) {
	switch {
	case raw == "":
		return Token{}, errors.New("it is empty")
	case len(raw) > MaxTokenLength:
		return Token{}, fmt.Errorf("it has %d characters; the longest that STS takes is %d", len(raw), MaxTokenLength)
	case raw[0] == '"' || raw[0] == '\'':
		return Token{}, errors.New("it begins with a quotation mark; remove the quotes around the value")
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f {
			return Token{}, fmt.Errorf("it has a character that no token has (byte 0x%02x at position %d)", c, i)
		}
	}
	if n := strings.Count(raw, "."); n != 2 {
		return Token{}, fmt.Errorf("it has %d dot-separated parts; a JSON Web Token has 3", n+1)
	}
	header, rest, _ := strings.Cut(raw, ".")
	body, signature, _ := strings.Cut(rest, ".")
	if signature == "" {
		return Token{}, errors.New("it has no signature")
	}
	if _, _, err := readPart(header); err != nil {
		return Token{}, fmt.Errorf("header: %w", err)
	}
	if _, err := jwtjson.Bytes(signature); err != nil {
		return Token{}, fmt.Errorf("signature: %w", err)
	}
	payload, c, err := readPart(body)
	if err != nil {
		return Token{}, fmt.Errorf("payload: %w", err)
	}
	t := Token{
		Owner:       label(c["owner"]),
		OwnerID:     label(c["owner_id"]),
		Project:     label(c["project"]),
		ProjectID:   label(c["project_id"]),
		Environment: label(c["environment"]),
		Plan:        label(c["plan"]),
		UserID:      label(c["user_id"]),
		secret:      func() (string, string) { return raw, payload },
	}
	err = cmp.Or(
		setText(&t.Issuer, "iss", c),
		setText(&t.Subject, "sub", c),
		setAudience(&t.Audience, c["aud"]),
		setTime(&t.Expiry, c["exp"]),
		setTime(&t.IssuedAt, c["iat"]),
		setTime(&t.NotBefore, c["nbf"]),
	)
	switch {
	case err != nil:
		return Token{}, fmt.Errorf("payload: %w", err)
	case t.Expiry.IsZero():
		return Token{}, errors.New("payload: it has no exp claim")
	}
	return t, nil
}

// Raw returns the JWT. It is a secret until it expires: anyone who has it can act
// as the deployment.
func (t Token) Raw() string {
	if t.secret == nil {
		return ""
	}
	raw, _ := t.secret()
	return raw
}

// Claims stores every claim of the token into v, as [json.Unmarshal] does. Use
// it for claims that Token has no field for. It returns an error if the names of
// two claims differ only in case, because json.Unmarshal ignores case.
func (t Token) Claims(v any) error {
	if t.secret == nil {
		return fmt.Errorf("oidc: %w: a zero Token has no claims", ErrNoToken)
	}
	_, payload := t.secret()
	members, err := jwtjson.Object(payload)
	seen := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		folded := strings.ToLower(strings.ToUpper(name)) // maps U+017F to "s", as encoding/json does
		if seen[folded] {
			err = fmt.Errorf("the name %s differs from another only in case", scrub.Quote(name, maxClaim))
		}
		seen[folded] = true
	}
	if err == nil {
		err = json.Unmarshal([]byte(payload), v)
	}
	if err != nil {
		return fmt.Errorf("oidc: claims of the token: %w", err)
	}
	return nil
}

// Source names the source that the token came from, such as "request" or
// "VERCEL_OIDC_TOKEN_FILE". It is for logs and diagnosis. It is empty for a token
// that [ParseUnverified] returned.
func (t Token) Source() string { return t.source }

// CheckExpiry returns an error that matches [ErrExpired] if the token has expired
// at now. The error says when it expired. It allows for a local clock that is up
// to a minute fast. A token that is not valid yet passes: STS compares its nbf
// with its own clock.
//
// STS accepts a token up to five minutes past its expiry
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_oidc.html).
// A provider of package vercelaws makes use of that if it has no other token.
// CheckExpiry does not allow for it.
func (t Token) CheckExpiry(now time.Time) error {
	if now.Before(t.Expiry.Add(clockLeeway)) {
		return nil
	}
	return fmt.Errorf("%w at %s, %s ago", ErrExpired, t.Expiry.UTC().Format(time.RFC3339), now.Sub(t.Expiry).Round(time.Second))
}

// String returns the token's subject and issuer, quoted and shortened, and its
// expiry; never the JWT.
func (t Token) String() string {
	if t.secret == nil && t.Subject == "" {
		return "no token"
	}
	return fmt.Sprintf("token of %s from %s, expiring %s", scrub.Quote(t.Subject, maxClaim), scrub.Quote(t.Issuer, maxClaim), t.Expiry.UTC().Format(time.RFC3339))
}

// Format implements [fmt.Formatter], so that every verb prints String.
func (t Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.String()) }

// SameIdentity reports whether t and u are tokens of the same project and
// environment, or of the same subject if they have no project ID.
func (t Token) SameIdentity(u Token) bool {
	if t.ProjectID == "" || u.ProjectID == "" {
		return t.ProjectID == u.ProjectID && t.Subject == u.Subject
	}
	return t.ProjectID == u.ProjectID && t.Environment == u.Environment
}

// looksLikeJWT reports whether raw has the form of a JWT: three parts of
// base64url characters, none of them empty, and no longer than STS accepts. It
// does no more than read raw once, since it runs on every request.
func looksLikeJWT(raw string) bool {
	if len(raw) > MaxTokenLength {
		return false
	}
	parts, length := 1, 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '.' && length > 0:
			parts, length = parts+1, 0
		case isBase64url(c):
			length++
		default:
			return false
		}
	}
	return parts == 3 && length > 0
}

// isBase64url reports whether c is a character of base64url (RFC 4648, section 5).
func isBase64url(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
