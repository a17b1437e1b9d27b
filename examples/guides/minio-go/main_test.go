package main

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
)

func TestRequestsTokenReachesAWS(t *testing.T) {
	a := loopback.Start(t, loopback.NewBucket("harbour.jpg", "moon.jpg"))
	store, err := url.Parse(a.Service.URL)
	require.NoError(t, err)
	from := vercelaws.NewProvider(loopback.RoleARN)
	client, err := newClient(store, from)
	require.NoError(t, err)
	base := loopback.Serve(t, routes(client))

	status, _ := loopback.Send(t, "GET", base+"/photos")
	assert.Equal(t, http.StatusBadGateway, status, "a request without a token, before any other")
	list := func() {
		status, body := a.Send(t, "GET", base+"/photos")
		require.Equal(t, http.StatusOK, status, body)
		assert.JSONEq(t, `["harbour.jpg", "moon.jpg"]`, body)
	}
	list()
	list()
	assert.Equal(t, 1, a.Exchanged())

	// New credentials reach minio-go as soon as the provider has them.
	from.Invalidate()
	list()
	callers := a.Callers()
	assert.Equal(t, 2, a.Exchanged())
	assert.NotEqual(t, callers[0].AccessKeyID, callers[len(callers)-1].AccessKeyID)
}
