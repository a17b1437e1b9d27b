package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// serve starts the program as fiber serves it: over connections that are used
// again, with memory that is.
func serve(t *testing.T, client *s3.Client) (url string) {
	t.Helper()
	app := routes(client)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- app.Listener(l) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		assert.NoError(t, app.ShutdownWithTimeout(loopback.Patience))
		assert.NoError(t, <-served)
	})
	return "http://" + l.Addr().String()
}

func TestRequestsTokenReachesAWS(t *testing.T) {
	loopback.CheckPhotos(t, func(client *s3.Client) (url string) { return serve(t, client) })
}

// TestHeadersOfVercelFit has the header of a request be longer than fiber takes
// unless told so.
func TestHeadersOfVercelFit(t *testing.T) {
	a := loopback.Start(t, loopback.NewBucket())
	url := serve(t, s3.NewFromConfig(loopback.Config(t)))
	token := a.Issuer.Mint(func(c *oidctest.Claims) { c.Extra = map[string]any{"more": strings.Repeat("x", 6000)} })
	status, body := loopback.Send(t, "GET", url+"/photos", oidc.Header, token)
	require.Equal(t, http.StatusOK, status, body)
}

// TestWhatOutlivesItsRequestIsCopied has each request's memory be used by the
// next while the work that it began still goes on.
func TestWhatOutlivesItsRequestIsCopied(t *testing.T) {
	bucket := loopback.NewBucket()
	a := loopback.Start(t, bucket)
	url := serve(t, s3.NewFromConfig(loopback.Config(t)))
	const n = 50
	for i := range n {
		status, body := a.Send(t, "POST", fmt.Sprintf("%s/photos/%03d.jpg/views", url, i))
		require.Equal(t, http.StatusAccepted, status, body)
	}
	for i := range n {
		loopback.Until(t, "the view to be recorded", func() bool {
			_, ok := bucket.Object(fmt.Sprintf("views/%03d.jpg", i))
			return ok
		})
	}
}
