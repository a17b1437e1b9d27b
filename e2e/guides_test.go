package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/process"
	"github.com/vercelaws/vercelaws/oidc"
)

// guides is the folder of the programs of examples/guides that these servers
// can serve. The rest is tested where it is.
var guides = sync.OnceValues(func() (string, error) {
	folder := filepath.Join(scratch, "guides")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", folder, "./gin", "./echo", "./chi", "./fiber", "./presign", "./minio-go", "./gocloud", "./pgx")
	build.Dir = filepath.Join("..", "examples", "guides")
	build.Stderr = os.Stderr
	return folder, build.Run()
})

// startGuide starts a program and returns its URL.
func startGuide(t *testing.T, name string, environ ...string) (url string, server *process.Process) {
	t.Helper()
	folder, err := guides()
	require.NoError(t, err)
	port := freePort(t)
	cmd := exec.Command(filepath.Join(folder, name))
	cmd.Env = append([]string{"PORT=" + port, "HOME=" + t.TempDir(), "VERCEL=1", "VERCEL_ENV=production",
		"AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}, environ...)
	server, err = process.Start(cmd)
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	url = "http://127.0.0.1:" + port
	require.NoError(t, server.WaitUntil(within(t, patience), func() bool {
		res, err := http.Get(url + "/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return true
	}), server.Output())
	return url, server
}

// askGuide sends a request as Vercel does, with a token.
func askGuide(t *testing.T, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t, patience), http.MethodGet, url, nil)
	require.NoError(t, err)
	r.Header.Set(oidc.Header, issuer.Mint())
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(b)
}

func startGuideOnStore(t *testing.T, name string) (url string, server *process.Process) {
	t.Helper()
	return startGuide(t, name, "AWS_ROLE_ARN="+store.RoleARN, "AWS_ENDPOINT_URL_STS="+store.URL, "AWS_ENDPOINT_URL_S3="+store.URL)
}

func TestGuidesListABucket(t *testing.T) {
	for _, name := range []string{"gin", "echo", "chi", "fiber", "minio-go"} {
		t.Run(name, func(t *testing.T) {
			url, server := startGuideOnStore(t, name)
			for range 2 {
				status, body := askGuide(t, url+"/photos")
				require.Equal(t, http.StatusOK, status, server.Output())
				assert.JSONEq(t, `["`+strings.Join(photoKeys, `","`)+`"]`, body)
			}
		})
	}
}

// TestGuidesPresign follows redirects to URLs of the store.
func TestGuidesPresign(t *testing.T) {
	for name, path := range map[string]string{"presign": "/photos/", "gocloud": "/urls/"} {
		t.Run(name, func(t *testing.T) {
			url, server := startGuideOnStore(t, name)
			status, body := askGuide(t, url+path+photoKeys[0])
			require.Equal(t, http.StatusOK, status, server.Output())
			assert.Equal(t, photoKeys[0], body)
		})
	}
}

func TestGuideGocloudReads(t *testing.T) {
	url, server := startGuideOnStore(t, "gocloud")
	status, body := askGuide(t, url+"/photos/"+photoKeys[0])
	require.Equal(t, http.StatusOK, status, server.Output())
	assert.Equal(t, photoKeys[0], body)
	status, _ = askGuide(t, url+"/photos/no-such.jpg")
	assert.Equal(t, http.StatusNotFound, status)
}

func TestGuidePgx(t *testing.T) {
	d := startDatabase(t)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(roots, databaseCertificate().encoded, 0o600))
	url, server := startGuide(t, "pgx", "AWS_ROLE_ARN="+dbRole, "AWS_ENDPOINT_URL_STS="+d.sts.URL,
		"PGHOST="+d.host, "PGPORT="+d.port, "PGUSER=web", "PGDATABASE=postgres", "PGSSLMODE=verify-full", "PGSSLROOTCERT="+roots)
	for range 2 {
		status, body := askGuide(t, url+"/movies")
		require.Equal(t, http.StatusOK, status, server.Output())
		assert.Equal(t, "2\n", body)
	}
	connections, _ := d.gateway.Connections()
	assert.Equal(t, 1, connections)
}
