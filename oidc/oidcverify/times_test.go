//go:build go1.25

package oidcverify_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// The times of a token, to the second, with and without a tolerance.
func TestTimes(t *testing.T) {
	for _, tolerance := range []time.Duration{0, time.Minute} {
		t.Run(tolerance.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = true })
				defer issuer.Close()
				v := must(oidcverify.New(issuer.Issuer(), issuer.Audience(), open, func(o *oidcverify.Options) {
					o.HTTPClient, o.ClockTolerance = issuer.Client(), tolerance
				}))
				now := time.Now()
				for _, c := range []struct {
					name   string
					claims func(*oidctest.Claims)
					good   bool
				}{
					{"lives", func(c *oidctest.Claims) { c.Expiry = now.Add(time.Second - tolerance) }, true},
					{"ends now", func(c *oidctest.Claims) { c.Expiry = now.Add(-tolerance) }, false},
					{"ended", func(c *oidctest.Claims) { c.Expiry = now.Add(-time.Second - tolerance) }, false},
					{"begins now", func(c *oidctest.Claims) { c.NotBefore = now.Add(tolerance) }, true},
					{"begins soon", func(c *oidctest.Claims) { c.NotBefore = now.Add(time.Second + tolerance) }, false},
					{"no nbf", func(c *oidctest.Claims) { c.Extra = map[string]any{"nbf": nil} }, true},
					{"no iat", func(c *oidctest.Claims) { c.Extra = map[string]any{"iat": nil} }, true},
				} {
					raw := issuer.Mint(c.claims)
					_, err := v.Verify(t.Context(), raw)
					if c.good {
						assert.NoError(t, err, c.name)
					} else {
						assert.ErrorIs(t, err, oidcverify.ErrRefused, c.name)
					}
				}
				issuer.Client().CloseIdleConnections()
			})
		})
	}
}
