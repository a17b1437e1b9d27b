package oidcverify

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/vercelaws/vercelaws/internal/jwtjson"
)

// verify checks the signature of a token that oidc.ParseUnverified takes. The
// error matches ErrRefused or ErrUnavailable.
//
// The signature is checked over the text as it came. Package go-jose would parse
// the header and payload again, and check the signature over its own encoding of
// them.
func (s *keySet) verify(ctx context.Context, raw string) error {
	id, err := keyID(raw[:strings.IndexByte(raw, '.')])
	if err != nil {
		return err
	}
	candidates, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	if !signed(raw, candidates) {
		return refuseSignature("")
	}
	return nil
}

// signed reports whether one of keys made the signature of a token.
func signed(raw string, keys []*rsa.PublicKey) bool {
	end := strings.LastIndexByte(raw, '.')
	signature, err := jwtjson.Part(raw[end+1:])
	digest := sha256.Sum256([]byte(raw[:end]))
	return err == nil && slices.ContainsFunc(keys, func(key *rsa.PublicKey) bool {
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], []byte(signature)) == nil
	})
}

// keyID returns the ID of the key that a token's header names.
func keyID(header string) (id string, err error) {
	text, err := jwtjson.Part(header)
	if err != nil {
		return "", refuseSignature("")
	}
	h, err := jwtjson.Object(text)
	algorithm, _ := h["alg"].Text()
	id, _ = h["kid"].Text()
	switch {
	case err != nil:
		return "", refuseSignature("")
	case algorithm != "RS256":
		return "", refuseSignature("its algorithm is not RS256")
	case h["crit"] != "", h["b64"] != "" && h["b64"] != "true":
		// RFC 7515, section 4.1.11: whoever does not know an extension refuses. RFC
		// 7797, section 7: in a JWT, b64 is true.
		return "", refuseSignature("it uses an extension of JWS (crit or b64)")
	case id == "":
		return "", refuseSignature("it names no key")
	}
	return id, nil
}
