package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
)

func TestURLLoadsTheObject(t *testing.T) {
	a := loopback.Start(t, loopback.NewBucket("moon.jpg"))
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithCredentialsProvider(newProvider(loopback.RoleARN)))
	require.NoError(t, err)
	url := loopback.Serve(t, routes(s3.NewFromConfig(cfg)))
	status, body := a.Send(t, "GET", url+"/photos/moon.jpg") // the client follows the redirect
	require.Equal(t, http.StatusOK, status, body)
	assert.Equal(t, "moon.jpg", body)
	require.Len(t, a.Callers(), 1)
	assert.Equal(t, loopback.RoleARN, a.Callers()[0].RoleARN)
	assert.Greater(t, time.Until(a.Callers()[0].Expires), life)
}
