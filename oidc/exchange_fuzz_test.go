package oidc

import (
	"strings"
	"testing"
)

func FuzzExchangeAnswer(f *testing.F) {
	from, err := ParseUnverified(mint(f))
	if err != nil {
		f.Fatal(err)
	}
	x := newExchanger("https://sts.amazonaws.com", ExchangeOptions{})
	good := mint(f, claim("aud", x.audience))
	f.Add([]byte(`{"token":"` + good + `","expiry":4000000000}`))
	f.Add([]byte(`{"token":"` + good + `","expiry":null}`))
	f.Add([]byte(`{"token":"` + from.Raw() + `","expiry":1e300}`))
	f.Add([]byte(`{"error":"` + from.Raw() + `"}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := x.read(answer{status: 200, body: body}, from)
		if token, until := got.token, got.until; err == nil {
			if len(token.Audience) == 0 || token.Raw() == "" || token.ProjectID != from.ProjectID || until.After(token.Expiry) {
				t.Fatalf("took %v until %s", token, until)
			}
		} else if strings.Contains(err.Error(), from.Raw()) {
			t.Fatalf("the error holds the token: %v", err)
		}
		if said := reason(body, from); strings.Contains(said, from.Raw()) || strings.ContainsAny(said, "\n\r\x1b") {
			t.Fatalf("the reason is %q", said)
		}
	})
}
