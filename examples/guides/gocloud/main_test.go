package main

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/s3blob"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
)

func TestRequestsTokenReachesAWS(t *testing.T) {
	a := loopback.Start(t, loopback.NewBucket("moon.jpg"))
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithCredentialsProvider(newProvider(loopback.RoleARN)))
	require.NoError(t, err)
	bucket, err := s3blob.OpenBucket(t.Context(), s3.NewFromConfig(cfg), "photos", nil)
	require.NoError(t, err)
	defer bucket.Close()
	url := loopback.Serve(t, routes(bucket))

	status, _ := loopback.Send(t, "GET", url+"/photos/moon.jpg")
	assert.Equal(t, http.StatusBadGateway, status, "a request without a token, before any other")
	for _, path := range []string{"/photos/moon.jpg", "/urls/moon.jpg"} { // the client follows the redirect
		status, body := a.Send(t, "GET", url+path)
		require.Equal(t, http.StatusOK, status, body)
		assert.Equal(t, "moon.jpg", body)
	}
	status, _ = a.Send(t, "GET", url+"/photos/sun.jpg")
	assert.Equal(t, http.StatusNotFound, status)
	assert.Equal(t, 1, a.Exchanged())
	assert.Equal(t, loopback.RoleARN, a.Callers()[0].RoleARN)
}
