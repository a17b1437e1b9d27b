package main

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
)

func TestRequestsTokenReachesAWS(t *testing.T) {
	queries := make(chan string, 2)
	a := loopback.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		queries <- r.URL.Path + " " + string(body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"hits": {"hits": [{"_index": "movies", "_id": "1", "_source": {"title": "Metropolis"}}]}}`)
	}))
	client, err := newClient(loopback.Config(t), a.Service.URL)
	require.NoError(t, err)
	url := loopback.Serve(t, routes(client))

	status, _ := loopback.Send(t, "GET", url+"/movies?q=metropolis")
	assert.Equal(t, http.StatusBadGateway, status, "a request without a token, before any other")
	for range 2 {
		status, body := a.Send(t, "GET", url+"/movies?q=metropolis")
		require.Equal(t, http.StatusOK, status, body)
		assert.JSONEq(t, `[{"title": "Metropolis"}]`, body)
		assert.Equal(t, `/movies/_search {"query":{"match":{"title":"metropolis"}}}`, <-queries)
	}
	assert.Equal(t, 1, a.Exchanged())
	assert.Equal(t, "es", a.Callers()[0].Service)
	assert.Equal(t, loopback.Region, a.Callers()[0].Region)
}
