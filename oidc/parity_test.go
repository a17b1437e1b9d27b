package oidc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each case compares this package with getVercelOidcToken of @vercel/oidc 4.0.9
// (https://www.npmjs.com/package/@vercel/oidc). The README's table lists the
// differences.
func TestParityWithVercelOIDC(t *testing.T) {
	const (
		none = iota
		live
		expired
	)
	cases := []struct {
		rule                   string
		header, file, variable int
		want                   string // the Source, "" for none
		sameAsJS               bool
		how                    string // where it differs: how
	}{
		{rule: "header alone", header: live, want: "request", sameAsJS: true},
		{rule: "header before file", header: live, file: live, want: "request", sameAsJS: true},
		{rule: "header before variable", header: live, variable: live, want: "request", sameAsJS: true},
		{rule: "file before variable", file: live, variable: live, want: fileVariable, sameAsJS: true},
		{rule: "file alone", file: live, want: fileVariable, sameAsJS: true},
		{rule: "variable alone", variable: live, want: envVariable, sameAsJS: true},
		{rule: "nothing", sameAsJS: true},
		{rule: "expired header, live file", header: expired, file: live, want: fileVariable, how: "JS stops at the first source that has a value"},
		{rule: "expired header, live variable", header: expired, variable: live, want: envVariable, how: "JS stops at the first source that has a value"},
		{rule: "expired file, live variable", file: expired, variable: live, want: envVariable, how: "JS stops at the first source that has a value"},
		{rule: "all expired", header: expired, file: expired, variable: expired, how: "JS goes on to refresh through the login; here the CLI does that, where it is there"},
	}
	for _, c := range cases {
		t.Run(c.rule, func(t *testing.T) {
			isolate(t)
			value := func(kind int, jti string) string {
				switch kind {
				case live:
					return mint(t, claim("jti", jti))
				case expired:
					return mint(t, claim("jti", jti), expiredBy(time.Hour))
				}
				return ""
			}
			ctx := RequestContext(request())
			if c.header != none {
				ctx = RequestContext(request(value(c.header, "header")))
			}
			if c.file != none {
				path := filepath.Join(t.TempDir(), "token")
				require.NoError(t, os.WriteFile(path, []byte(value(c.file, "file")), 0o600))
				t.Setenv(fileVariable, path)
			}
			t.Setenv(envVariable, value(c.variable, "variable"))
			tok, err := DefaultSource().Token(ctx)
			if c.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, tok.Source())
			assert.True(t, c.sameAsJS || c.how != "", "a difference has a reason")
		})
	}
}

// A file and a variable are read at use, and not once at start.
func TestSourcesAreReadAtUse(t *testing.T) {
	isolate(t)
	source := DefaultSource()
	for _, jti := range []string{"1", "2"} {
		raw := mint(t, claim("jti", jti))
		t.Setenv(envVariable, raw)
		assert.Equal(t, raw, token(t, source, t.Context()).Raw())
	}
	path := filepath.Join(t.TempDir(), "token")
	t.Setenv(fileVariable, path)
	for _, jti := range []string{"3", "4"} {
		raw := mint(t, claim("jti", jti))
		require.NoError(t, os.WriteFile(path, []byte(raw), 0o600))
		assert.Equal(t, raw, token(t, source, t.Context()).Raw())
	}
}

// A user's own source is one function, alone or in FirstOf.
func TestOwnSource(t *testing.T) {
	isolate(t)
	raw := mint(t)
	own := TokenSourceFunc(func(context.Context) (Token, error) { return ParseUnverified(raw) })
	for _, source := range []TokenSource{own, FirstOf(FromRequest(), own), FirstOf(own, FromEnv())} {
		assert.Equal(t, raw, token(t, source, t.Context()).Raw())
	}
	broken := TokenSourceFunc(func(context.Context) (Token, error) { return Token{}, errors.New("vault is sealed") })
	_, err := FirstOf(broken, FromEnv()).Token(t.Context())
	assert.ErrorContains(t, err, "vault is sealed")
}
