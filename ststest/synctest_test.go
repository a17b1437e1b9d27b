//go:build go1.25

package ststest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

// Issuer and STS run under fake time, and leave no goroutine behind:
// synctest.Test fails if one is still there.
func TestInMemory(t *testing.T) {
	t.Setenv("VERCEL_TARGET_ENV", "production")
	synctest.Test(t, func(t *testing.T) {
		issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = true })
		server := ststest.NewServer(func(o *ststest.Options) {
			o.InMemory, o.HTTPClient = true, issuer.Client()
		})
		defer issuer.Close()
		defer server.Close()
		server.AddProvider(issuer.Issuer(), issuer.Audience())
		server.AddRole(ststest.Role{ARN: roleARN, TrustPolicy: trust(t, issuer, "production")})

		token := issuer.Mint()
		server.SetFault(ststest.Always(ststest.Fault{Latency: time.Hour}))
		start := time.Now()
		out, err := assume(t, server, token)
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Since(start))
		assert.Equal(t, start.Add(2*time.Hour).Unix(), out.Credentials.Expiration.Unix())

		server.SetFault(nil)
		time.Sleep(time.Hour + 5*time.Minute - time.Second)
		_, err = assume(t, server, token)
		assert.NoError(t, err, "STS takes a token for five minutes after its end")
		time.Sleep(time.Second)
		_, err = assume(t, server, token)
		assert.Equal(t, "ExpiredTokenException", code(t, err))
	})
}
