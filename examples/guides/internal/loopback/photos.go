package loopback

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
)

// Config is the configuration of a program under test, with a provider for
// RoleARN.
func Config(t *testing.T) aws.Config {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithCredentialsProvider(vercelaws.NewProvider(RoleARN)))
	require.NoError(t, err)
	return cfg
}

// CheckPhotos checks a server that lists a bucket at /photos for requests with a
// token. Start starts the server, and returns its URL.
func CheckPhotos(t *testing.T, start func(*s3.Client) (url string)) {
	t.Helper()
	a := Start(t, NewBucket("harbour.jpg", "moon.jpg"))
	url := start(s3.NewFromConfig(Config(t)))

	status, body := Send(t, "GET", url+"/photos")
	assert.Equal(t, http.StatusBadGateway, status, "a request without a token, before any other")
	assert.NotContains(t, body, "token", "the reason is for the log")

	for range 2 {
		status, body = a.Send(t, "GET", url+"/photos")
		require.Equal(t, http.StatusOK, status, body)
		assert.JSONEq(t, `["harbour.jpg", "moon.jpg"]`, body)
	}
	assert.Equal(t, 1, a.Exchanged())
	assert.Equal(t, RoleARN, a.Callers()[0].RoleARN)
}
