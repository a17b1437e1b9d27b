//go:build go1.25

package credserver

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vercelaws/vercelaws/internal/memnet"
)

// The bound on connections without the token costs callers that send it nothing, not
// even time.
func TestManyCallersAndLittleRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const host, token, callers = "127.0.0.1:1234", "0123456789abcdef", 500
		listener := memnet.Listen(host)
		s := &Server{host: host, token: func() string { return token }, roles: map[string]Retrieve{"/credentials": someCredentials}}
		s.http = &http.Server{Handler: s, ConnContext: withConn}
		go func() { _ = s.http.Serve(newPendingListener(listener, 4)) }()
		defer s.Close()
		start := time.Now()
		answers := callAtOnce(t, "http://"+host+"/credentials", token, callers, listener.DialContext)
		for range callers {
			assert.NoError(t, <-answers)
		}
		assert.Zero(t, time.Since(start))
	})
}
