//go:build go1.25

package memnet

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHTTPUnderFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen("sts.test:80")
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Hour)
			_, _ = io.WriteString(w, "late")
		})}
		go func() { _ = server.Serve(l) }()
		client := l.Client()

		start := time.Now()
		response, err := client.Get("http://sts.test/")
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, "late", string(body))
		assert.Equal(t, time.Hour, time.Since(start))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sts.test/", nil)
		require.NoError(t, err)
		_, err = client.Do(request)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		time.Sleep(time.Hour) // let the abandoned handler end
		client.CloseIdleConnections()
		require.NoError(t, server.Close())
		_, err = l.DialContext(t.Context(), "tcp", "x")
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}
