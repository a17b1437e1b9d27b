package main

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
	"github.com/vercelaws/vercelaws/oidc"
)

// TestLoginIsSignedByTheRole reads the first message of a login as a broker
// does: a presigned URL in base64, to which the signer adds its own name.
func TestLoginIsSignedByTheRole(t *testing.T) {
	a := loopback.Start(t, http.NotFoundHandler())
	mechanism := login(newProvider(loopback.RoleARN), loopback.Region)
	_, _, err := mechanism.Authenticate(t.Context(), "broker:9098")
	require.ErrorIs(t, err, oidc.ErrNoToken, "nothing has brought a token yet")

	// The client logs in under a context of its own. A request has left its token.
	base := loopback.Serve(t, oidc.Middleware(http.NotFoundHandler()))
	a.Send(t, "POST", base+"/events")
	_, message, err := mechanism.Authenticate(t.Context(), "broker:9098")
	require.NoError(t, err)
	_, token, found := strings.Cut(string(message), "auth=Bearer ")
	require.True(t, found)
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "\x01"))
	require.NoError(t, err)
	u, err := url.Parse(string(text))
	require.NoError(t, err)
	query := u.Query()
	assert.Equal(t, "kafka-cluster:Connect", query.Get("Action"))
	query.Del("User-Agent")
	u.RawQuery = query.Encode()
	session, err := a.STS.Verify(httptest.NewRequest(http.MethodGet, u.String(), nil))
	require.NoError(t, err)
	assert.Equal(t, loopback.RoleARN, session.RoleARN)
	assert.Equal(t, "kafka-cluster", session.Service)
	assert.Equal(t, loopback.Region, session.Region)
	assert.Greater(t, time.Until(session.Expires), 15*time.Minute)
}
