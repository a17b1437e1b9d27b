package oidc

import (
	"bytes"
	"encoding/base64"
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
		{"aud a list of numbers", mint(t, claim("aud", []int{7})), "aud is neither"},
		{"aud null", payload(`"aud":null`), "aud is neither"},
		{"nbf null", payload(`"nbf":null`), "not a number"},
		{"sub null", join("{}", `{"iss":"i","sub":null,"exp":1}`, "s"), "no sub claim"},
		{"claim twice", payload(`"exp":2`), `the name "exp" twice`},
		{"claim twice, once escaped", payload(`"\u0065xp":2`), `the name "exp" twice`},
		{"claim that is not read twice", payload(`"x":1,"x":1`), `the name "x" twice`},
		{"twice inside of a claim", payload(`"act":{"sub":"a","sub":"b"}`), `the name "sub" twice`},
		{"header with a name twice", join(`{"alg":"RS256","alg":"none"}`, "{}", "s"), `header: it has the name "alg" twice`},
		{"names in another case", join("{}", `{"Iss":"i","SUB":"s","Exp":1}`, "s"), "no iss claim"},
		{"names that fold", join("{}", `{"i\u017f\u017f":"i","sub":"s","exp":1}`, "s"), "no iss claim"},
		{"header with unused bits", "e31." + parts[1] + "." + parts[2], "header: it is not base64url"},
		{"payload with unused bits", parts[0] + "." + unusedBits(t, parts[1]) + "." + parts[2], "payload: it is not base64url"},
		{"signature with unused bits", parts[0] + "." + parts[1] + ".YR", "signature: it is not base64url"},
		{"header with more behind", join("{}{}", "{}", "s"), "header: it is not JSON"},
		{"deep", payload(`"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), "in one another"},
		{"not UTF-8", payload("\"x\":\"\xff\""), "it is not JSON"},
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

// payload joins a token with the claims that it must have and these.
func payload(claims string) string {
	return join("{}", `{"iss":"i","sub":"s","exp":1,`+claims+`}`, "s")
}

// unusedBits returns another text that decodes to the same bytes where unused bits
// are not looked at.
func unusedBits(t *testing.T, part string) string {
	t.Helper()
	if len(part)%4 == 0 {
		t.Fatal("the part has no unused bits")
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(part) - 1
	other := part[:last] + string(alphabet[strings.IndexByte(alphabet, part[last])+1])
	want, err := base64.RawURLEncoding.DecodeString(part)
	require.NoError(t, err)
	got, err := base64.RawURLEncoding.DecodeString(other)
	require.NoError(t, err)
	require.Equal(t, want, got)
	return other
}

// Claims that STS does not read, or whose value is odd and clear, do not make a
// token unusable.
func TestParseTakesWhatSTSTakes(t *testing.T) {
	for name, c := range map[string]struct {
		claims string
		want   Token
	}{
		"iat and nbf 0":         {`"iat":0,"nbf":0`, Token{IssuedAt: time.Unix(0, 0), NotBefore: time.Unix(0, 0)}},
		"numbers":               {`"project_id":7,"owner_id":12345678901234567890,"environment":-1.5`, Token{ProjectID: "7", OwnerID: "12345678901234567890", Environment: "-1.5"}},
		"neither":               {`"project_id":true,"owner_id":{"a":[]},"owner":[],"plan":null`, Token{}},
		"names in another case": {`"ENVIRONMENT":"production","Project":"x","Exp":9999999999,"\u017fub":"x"`, Token{}},
		"text with escapes":     {`"owner":"a\u0062"`, Token{Owner: "ab"}},
		"an empty list":         {`"aud":[]`, Token{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseUnverified(payload(c.claims))
			require.NoError(t, err)
			got.secret = nil
			c.want.Issuer, c.want.Subject, c.want.Expiry = "i", "s", time.Unix(1, 0)
			assert.Equal(t, c.want, got)
		})
	}
}

// Names that encoding/json takes for one must not give Claims another value than
// the token's fields.
func TestClaimsByCase(t *testing.T) {
	for _, other := range []string{"Scope", "SCOPE", "\u017fcope", "\\u0053cope"} {
		tok, err := ParseUnverified(payload(`"scope":"a","` + other + `":"b"`))
		require.NoError(t, err)
		var all struct{ Scope string }
		assert.ErrorContains(t, tok.Claims(&all), "only case tells the name ")
		assert.Empty(t, all.Scope)
	}
	tok, err := ParseUnverified(payload(`"kind":"a","\u212aind":"b"`))
	require.NoError(t, err)
	assert.ErrorContains(t, tok.Claims(&struct{}{}), "only case tells the name ", "the sign of kelvin")
}

func TestLooksLikeJWT(t *testing.T) {
	long := "e30.e30." + strings.Repeat("A", MaxTokenLength-8)
	for _, raw := range []string{mint(t), "a.b.c", "-_.09.Az", long} {
		assert.True(t, looksLikeJWT(raw))
	}
	for _, raw := range []string{"", ".", "..", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c.", " a.b.c", "a.b.c\n", "a.b.c=", "a.b.+", "a.b./", "a.é.c", "a.b\x00.c", long + "A"} {
		assert.False(t, looksLikeJWT(raw), raw)
	}
	assert.Zero(t, testing.AllocsPerRun(10, func() { _ = looksLikeJWT(long) }))
}

// BenchmarkLooksLikeJWT is what a request pays for a header, whoever wrote it.
func BenchmarkLooksLikeJWT(b *testing.B) {
	for name, raw := range map[string]string{
		"token":   mint(b),
		"longest": "e30." + strings.Repeat("A", 19_692) + ".e30",
		"dots":    strings.Repeat(".", 19_700),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				looksLikeJWT(raw)
			}
		})
	}
}

// BenchmarkParse is what a fetch of credentials pays to read a token, and what the
// dearest of the longest tokens cost.
func BenchmarkParse(b *testing.B) {
	var members strings.Builder
	for i := range 90 {
		fmt.Fprintf(&members, `,"%d":{"x":{}}`, 1000+i)
	}
	lists := strings.TrimSuffix(strings.Repeat(`["a","b"],`, 999), ",")
	for name, raw := range map[string]string{
		"token":   mint(b),
		"string":  payload(`"x":"` + strings.Repeat("x", 14_000) + `"`),
		"members": payload(`"x":1` + members.String()),
		"repeats": payload(`"x":1` + strings.Repeat(`,"x":1`, 2000)),
		"lists":   payload(`"x":[` + lists + `]`),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = ParseUnverified(raw)
			}
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
