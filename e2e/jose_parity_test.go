package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/npm"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// TestParityWithJose has npm's jose and oidcverify verify the same tokens, all signed
// by the issuer's key: each of many headers with each of many payloads. Jose accepts
// every token that oidcverify accepts. For each token that only jose accepts there is
// a reason. It needs npm.
func TestParityWithJose(t *testing.T) {
	packages := npm.Install(t, "jose@6.2.18")
	const issuer, audience = "https://oidc.vercel.com/acme", "https://vercel.com/acme"
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	set := `{"keys":[{"kty":"RSA","kid":"k","use":"sig","alg":"RS256","e":"AQAB","n":"` + encode(key.N.Bytes()) + `"}]}`
	sign := func(header, payload string) string { // parts, as they are
		digest := sha256.Sum256([]byte(header + "." + payload))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
		require.NoError(t, err)
		return header + "." + payload + "." + encode(signature)
	}

	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	claims := func(more string) string {
		return fmt.Sprintf(`{"iss":%q,"sub":"s","aud":%q,"exp":%d%s}`, issuer, audience, future, more)
	}
	without := func(old, new string) string {
		out := strings.Replace(claims(""), old, new, 1)
		require.NotEqual(t, claims(""), out)
		return out
	}
	type part struct {
		name, text string
		good       bool   // to jose
		why        string // ours refuses it all the same
	}
	headers := []part{
		{"plain", `{"alg":"RS256","kid":"k"}`, true, ""},
		{"white space", " {\n\t\"alg\" : \"RS256\" , \"kid\":\"k\"}\r\n", true, ""},
		{"escaped", `{"\u0061lg":"RS256","\u006bid":"\u006b"}`, true, ""},
		{"typ", `{"alg":"RS256","kid":"k","typ":"JWT"}`, true, ""},
		{"an unknown parameter", `{"alg":"RS256","kid":"k","x":{"crit":["b64"]}}`, true, ""},
		{"keys of others", `{"alg":"RS256","kid":"k","jku":"https://evil.example","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}`, true, ""},
		{"names in another case", `{"alg":"RS256","kid":"k","ALG":"none","Kid":"x","CRIT":["x"]}`, true, ""},
		{"b64 as it is anyway", `{"alg":"RS256","kid":"k","b64":true}`, true, ""},
		{"an unknown key", `{"alg":"RS256","kid":"K"}`, false, ""},
		{"crit empty", `{"alg":"RS256","kid":"k","crit":[]}`, false, ""},
		{"crit null", `{"alg":"RS256","kid":"k","crit":null}`, false, ""},
		{"crit unknown", `{"alg":"RS256","kid":"k","crit":["x"],"x":1}`, false, ""},
		{"crit b64", `{"alg":"RS256","kid":"k","crit":["b64"],"b64":true}`, true, "no extension is known here, and a token needs none"},
		{"crit, b64 false", `{"alg":"RS256","kid":"k","crit":["b64"],"b64":false}`, false, ""},
		{"b64 false", `{"alg":"RS256","kid":"k","b64":false}`, true, "RFC 7797 has it in crit, and never in a JWT"},
		{"none", `{"alg":"none","kid":"k"}`, false, ""},
		{"rs256", `{"alg":"rs256","kid":"k"}`, false, ""},
		{"RS512", `{"alg":"RS512","kid":"k"}`, false, ""},
		{"PS256", `{"alg":"PS256","kid":"k"}`, false, ""},
		{"HS256", `{"alg":"HS256","kid":"k"}`, false, ""},
		{"Alg alone", `{"Alg":"RS256","kid":"k"}`, false, ""},
		{"alg twice", `{"alg":"none","alg":"RS256","kid":"k"}`, true, "a name stands twice"},
		{"kid twice", `{"alg":"RS256","kid":"x","kid":"k"}`, true, "a name stands twice"},
		{"no kid", `{"alg":"RS256"}`, true, "Vercel's tokens name their key"},
		{"kid a number", `{"alg":"RS256","kid":7}`, false, ""},
		{"two objects", `{"alg":"RS256","kid":"k"}{}`, false, ""},
		{"a byte order mark", "\ufeff" + `{"alg":"RS256","kid":"k"}`, true, "JSON has none (RFC 8259, section 8.1)"},
		{"not UTF-8", "{\"alg\":\"RS256\",\"kid\":\"k\",\"x\":\"\xff\"}", false, ""},
		{"deep", `{"alg":"RS256","kid":"k","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, true, "bounded"},
	}
	payloads := []part{
		{"plain", claims(""), true, ""},
		{"times of 0", claims(`,"iat":0,"nbf":0`), true, ""},
		{"fractions", claims(`,"iat":1.5,"nbf":1e3`), true, ""},
		{"numbers for text", claims(`,"project_id":7,"owner_id":8,"environment":9`), true, ""},
		{"other types", claims(`,"plan":{},"owner":[],"project":true,"user_id":null`), true, ""},
		{"names in another case", claims(fmt.Sprintf(`,"Exp":%d,"ISS":"x","i\u017f\u017f":"y"`, past)), true, ""},
		{"an extension", claims(`,"act":{"sub":"x","act":{"sub":"x"}}`), true, ""},
		{"a list of audiences", without(`"`+audience+`"`, `["x","`+audience+`"]`), true, ""},
		{"no audience in the list", without(`"`+audience+`"`, `[]`), false, ""},
		{"another audience", without(audience, audience+"/"), false, ""},
		{"an audience that is a number", without(`"`+audience+`"`, `7`), false, ""},
		{"another issuer", without(issuer, issuer+"/"), false, ""},
		{"a list of issuers", without(`"`+issuer+`"`, `["`+issuer+`"]`), false, ""},
		{"an iſſ alone", without(`"iss"`, `"i\u017f\u017f"`), false, ""},
		{"no sub", without(`"sub"`, `"Sub"`), false, ""},
		{"no exp", without(`"exp"`, `"Exp"`), false, ""},
		{"expired", without(fmt.Sprint(future), fmt.Sprint(past)), false, ""},
		{"expired, with a live Exp", without(`"exp":`, fmt.Sprintf(`"exp":%d,"Exp":`, past)), false, ""},
		{"exp as text", without(fmt.Sprint(future), fmt.Sprintf(`"%d"`, future)), false, ""},
		{"exp null", without(fmt.Sprint(future), `null`), false, ""},
		{"exp huge", without(fmt.Sprint(future), `1e300`), true, "after the year 10680"},
		{"nbf to come", claims(fmt.Sprintf(`,"nbf":%d`, future)), false, ""},
		{"nbf null", claims(`,"nbf":null`), false, ""},
		{"iat as text", claims(`,"iat":"0"`), false, ""},
		{"iat negative", claims(`,"iat":-1`), true, "before 1970"},
		{"exp twice", claims(fmt.Sprintf(`,"exp":%d`, future)), true, "a name stands twice"},
		{"an unknown name twice", claims(`,"x":1,"x":2`), true, "a name stands twice"},
		{"sub a number", without(`"s"`, `7`), true, "sub is text (RFC 7519, section 4.1.2)"},
		{"a number among the audiences", without(`"`+audience+`"`, `[7,"`+audience+`"]`), true, "aud is text (RFC 7519, section 4.1.3)"},
		{"a list", `[]`, false, ""},
		{"more behind", claims("") + "x", false, ""},
	}
	type token struct {
		name, raw string
		good      bool
		why       string
	}
	var tokens []token
	for _, h := range headers {
		for _, p := range payloads {
			all := token{h.name + "; " + p.name, sign(encode([]byte(h.text)), encode([]byte(p.text))), h.good && p.good, ""}
			if all.good {
				all.why = strings.Trim(h.why+"; "+p.why, "; ")
			}
			tokens = append(tokens, all)
		}
	}
	require.Greater(t, len(tokens), 200)
	// Other texts of one token.
	header, payload := encode([]byte(headers[0].text+" ")), encode([]byte(claims("")+" "))
	for len(payload)%4 == 0 {
		payload = encode([]byte(claims("") + "  "))
	}
	bits := func(part string) string { // sets bits of the last character that encode nothing
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := len(part) - 1
		return part[:last] + string(alphabet[strings.IndexByte(alphabet, part[last])+1])
	}
	plain := sign(header, payload)
	const one = "a token has one text"
	tokens = append(tokens,
		token{"one text", plain, true, ""},
		token{"bits in the header", sign(bits(header), payload), true, one},
		token{"bits in the payload", sign(header, bits(payload)), true, one},
		token{"bits in the signature", bits(plain), true, one},
		token{"a space in the payload", sign(header, payload[:8]+" "+payload[8:]), true, one},
		token{"a fourth part", plain + ".", false, ""},
		token{"no signature", plain[:strings.LastIndexByte(plain, '.')+1], false, ""},
		token{"cut", plain[:len(plain)-4], false, ""},
		token{"longer", plain + "AAAA", false, ""},
		token{"garbage", "garbage", false, ""},
		token{"empty", "", false, ""},
	)

	raws := make([]string, len(tokens))
	for i, token := range tokens {
		raws[i] = token.raw
	}
	var theirs []string
	npm.Run(t, raws, &theirs, filepath.Join("testdata", "jose", "jose.mjs"), packages, set, issuer, audience)
	require.Len(t, theirs, len(tokens))

	verifier, err := oidcverify.New(issuer, audience, func(o *oidcverify.Options) {
		o.AnyProject, o.AnyEnvironment = true, true
		o.HTTPClient = &http.Client{Transport: published(set)}
	})
	require.NoError(t, err)
	_, err = verifier.Verify(t.Context(), tokens[0].raw)
	require.NoError(t, err)
	good, bad, stricter := 0, 0, 0
	for i, token := range tokens {
		_, err := verifier.Verify(t.Context(), token.raw)
		assert.Equal(t, token.good, theirs[i] == "good", "%s: jose says %s", token.name, theirs[i])
		assert.Equal(t, token.good && token.why == "", err == nil, "%s: %v", token.name, err)
		switch {
		case token.why != "":
			stricter++
		case token.good:
			good++
		default:
			bad++
		}
	}
	t.Logf("%d tokens: %d taken by both, %d refused by both, %d refused here alone for a stated reason", len(tokens), good, bad, stricter)
}

// published is the way to https://oidc.vercel.com/acme, if that publishes a set of
// keys.
type published string

// RoundTrip implements http.RoundTripper.
func (p published) RoundTrip(r *http.Request) (*http.Response, error) {
	body := string(p)
	switch r.URL.String() {
	case "https://oidc.vercel.com/acme/.well-known/openid-configuration":
		body = `{"issuer":"https://oidc.vercel.com/acme","jwks_uri":"https://oidc.vercel.com/acme/.well-known/jwks"}`
	case "https://oidc.vercel.com/acme/.well-known/jwks":
	default:
		return nil, errors.New("unexpected request: " + r.URL.String())
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}
