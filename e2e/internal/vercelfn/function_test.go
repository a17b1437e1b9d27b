package vercelfn

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	handler "github.com/vercelaws/vercelaws/e2e/function/echo"
)

func startEcho(t *testing.T, env ...string) *Function {
	t.Helper()
	program, err := Build(t.Context(), t.TempDir(), "github.com/vercelaws/vercelaws/e2e/function/echo")
	require.NoError(t, err)
	fn, err := Start(program, env...)
	require.NoError(t, err)
	return fn
}

// The facts about Vercel's bridge that the library is built for, seen through
// the bridge itself.
func TestRequestThroughTheBridge(t *testing.T) {
	t.Setenv("AWS_PROFILE", "the machine's own")
	fn := startEcho(t, "GREETING=hello")
	client := http.Client{Transport: fn}

	for range 3 { // one instance serves many requests
		body := []byte("\x00\xff binary")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://demo.vercel.app/api/echo?a=1&a=2", bytes.NewReader(body))
		require.NoError(t, err)
		req.Header["x-one"] = []string{"1"}
		req.Header["x-two"] = []string{"1", "2"}
		res, err := client.Do(req)
		require.NoError(t, err)
		assert.Equal(t, http.StatusAccepted, res.StatusCode)
		assert.Equal(t, "application/json", res.Header.Get("Content-Type"))

		var saw handler.Request
		require.NoError(t, json.NewDecoder(res.Body).Decode(&saw))
		assert.Equal(t, http.MethodPut, saw.Method)
		assert.Equal(t, "/api/echo?a=1&a=2", saw.URL)
		assert.Equal(t, "demo.vercel.app", saw.Host)
		assert.Equal(t, strings.ToValidUTF8(string(body), "\ufffd"), saw.Body)
		assert.Equal(t, []string{"1"}, saw.Header["X-One"])
		assert.Equal(t, []string{"1", "2"}, saw.Header["X-Two"])
		assert.False(t, saw.HasDeadline, "the bridge bounds no request")
		assert.False(t, saw.CanFlush)
		assert.Contains(t, saw.Environment, "GREETING=hello")
		assert.Contains(t, saw.Environment, "VERCEL=1")
		assert.NotContains(t, strings.Join(saw.Environment, "\n"), "AWS_PROFILE")
	}
	assert.Contains(t, fn.Log(), "PUT /api/echo")
	assert.NoError(t, fn.Stop())
}

func TestCrashedFunction(t *testing.T) {
	fn := startEcho(t)
	client := http.Client{Transport: fn}
	for range 2 {
		_, err := client.Get("https://demo.vercel.app/api/echo?crash")
		assert.ErrorIs(t, err, errEnded)
		assert.ErrorContains(t, err, "crashing, as asked")
	}
	assert.Error(t, fn.Stop())
}

func TestBuildReportsACompilersError(t *testing.T) {
	_, err := Build(t.Context(), t.TempDir(), "github.com/vercelaws/vercelaws/e2e/function/none")
	assert.ErrorContains(t, err, "function/none")
}
