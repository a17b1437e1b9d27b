package main

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
)

func TestRequestsTokenReachesAWS(t *testing.T) {
	a := loopback.Start(t, loopback.NewBucket("harbour.jpg", "moon.jpg"))
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithCredentialsProvider(vercelaws.NewProvider(loopback.RoleARN)))
	require.NoError(t, err)
	url := loopback.Serve(t, routes(s3.NewFromConfig(cfg)))

	status, body := loopback.Send(t, "GET", url+"/photos")
	assert.Equal(t, http.StatusBadGateway, status, "a request without a token, before any other")
	assert.NotContains(t, body, "token", "the reason is for the log")

	for range 2 {
		status, body = a.Send(t, "GET", url+"/photos")
		require.Equal(t, http.StatusOK, status, body)
		assert.JSONEq(t, `["harbour.jpg", "moon.jpg"]`, body)
	}
	assert.Equal(t, 1, a.Exchanged())
	assert.Equal(t, loopback.RoleARN, a.Callers()[0].RoleARN)
}
