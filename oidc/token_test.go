package oidc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	raw := mint(t, claim("user_id", "user_1"), claim("exp", 1790000000), claim("iat", 1789992800.5), claim("nbf", 1789992800))
	tok, err := ParseUnverified(raw)
	require.NoError(t, err)
	assert.Equal(t, "https://oidc.vercel.com/acme", tok.Issuer)
	assert.Equal(t, "owner:acme:project:web:environment:production", tok.Subject)
	assert.Equal(t, []string{"https://vercel.com/acme"}, tok.Audience)
	assert.Equal(t, int64(1790000000), tok.Expiry.Unix())
	assert.Equal(t, int64(1789992800), tok.IssuedAt.Unix())
	assert.Equal(t, int64(1789992800), tok.NotBefore.Unix())
	assert.Equal(t, [7]string{"acme", "team_1", "web", "prj_1", "production", "pro", "user_1"},
		[7]string{tok.Owner, tok.OwnerID, tok.Project, tok.ProjectID, tok.Environment, tok.Plan, tok.UserID})
	assert.Equal(t, raw, tok.Raw())

	var all struct {
		Scope string `json:"scope"`
		Plan  string `json:"plan"`
	}
	require.NoError(t, tok.Claims(&all))
	assert.Equal(t, "pro", all.Plan)
	assert.Error(t, tok.Claims(&[]int{}))
	assert.ErrorIs(t, Token{}.Claims(&all), ErrNoToken)
}

func TestParseListOfAudiences(t *testing.T) {
	tok, err := ParseUnverified(mint(t, claim("aud", []string{"a", "b"})))
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, tok.Audience)
}

func TestParseRefuses(t *testing.T) {
	good := mint(t)
	parts := strings.Split(good, ".")
	cases := []struct{ name, raw, says string }{
		{"empty", "", "it is empty"},
		{"word", "undefined", "1 dot-separated parts"},
		{"two parts", parts[0] + "." + parts[1], "2 dot-separated parts"},
		{"encrypted JWT", strings.Repeat("e30.", 4) + "e30", "5 dot-separated parts"},
		{"no signature, as alg none has", parts[0] + "." + parts[1] + ".", "no signature"},
		{"quoted", `"` + good + `"`, "quotation mark"},
		{"scheme", "Bearer " + good, "position 6"},
		{"line end", good + "\n", "byte 0x0a"},
		{"null", good + "\x00", "byte 0x00"},
		{"not ASCII", good + "é", "byte 0xc3"},
		{"too long", good + strings.Repeat("A", MaxTokenLength), "longest that STS takes is 20000"},
		{"standard base64", parts[0] + "." + parts[1] + ".++//", "signature: it is not base64url"},
		{"padded", parts[0] + "." + parts[1] + ".YQ==", "signature: it is not base64url"},
		{"payload not base64url", parts[0] + ".a." + parts[2], "payload: it is not base64url"},
		{"header not JSON", join("x", "{}", "s"), "header: it is not JSON"},
		{"header a list", join("[]", "{}", "s"), "header: it is not a JSON object"},
		{"payload not JSON", join("{}", "{", "s"), "payload: it is not JSON"},
		{"payload a string", join("{}", `"x"`, "s"), "payload: it is not a JSON object"},
		{"no claims", join("{}", "{}", "s"), "no iss claim"},
		{"no sub", mint(t, claim("sub", nil)), "no sub claim"},
		{"no exp", mint(t, claim("exp", nil)), "no exp claim"},
		{"exp a string", mint(t, claim("exp", "soon")), "not a number"},
		{"exp negative", mint(t, claim("exp", -5)), "out of range"},
		{"exp huge", mint(t, claim("exp", 1e300)), "out of range"},
		{"sub a number", mint(t, claim("sub", 7)), "claim sub has the wrong type"},
		{"aud a number", mint(t, claim("aud", 7)), "aud is neither"},
		{"aud a list of numbers", mint(t, claim("aud", []int{7})), "payload"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tok, err := ParseUnverified(c.raw)
			require.ErrorIs(t, err, ErrMalformed)
			assert.ErrorContains(t, err, c.says)
			assert.Equal(t, Token{}, tok)
			assert.NotContains(t, err.Error(), parts[1])
			assert.NotContains(t, err.Error(), parts[2])
		})
	}
}

func TestCheckExpiryAllowsForTheClock(t *testing.T) {
	tok, err := ParseUnverified(mint(t))
	require.NoError(t, err)
	assert.NoError(t, tok.CheckExpiry(tok.Expiry.Add(-time.Second)))
	assert.NoError(t, tok.CheckExpiry(tok.Expiry.Add(59*time.Second)), "the local clock may be up to a minute fast")
	err = tok.CheckExpiry(tok.Expiry.Add(90 * time.Second))
	require.ErrorIs(t, err, ErrExpired)
	assert.ErrorContains(t, err, tok.Expiry.UTC().Format(time.RFC3339)+", 1m30s ago")
}

// Every way in which Go code prints or stores a value must keep the JWT out.
func TestTokenIsNeverPrinted(t *testing.T) {
	raw := mint(t)
	signed := strings.SplitN(raw, ".", 2)[1]
	signature := raw[strings.LastIndex(raw, ".")+1:]
	tok, err := ParseUnverified(raw)
	require.NoError(t, err)

	type wrapper struct {
		Public  Token
		private Token
		pointer *Token
		any     any
		list    []Token
		set     map[string]Token
	}
	w := wrapper{tok, tok, &tok, tok, []Token{tok}, map[string]Token{"a": tok}}
	ctx := ContextWithToken(t.Context(), raw)
	values := []any{tok, &tok, w, &w, []Token{tok}, ctx, ContextWithToken(ctx, raw)}
	check := func(how, out string) {
		t.Helper()
		assert.NotContains(t, out, signed, how)
		assert.NotContains(t, out, signature, how)
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%T", "%10.3v"} {
			out := fmt.Sprintf(verb, v)
			check(verb, out)
			check(verb, decodeHex(out))
		}
		check("Sprint", fmt.Sprint(v))
		check("Errorf", fmt.Errorf("x: %v", v).Error())
		if b, err := json.Marshal(v); err == nil {
			check("json", string(b))
		}
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).Info("x", "v", v)
			check("slog", b.String())
		}
	}
	assert.Contains(t, fmt.Sprint(tok), tok.Subject, "a person needs the claims")
	assert.Equal(t, "no token", fmt.Sprint(Token{}))
}

func decodeHex(s string) string {
	var b []byte
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil {
		return ""
	}
	return string(b)
}
