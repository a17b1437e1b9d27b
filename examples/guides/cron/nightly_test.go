package cron

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	handler "github.com/vercelaws/vercelaws/examples/guides/cron/api"
	"github.com/vercelaws/vercelaws/examples/guides/internal/loopback"
	"github.com/vercelaws/vercelaws/oidc"
)

func TestOnlyTheScheduleWritesTheReport(t *testing.T) {
	bucket := loopback.NewBucket()
	a := loopback.Start(t, bucket)
	url := loopback.Serve(t, http.HandlerFunc(handler.Handler)) + "/api/nightly"
	token := a.Issuer.Mint()

	for _, header := range [][]string{
		{oidc.Header, token},
		{oidc.Header, token, "Authorization", "Bearer "},
		{oidc.Header, token, "Authorization", "Bearer guess"},
	} {
		for _, secret := range []string{"", "secret"} {
			t.Setenv("CRON_SECRET", secret)
			status, _ := loopback.Send(t, "GET", url, header...)
			assert.Equal(t, http.StatusUnauthorized, status, "%s with CRON_SECRET=%s", header, secret)
		}
	}
	assert.Zero(t, a.Exchanged())

	before := time.Now()
	status, body := loopback.Send(t, "GET", url, oidc.Header, token, "Authorization", "Bearer secret")
	require.Equal(t, http.StatusOK, status, body)
	_, written := bucket.Object(before.UTC().Format(time.DateOnly) + ".txt")
	_, after := bucket.Object(time.Now().UTC().Format(time.DateOnly) + ".txt")
	assert.True(t, written || after, "the day may have ended meanwhile")
}

func TestScheduleNamesTheFunction(t *testing.T) {
	text, err := os.ReadFile("vercel.json")
	require.NoError(t, err)
	var project struct{ Crons []struct{ Path string } }
	require.NoError(t, json.Unmarshal(text, &project))
	require.Len(t, project.Crons, 1)
	assert.FileExists(t, filepath.FromSlash("."+project.Crons[0].Path+".go"))
}
