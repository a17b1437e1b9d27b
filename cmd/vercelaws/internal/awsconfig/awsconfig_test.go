package awsconfig

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/testenv"
)

func TestLoad(t *testing.T) {
	testenv.HideAWS(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", write("config", "[profile web]\nregion = sa-east-1\n"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", write("credentials", "[keys]\nregion = eu-west-3\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n"))

	cfg, err := Load(t.Context())
	require.NoError(t, err)
	assert.Empty(t, cfg.Region, "none is made up")

	for profile, region := range map[string]string{"web": "sa-east-1", "keys": "eu-west-3"} {
		t.Setenv("AWS_PROFILE", profile)
		cfg, err = Load(t.Context())
		require.NoError(t, err)
		assert.Equal(t, region, cfg.Region)
		_, err = cfg.Credentials.Retrieve(t.Context())
		require.Error(t, err, "no keys are used")
	}

	bundle := filepath.Join(dir, "roots.pem")
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	t.Setenv("AWS_PROFILE", "ca")
	for set, trusts := range map[string]bool{"ca_bundle = " + bundle: true, "": false} {
		t.Setenv("AWS_CONFIG_FILE", write("config", "[profile ca]\n"+set+"\n"))
		cfg, err = Load(t.Context())
		require.NoError(t, err)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		require.NoError(t, err)
		response, err := cfg.HTTPClient.Do(r)
		assert.Equal(t, trusts, err == nil, "%s: %v", set, err)
		if err == nil {
			require.NoError(t, response.Body.Close())
		}
	}

	t.Setenv("AWS_PROFILE", "missing")
	_, err = Load(t.Context())
	require.Error(t, err)
}
