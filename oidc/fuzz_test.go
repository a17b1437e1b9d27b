package oidc

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"
)

// maxAllocation is how much a parse of n bytes may allocate: a small multiple
// of the input, and the fixed cost of a JSON decoder and an error.
func maxAllocation(n int) uint64 { return uint64(32*n + 16<<10) }

func FuzzParse(f *testing.F) {
	f.Add(mint(f))
	f.Add(mint(f, claim("aud", []string{"a", "b"}), claim("exp", 1e308)))
	f.Add("")
	f.Add("..")
	f.Add(mint(f, claim("sub", hostile), claim("iss", strings.Repeat(hostile, 100))))
	f.Add(join("{}", strings.Repeat("[", 5000), "s"))
	f.Add(join("{}", `{"exp":1,"exp":"x","iss":{},"sub":null}`, "s"))
	f.Add(payload(`"aud":["a"],"Exp":2,"project_id":7,"owner":"\u017f","x":[{}]`))
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := ParseUnverified(raw)
		if err != nil {
			if len(raw) > 40 && strings.Contains(err.Error(), raw) {
				t.Fatalf("the error holds the token: %v", err)
			}
			return
		}
		if tok.Raw() != raw || tok.Issuer == "" || tok.Subject == "" || tok.Expiry.IsZero() {
			t.Fatalf("parsed to %v", tok)
		}
		if len(raw) > MaxTokenLength || strings.Count(raw, ".") != 2 {
			t.Fatal("accepted what STS would not")
		}
		_ = tok.CheckExpiry(time.Now())
		if s := tok.String(); len(s) > 600 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("unfit for a log: %q", s)
		}
		var all map[string]any
		if err := tok.Claims(&all); err != nil && !strings.Contains(err.Error(), "only in case") {
			t.Fatalf("claims: %v", err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(mint(f), "")
	f.Add(mint(f), mint(f))
	f.Add("", "")
	f.Add("a.b.c", "a.b.c")
	f.Add("\x00\r\n", strings.Repeat(".", 30_000))
	f.Fuzz(func(t *testing.T, first, second string) {
		r := &http.Request{Header: http.Header{canonicalHeader: {first, second}}}
		tok, err := FromRequest().Token(RequestContext(r))
		if err == nil && first != second && tok.Source() == "request" {
			t.Fatal("a request with two different tokens passed")
		}
		r.Header = http.Header{canonicalHeader: {first}}
		tok, err = FromRequest().Token(RequestContext(r))
		if err == nil && tok.Source() == "request" && tok.Raw() != first {
			t.Fatal("another token than the request's")
		}
		_ = err
	})
}

// The bound on allocation is checked on inputs that are chosen to be costly,
// because other goroutines of a fuzzing process allocate too.
func TestParseAllocatesLittle(t *testing.T) {
	n := 14_000
	for name, payload := range map[string]string{
		"many members":   `{"a":1` + strings.Repeat(`,"b":2`, n/6) + "}",
		"nested lists":   `{"a":` + strings.Repeat("[", n/2) + strings.Repeat("]", n/2) + "}",
		"nested objects": strings.Repeat(`{"a":`, n/6) + "1" + strings.Repeat("}", n/6),
		"audiences":      `{"aud":[""` + strings.Repeat(`,""`, n/3) + "]}",
		"long string":    `{"sub":"` + strings.Repeat(`\u00e9`, n/6) + `"}`,
		"unclosed":       strings.Repeat("[", n),
	} {
		t.Run(name, func(t *testing.T) {
			raw := join("{}", payload, "s")
			if len(raw) > MaxTokenLength {
				t.Fatalf("the input has %d characters and is refused for it", len(raw))
			}
			const runs = 20
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range runs {
				_, _ = ParseUnverified(raw)
			}
			runtime.ReadMemStats(&after)
			if per := (after.TotalAlloc - before.TotalAlloc) / runs; per > maxAllocation(len(raw)) {
				t.Errorf("%d bytes allocated for a token of %d characters", per, len(raw))
			}
		})
	}
}
