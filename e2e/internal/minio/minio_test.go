package minio

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStartReportsWhyMinIOIsNotReady(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/.well-known/openid-configuration", r.URL.Path)
		http.Error(w, "out of order", http.StatusInternalServerError)
		cancel() // nothing else would end the wait before its minute is over
	}))
	defer issuer.Close()

	_, err := Start(ctx, issuer.URL, "https://vercel.com/acme")
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "minio is not ready")
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left, "the data folder is removed")
}
