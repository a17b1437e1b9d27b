package oidc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostile is text that could forge log lines, reverse the text's direction or hide
// it.
const hostile = "a\nlevel=INFO \x1b[2Jb\u202ec\u200bd\u2028e"

// fit fails unless s is fit for a log: short, on one line, of printable characters.
func fit(t *testing.T, s string) {
	t.Helper()
	assert.Less(t, len(s), 5000)
	assert.NotContains(t, s, "eyJ")
	for _, r := range s {
		if !unicode.IsPrint(r) {
			assert.Fail(t, "does not print", "%q in %q", r, s)
			return
		}
	}
}

func TestMessagesAreFitForALog(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_LAMBDA_FUNCTION_NAME", hostile)
	for _, name := range []string{"iss", "sub", "project_id", "environment", "owner"} {
		raw := mint(t, claim(name, hostile+strings.Repeat("long", 3000)))
		tok, err := ParseUnverified(raw)
		require.NoError(t, err)
		fit(t, tok.String())
		assert.Less(t, len(tok.String()), 600)
	}
	for _, value := range []string{hostile, strings.Repeat(hostile, 1000), mint(t, claim("aud", 7)), mint(t, expiredBy(time.Hour))} {
		t.Setenv(envVariable, strings.ReplaceAll(value, "\x00", ""))
		t.Setenv(fileVariable, value)
		_, err := FirstOf(FromRequest(), FromFile(), FromEnv(), FromCLI(),
			TokenSourceFunc(func(context.Context) (Token, error) { return Token{}, errors.New(strings.Repeat(hostile, 1000)) }),
			FirstOf(TokenSourceFunc(func(context.Context) (Token, error) { return Token{}, errors.New(strings.Repeat(hostile, 1000)) })),
		).Token(RequestContext(request(value)))
		require.Error(t, err)
		fit(t, err.Error())
	}
}

// A token that was put where a file's name belongs is not shown.
func TestTokenInPlaceOfAFile(t *testing.T) {
	isolate(t)
	t.Setenv(fileVariable, mint(t))
	_, err := FromFile().Token(t.Context())
	require.ErrorIs(t, err, ErrNoToken)
	assert.ErrorContains(t, err, "put it into "+envVariable)
	fit(t, err.Error())
}

func TestByteOrderMark(t *testing.T) {
	isolate(t)
	raw := mint(t)
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("\ufeff"+raw+"\r\n"), 0o600))
	t.Setenv(fileVariable, path)
	t.Setenv(envVariable, "\ufeff "+raw)
	assert.Equal(t, raw, token(t, FromFile(), t.Context()).Raw())
	assert.Equal(t, raw, token(t, FromEnv(), t.Context()).Raw())
}

// The advice depends on where the program runs.
func TestAdviceFitsThePlace(t *testing.T) {
	stale := mint(t, expiredBy(3*time.Hour))
	for _, c := range []struct {
		variable, value string
		deployed        bool
	}{
		{"VERCEL", "1", false},
		{"VERCEL_ENV", "development", false},
		{"VERCEL_ENV", "preview", true},
		{"VERCEL_ENV", "production", true},
		{"AWS_LAMBDA_FUNCTION_NAME", "f", true},
	} {
		t.Run(fmt.Sprint(c.variable, "=", c.value), func(t *testing.T) {
			isolate(t)
			t.Setenv(c.variable, c.value)
			_, unset := FromEnv().Token(t.Context())
			require.ErrorIs(t, unset, ErrNoToken)
			t.Setenv(envVariable, stale)
			_, err := FromEnv().Token(t.Context())
			require.ErrorIs(t, err, ErrExpired)
			assert.ErrorContains(t, err, ", 3h0m")
			if c.deployed {
				assert.NotContains(t, unset.Error()+err.Error(), "vercel env pull")
				assert.ErrorContains(t, err, "only the tokens of requests are fresh")
			} else {
				assert.ErrorContains(t, unset, "run `vercel env pull` and load .env.local")
				assert.ErrorContains(t, err, "run `vercel env pull` for a new one")
			}
			for missing, remedy := range map[context.Context]string{
				t.Context():               "pass oidc.RequestContext(r)",
				RequestContext(request()): "enable OIDC in the Vercel project's settings",
			} {
				_, err := FromRequest().Token(missing)
				require.ErrorIs(t, err, ErrNoToken)
				first, _, _ := strings.Cut(strings.SplitN(err.Error(), "; ", 2)[1], ";")
				if c.deployed {
					assert.Contains(t, first, remedy)
					assert.NotContains(t, err.Error(), "on your machine")
				} else {
					assert.Equal(t, "on your machine run `vercel link` and `vercel env pull`", first)
					assert.ErrorContains(t, err, remedy)
				}
			}
			live := mint(t)
			assert.Equal(t, live, token(t, DefaultSource(), RequestContext(request(live))).Raw(), "and the request's token serves")
		})
	}
}
