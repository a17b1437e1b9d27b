package oidcverify

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/jwtjson"
)

// What a verifier must refuse although the issuer's key has signed it, and what it
// must take although it is odd. The classes are those of Wycheproof's tests of JSON
// Web Signatures and Keys (https://github.com/C2SP/wycheproof), written anew for the
// one algorithm that is used here.

// signer is an issuer's key that signs whatever it is given.
type signer struct {
	key *rsa.PrivateKey
	v   *Verifier // that has the key, as "k"
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	v, err := New("https://oidc.vercel.com/acme", "https://vercel.com/acme", func(o *Options) {
		o.AnyProject, o.Environments = true, []string{"production"}
		o.HTTPClient = &http.Client{Transport: nowhere{}}
	})
	require.NoError(t, err)
	v.keys.current.byID = map[string][]*rsa.PublicKey{"k": {&key.PublicKey}}
	v.keys.fetched = time.Now()
	return &signer{key, v}
}

// nowhere answers no request.
type nowhere struct{}

// RoundTrip implements http.RoundTripper.
func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no network")
}

// pkcs1 signs text with RSASSA-PKCS1-v1_5 and SHA-256.
func (s *signer) pkcs1(text string) []byte {
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return signature
}

// parts signs two parts as they are.
func (s *signer) parts(header, payload string) string {
	return header + "." + payload + "." + encode(string(s.pkcs1(header+"."+payload)))
}

func (s *signer) token(header, payload string) string {
	return s.parts(encode(header), encode(payload))
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// claims returns a payload with what every token must have, and more.
func claims(more string) string {
	return fmt.Sprintf(`{"iss":"https://oidc.vercel.com/acme","sub":"s","aud":"https://vercel.com/acme","exp":%d,"environment":"production"%s}`, time.Now().Add(time.Hour).Unix(), more)
}

const plain = `{"alg":"RS256","kid":"k"}`

func TestSignedHeaders(t *testing.T) {
	s := newSigner(t)
	for name, header := range map[string]string{
		"plain":                     plain,
		"white space":               " {\n\t\"alg\" : \"RS256\" , \"kid\":\"k\"}\r\n",
		"escaped":                   `{"\u0061lg":"RS\u0032\u00356","kid":"\u006b"}`,
		"typ":                       `{"alg":"RS256","kid":"k","typ":"JWT"}`,
		"an unknown parameter":      `{"alg":"RS256","kid":"k","x":{"crit":["b64"]}}`,
		"b64 as it is anyway":       `{"alg":"RS256","kid":"k","b64":true}`,
		"keys of others, not used":  `{"alg":"RS256","kid":"k","jku":"https://evil.example","x5u":"https://evil.example","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}`,
		"other names, in that case": `{"alg":"RS256","kid":"k","ALG":"none","Kid":"x","CRIT":["x"]}`,
	} {
		_, err := s.v.Verify(t.Context(), s.token(header, claims("")))
		assert.NoError(t, err, name)
	}
	for name, header := range map[string]string{
		"crit is empty":              `{"alg":"RS256","kid":"k","crit":[]}`,
		"crit is null":               `{"alg":"RS256","kid":"k","crit":null}`,
		"crit is text":               `{"alg":"RS256","kid":"k","crit":"exp"}`,
		"crit names an extension":    `{"alg":"RS256","kid":"k","crit":["x"],"x":1}`,
		"crit names what is missing": `{"alg":"RS256","kid":"k","crit":["x"]}`,
		"crit names alg":             `{"alg":"RS256","kid":"k","crit":["alg"]}`,
		"crit names b64":             `{"alg":"RS256","kid":"k","crit":["b64"],"b64":true}`,
		"crit, b64 false":            `{"alg":"RS256","kid":"k","crit":["b64"],"b64":false}`,
		"b64 false":                  `{"alg":"RS256","kid":"k","b64":false}`,
		"b64 null":                   `{"alg":"RS256","kid":"k","b64":null}`,
		"b64 as text":                `{"alg":"RS256","kid":"k","b64":"true"}`,
		"no alg":                     `{"kid":"k"}`,
		"alg none":                   `{"alg":"none","kid":"k"}`,
		"alg in another case":        `{"alg":"rs256","kid":"k"}`,
		"alg with more behind":       `{"alg":"RS256\u0000","kid":"k"}`,
		"alg null":                   `{"alg":null,"kid":"k"}`,
		"alg as a list":              `{"alg":["RS256"],"kid":"k"}`,
		"alg RS512":                  `{"alg":"RS512","kid":"k"}`,
		"alg PS256":                  `{"alg":"PS256","kid":"k"}`,
		"alg HS256":                  `{"alg":"HS256","kid":"k"}`,
		"alg by another name":        `{"Alg":"RS256","kid":"k"}`,
		"kid by another name":        `{"alg":"RS256","KID":"k"}`,
		"kid that folds":             `{"alg":"RS256","\u212aid":"k"}`,
		"alg twice":                  `{"alg":"RS256","alg":"RS256","kid":"k"}`,
		"kid twice":                  `{"alg":"RS256","kid":"x","kid":"k"}`,
		"kid twice, once escaped":    `{"alg":"RS256","kid":"x","\u006bid":"k"}`,
		"kid is a number":            `{"alg":"RS256","kid":7}`,
		"kid is null":                `{"alg":"RS256","kid":null}`,
		"kid is half a character":    `{"alg":"RS256","kid":"\ud800"}`,
		"a list":                     `[` + plain + `]`,
		"two objects":                plain + plain,
		"a byte order mark":          "\ufeff" + plain,
		"not UTF-8":                  "{\"alg\":\"RS256\",\"kid\":\"k\",\"x\":\"\xff\"}",
		"deep":                       `{"alg":"RS256","kid":"k","x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
	} {
		_, err := s.v.Verify(t.Context(), s.token(header, claims("")))
		assert.ErrorIs(t, err, ErrRefused, name)
		assert.NotErrorIs(t, err, ErrUnavailable, name)
	}
}

func TestSignedClaims(t *testing.T) {
	s := newSigner(t)
	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	for name, more := range map[string]string{
		"iat and nbf 0":              `,"iat":0,"nbf":0`,
		"numbers for text":           `,"project_id":7,"owner_id":8`,
		"names in another case":      fmt.Sprintf(`,"Exp":%d,"ENVIRONMENT":"preview","i\u017f\u017f":"https://evil.example","Nbf":%d`, past, future),
		"an audience in a list":      `,"x":["https://vercel.com/acme"]`,
		"an extension of a token":    `,"act":{"sub":"x","act":{"sub":"y"}}`,
		"a time with a fraction":     `,"nbf":1.5,"iat":1e3`,
		"a claim of no known type":   `,"plan":{"name":"pro"},"user_id":[]`,
		"a claim with every escape":  `,"x":"\"\\\/\b\f\n\r\t\ud83d\ude00"`,
		"a claim that is half a one": `,"x":"\ud83d"`,
	} {
		_, err := s.v.Verify(t.Context(), s.token(plain, claims(more)))
		assert.NoError(t, err, name)
	}
	for name, payload := range map[string]string{
		"exp twice":             claims(fmt.Sprintf(`,"exp":%d`, future)),
		"exp twice, escaped":    claims(fmt.Sprintf(`,"\u0065xp":%d`, future)),
		"environment twice":     claims(`,"environment":"production"`),
		"an unknown name twice": claims(`,"x":1,"x":1`),
		"twice further in":      claims(`,"act":{"sub":"x","sub":"y"}`),
		"a live Exp":            strings.Replace(claims(fmt.Sprintf(`,"Exp":%d`, future)), `"exp":`, fmt.Sprintf(`"exp":%d,"x":`, past), 1),
		"only an Exp":           strings.Replace(claims(""), `"exp"`, `"Exp"`, 1),
		"only an ENVIRONMENT":   strings.Replace(claims(""), `"environment"`, `"ENVIRONMENT"`, 1),
		"only an iſſ":           strings.Replace(claims(""), `"iss"`, `"iſſ"`, 1),
		"only an AUD":           strings.Replace(claims(""), `"aud"`, `"AUD"`, 1),
		"environment a list":    strings.Replace(claims(""), `"production"`, `["production"]`, 1),
		"environment null":      strings.Replace(claims(""), `"production"`, `null`, 1),
		"iss a list":            strings.Replace(claims(""), `"https://oidc.vercel.com/acme"`, `["https://oidc.vercel.com/acme"]`, 1),
		"nbf as text":           claims(`,"nbf":"0"`),
		"nbf null":              claims(`,"nbf":null`),
		"nbf to come":           claims(fmt.Sprintf(`,"nbf":%d`, future)),
		"more behind":           claims("") + "x",
		"not UTF-8":             claims(",\"x\":\"\xc3\""),
	} {
		_, err := s.v.Verify(t.Context(), s.token(plain, payload))
		assert.ErrorIs(t, err, ErrRefused, name)
	}
}

// A token has one text.
func TestSignedTexts(t *testing.T) {
	s := newSigner(t)
	pad := "" // so that a part has bits that encode nothing
	for len(encode(claims(pad)))%4 == 0 {
		pad += " "
	}
	header, payload := encode(plain+" "), encode(claims(pad))
	require.NotZero(t, len(header)%4)
	good := s.parts(header, payload)
	_, err := s.v.Verify(t.Context(), good)
	require.NoError(t, err)
	signature := good[strings.LastIndexByte(good, '.')+1:]
	for name, raw := range map[string]string{
		"bits in the header, signed":        s.parts(otherText(t, header), payload),
		"bits in the payload, signed":       s.parts(header, otherText(t, payload)),
		"bits in the header":                otherText(t, header) + "." + payload + "." + signature,
		"bits in the payload":               header + "." + otherText(t, payload) + "." + signature,
		"bits in the signature":             header + "." + payload + "." + otherText(t, signature),
		"padding of the header, signed":     s.parts(base64.URLEncoding.EncodeToString([]byte(plain+" ")), payload),
		"padding of the payload, signed":    s.parts(header, base64.URLEncoding.EncodeToString([]byte(claims(pad)))),
		"padding of the signature":          good + "==",
		"a line end in the header, signed":  s.parts(header[:4]+"\n"+header[4:], payload),
		"a line end in the payload, signed": s.parts(header, payload[:4]+"\r\n"+payload[4:]),
		"a line end in the signature":       good[:len(good)-4] + "\n" + good[len(good)-4:],
		"a line end behind":                 good + "\n",
		"white space before":                " " + good,
		"the payload left out":              header + ".." + encode(string(s.pkcs1(header+"."+payload))),
		"a fourth part":                     good + ".",
		"JSON serialization":                `{"protected":"` + header + `","payload":"` + payload + `","signature":"` + signature + `"}`,
	} {
		_, err := s.v.Verify(t.Context(), raw)
		assert.ErrorIs(t, err, ErrRefused, name)
	}
}

// otherText returns another text that lax readers decode to the same bytes.
func otherText(t *testing.T, part string) string {
	t.Helper()
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

// Signatures that are nearly those of the key.
func TestSignatures(t *testing.T) {
	s := newSigner(t)
	text := encode(plain) + "." + encode(claims(""))
	n := s.key.N
	raw := func(signature []byte) string { return text + "." + encode(string(signature)) }
	// private raises an encoded message to the private exponent.
	private := func(message string) []byte {
		b, err := hex.DecodeString(message)
		require.NoError(t, err)
		return new(big.Int).Exp(new(big.Int).SetBytes(b), s.key.D, n).FillBytes(make([]byte, 256))
	}
	digest := sha256.Sum256([]byte(text))
	const asn = "3031300d060960864801650304020105000420" // DigestInfo of SHA-256
	padded := func(info string) string {
		return "0001" + strings.Repeat("ff", 256-3-len(info)/2) + "00" + info
	}
	d := hex.EncodeToString(digest[:])
	good := s.pkcs1(text)
	require.Equal(t, good, private(padded(asn+d)), "the test makes signatures as they are made")
	_, err := s.v.Verify(t.Context(), raw(good))
	require.NoError(t, err)

	sha1Digest, sha512Digest := sha1.Sum([]byte(text)), sha512.Sum512([]byte(text))
	withSHA1, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA1, sha1Digest[:])
	require.NoError(t, err)
	withSHA512, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA512, sha512Digest[:])
	require.NoError(t, err)
	pss, err := rsa.SignPSS(rand.Reader, s.key, crypto.SHA256, digest[:], nil)
	require.NoError(t, err)
	for name, signature := range map[string][]byte{
		"of another text":              s.pkcs1(text + "x"),
		"PSS":                          pss,
		"SHA-1":                        withSHA1,
		"SHA-512":                      withSHA512,
		"zero":                         make([]byte, 256),
		"one":                          big.NewInt(1).FillBytes(make([]byte, 256)),
		"the modulus":                  n.Bytes(),
		"the modulus less one":         new(big.Int).Sub(n, big.NewInt(1)).Bytes(),
		"the modulus added":            new(big.Int).Add(new(big.Int).SetBytes(good), n).FillBytes(make([]byte, 257)),
		"a zero before":                append([]byte{0}, good...),
		"a zero behind":                append(append([]byte{}, good...), 0),
		"cut":                          good[:255],
		"twice":                        append(append([]byte{}, good...), good...),
		"no NULL in the DigestInfo":    private(padded("302f300b0609608648016503040201" + "0420" + d)),
		"a long form of length":        private(padded("308131300d060960864801650304020105000420" + d)),
		"an indefinite length":         private(padded("3080300d060960864801650304020105000420" + d + "0000")),
		"the digest alone":             private(padded(d)),
		"text behind the digest":       private("0001" + strings.Repeat("ff", 8) + "00" + asn + d + strings.Repeat("00", 256-11-len(asn+d)/2)),
		"short padding, behind zeros":  private(strings.Repeat("00", 100) + "01" + strings.Repeat("ff", 256-102-len(asn+d)/2) + "00" + asn + d),
		"padding that is not all ones": private(strings.Replace(padded(asn+d), "ffffff", "ff00ff", 1)),
		"block type 2":                 private("0002" + padded(asn + d)[4:]),
		"no zero behind the padding":   private("0001" + strings.Repeat("ff", 256-2-len(asn+d)/2) + asn + d),
	} {
		_, err := s.v.Verify(t.Context(), raw(signature))
		assert.ErrorIs(t, err, ErrRefused, name)
	}
}

// What a key says of itself, and whether it may verify.
func TestKeys(t *testing.T) {
	s := newSigner(t)
	n := base64.RawURLEncoding.EncodeToString(s.key.N.Bytes())
	number := func(bits uint) string { // an odd number of so many bits
		b := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1).Bytes()
		return base64.RawURLEncoding.EncodeToString(b)
	}
	jwk := func(more string) string { return `{"kty":"RSA","kid":"k","n":"` + n + `","e":"AQAB"` + more + `}` }
	with := func(n, e string) string { return `{"kty":"RSA","kid":"k","n":"` + n + `","e":"` + e + `"}` }
	for name, key := range map[string]string{
		"plain":                   jwk(""),
		"for signatures":          jwk(`,"use":"sig"`),
		"to verify":               jwk(`,"key_ops":["verify"]`),
		"to verify among others":  jwk(`,"key_ops":["sign","verify"],"use":"sig","alg":"RS256"`),
		"with certificates":       jwk(`,"x5c":["AQAB"],"x5t":"AQAB"`),
		"names in another case":   jwk(`,"USE":"enc","Key_ops":["encrypt"],"KTY":"EC","D":"AQAB"`),
		"said to be for nothing":  jwk(`,"use":null,"alg":null,"key_ops":null`),
		"exponent 3":              with(n, "Aw"),
		"the largest exponent":    with(n, number(31)),
		"the largest modulus":     with(number(8192), "AQAB"),
		"the smallest modulus":    with(number(2048), "AQAB"),
		"a modulus behind a zero": with(base64.RawURLEncoding.EncodeToString(append([]byte{0}, s.key.N.Bytes()...)), "AQAB"),
	} {
		id, got := readKey(jwtjson.Value(key))
		assert.Equal(t, "k", id, name)
		assert.NotNil(t, got, name)
	}
	for name, key := range map[string]string{
		"for encryption":             jwk(`,"use":"enc"`),
		"for what is not known":      jwk(`,"use":"Sig"`),
		"use as a list":              jwk(`,"use":["sig"]`),
		"to encrypt":                 jwk(`,"key_ops":["encrypt"]`),
		"to encrypt, for signatures": jwk(`,"use":"sig","key_ops":["encrypt","wrapKey"]`),
		"to do nothing":              jwk(`,"key_ops":[]`),
		"to verify, as text":         jwk(`,"key_ops":"verify"`),
		"for PS256":                  jwk(`,"alg":"PS256"`),
		"for RS1":                    jwk(`,"alg":"RS1"`),
		"for RS256 by another name":  jwk(`,"alg":"rs256"`),
		"use twice":                  jwk(`,"use":"enc","use":"sig"`),
		"modulus twice":              jwk(`,"n":"` + n + `"`),
		"private":                    jwk(`,"d":"AQAB"`),
		"another type":               strings.Replace(jwk(""), `"RSA"`, `"EC"`, 1),
		"type in another case":       strings.Replace(jwk(""), `"RSA"`, `"rsa"`, 1),
		"no type":                    strings.Replace(jwk(""), `"kty"`, `"Kty"`, 1),
		"no ID":                      strings.Replace(jwk(""), `"kid"`, `"Kid"`, 1),
		"empty ID":                   strings.Replace(jwk(""), `"k"`, `""`, 1),
		"ID that is a number":        strings.Replace(jwk(""), `"k"`, `7`, 1),
		"a small modulus":            with(number(2047), "AQAB"),
		"a huge modulus":             with(number(8193), "AQAB"),
		"no modulus":                 with("", "AQAB"),
		"a modulus with padding":     with(n+"==", "AQAB"),
		"a modulus with more bits":   with(otherText(t, n), "AQAB"),
		"a modulus in hexadecimal":   strings.Replace(jwk(""), `"`+n+`"`, `7`, 1),
		"no exponent":                with(n, ""),
		"exponent 0":                 with(n, "AA"),
		"exponent 1":                 with(n, "AQ"), // whoever can write is the signer
		"exponent 2":                 with(n, "Ag"),
		"an even exponent":           with(n, "AQAA"),
		"a large exponent":           with(n, number(32)),
		"a list":                     `[]`,
		"text":                       `"k"`,
	} {
		_, got := readKey(jwtjson.Value(key))
		assert.Nil(t, got, name)
	}
}

// The examples of the standards that are of RS256.
func TestExamplesOfTheStandards(t *testing.T) {
	// RFC 7515, appendix A.2. The token names no key, so that one is given here.
	_, key := readKey(`{"kty":"RSA","kid":"k","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`)
	require.NotNil(t, key)
	const a2 = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ." +
		"cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
	assert.True(t, signed(a2, []*rsa.PublicKey{key}))
	_, err := keyID(a2[:strings.IndexByte(a2, '.')])
	assert.ErrorContains(t, err, "names no key")

	// RFC 7520, sections 3.3 and 4.1.
	const bilbo = "bilbo.baggins@hobbiton.example"
	id, key := readKey(`{"kty":"RSA","kid":"bilbo.baggins@hobbiton.example","use":"sig","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw","e":"AQAB"}`)
	require.NotNil(t, key)
	require.Equal(t, bilbo, id)
	s := newSigner(t).v.keys
	s.current.byID = map[string][]*rsa.PublicKey{bilbo: {key}}
	const section41 = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." +
		"SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4." +
		"MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"
	assert.NoError(t, s.verify(t.Context(), section41))
	assert.ErrorIs(t, s.verify(t.Context(), strings.Replace(section41, "SXTi", "SXTj", 1)), ErrRefused)
}

// FuzzKey holds the reader of keys beside what encoding/json makes of them: a key
// that serves has the number that is written there.
func FuzzKey(f *testing.F) {
	s := newSigner(f)
	n := base64.RawURLEncoding.EncodeToString(s.key.N.Bytes())
	f.Add(`{"kty":"RSA","kid":"k","n":"` + n + `","e":"AQAB","use":"sig"}`)
	f.Add(`{"kty":"RSA","kid":"k","n":"` + n + `","e":"AQAB","key_ops":["verify"],"d":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		id, key := readKey(jwtjson.Value(text))
		if key == nil {
			return
		}
		var all map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &all))
		require.Equal(t, id, all["kid"])
		require.Equal(t, "RSA", all["kty"])
		require.Nil(t, all["d"])
		b, err := base64.RawURLEncoding.Strict().DecodeString(all["n"].(string))
		require.NoError(t, err)
		require.Equal(t, key.N, new(big.Int).SetBytes(b))
		require.GreaterOrEqual(t, key.E, 3)
	})
}

// BenchmarkVerify is the price of a token, without Vercel's network.
func BenchmarkVerify(b *testing.B) {
	s := newSigner(b)
	good := s.token(plain, claims(`,"owner":"acme","owner_id":"team_1","project":"web","project_id":"prj_1","plan":"pro","iat":1,"nbf":1`))
	forged := good[:len(good)-10] + "AAAAAAAAAA"
	for name, raw := range map[string]string{"good": good, "forged": forged, "foreign algorithm": s.token(`{"alg":"none","kid":"k"}`, claims(""))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.v.Verify(b.Context(), raw); (err == nil) != (name == "good") {
					b.Fatal(err)
				}
			}
		})
	}
}
