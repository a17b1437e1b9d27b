package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/pggateway"
	"github.com/vercelaws/vercelaws/e2e/internal/vercelfn"
	"github.com/vercelaws/vercelaws/oidc"
)

// startDSQL puts a gateway of DSQL's before the same PostgreSQL.
func (d *database) startDSQL(t *testing.T) (*pggateway.Gateway, string) {
	t.Helper()
	return startGateway(t, d.gateway.DSN, func(string) pggateway.Passwords {
		return pggateway.DSQL{STS: d.sts, Region: dbRegion, RoleARN: dbRole, Host: d.host}
	})
}

// TestExampleDSQL runs examples/dsql, as Vercel builds it, behind Vercel's
// bridge against a gateway that recomputes each token's signature.
func TestExampleDSQL(t *testing.T) {
	e := buildExample(t, "dsql")
	d := startDatabase(t) // for its PostgreSQL and its STS
	gateway, port := d.startDSQL(t)
	system := filepath.Join(t.TempDir(), "system.pem") // the certificates that the system trusts
	require.NoError(t, os.WriteFile(system, databaseCertificate().encoded, 0o600))
	base := []string{"AWS_ENDPOINT_URL_STS=" + d.sts.URL, "SSL_CERT_FILE=" + system}
	start := func(t *testing.T, more ...string) *vercelfn.Function {
		return e.start(t, "api/movies", map[string]string{
			"AWS_ROLE_ARN": dbRole, "AWS_REGION": dbRegion, "PGHOST": d.host, "PGUSER": "web",
		}, append(append([]string{"PGPORT=" + port}, base...), more...)...)
	}
	two := `{"movies": [{"title": "The General", "year": 1926}, {"title": "Metropolis", "year": 1927}]}`
	t.Run("the README's requests", func(t *testing.T) {
		assert.JSONEq(t, two, e.try(t, start(t)))
	})
	t.Run("each connection has a token of its own", func(t *testing.T) {
		_, before := gateway.Connections()
		for range 2 {
			fn := start(t)
			status, _ := call(t, fn, "GET", "/api/movies", issuer.Mint(), "")
			assert.Equal(t, http.StatusOK, status, fn.Log())
		}
		_, after := gateway.Connections()
		assert.Equal(t, before+2, after)
	})
	t.Run("a second resource's variables", func(t *testing.T) {
		fn := start(t, "RESOURCE_PREFIX=STORAGE2_", "PGHOST=nobody.invalid", "STORAGE2_PGHOST="+d.host, "STORAGE2_PGPORT="+port,
			"STORAGE2_PGUSER=web", "STORAGE2_PGDATABASE=postgres", "STORAGE2_AWS_ROLE_ARN="+dbRole, "STORAGE2_AWS_REGION="+dbRegion)
		status, out := call(t, fn, "GET", "/api/movies", issuer.Mint(), "")
		require.Equal(t, http.StatusOK, status, fn.Log())
		assert.Len(t, out["movies"], 2)
	})
	for _, c := range []struct {
		name, change string
		status       int
		logged       string
	}{
		{"wrong region", "AWS_REGION=eu-west-1", http.StatusBadGateway, "the token is for another region"},
		{"another role", "AWS_ROLE_ARN=" + otherRole, http.StatusBadGateway, "the role may not connect so"},
		{"admin signs for another action, and may not", "PGUSER=admin", http.StatusBadGateway, "the role may not connect so"},
		{"a role that does not trust the project", "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/none", http.StatusServiceUnavailable, "AccessDenied"},
		{"no host", "PGHOST=", http.StatusInternalServerError, "the environment variable PGHOST is not set"},
		{"no host with that prefix", "RESOURCE_PREFIX=STORAGE2_", http.StatusInternalServerError, "the environment variable STORAGE2_AWS_ROLE_ARN is not set"},
		{"a certificate that the system does not trust", "SSL_CERT_FILE=/dev/null", http.StatusBadGateway, "certificate"},
		{"nobody listens", "PGPORT=1", http.StatusBadGateway, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fn := start(t, c.change)
			status, out := call(t, fn, "GET", "/api/movies", issuer.Mint(), "")
			assert.Equal(t, c.status, status)
			assert.NotContains(t, fmt.Sprint(out["error"]), c.logged, "details are not for the client")
			assert.Contains(t, fn.Log(), c.logged)
			assert.NotContains(t, fn.Log(), "X-Amz-Signature", "no token in the log")
		})
	}
	t.Run("without a token", func(t *testing.T) {
		status, _ := call(t, start(t), "GET", "/api/movies", "", "")
		assert.Equal(t, http.StatusServiceUnavailable, status)
	})
}

// TestDSQLGatewayRefuses shows that the gateway lets nobody else in.
func TestDSQLGatewayRefuses(t *testing.T) {
	d := startDatabase(t)
	_, d.port = d.startDSQL(t)
	ctx := oidc.ContextWithToken(t.Context(), issuer.Mint())
	credentials, err := d.provider(dbRole).Retrieve(ctx)
	require.NoError(t, err)
	// token is made here with the SDK's signer, apart from the example's code.
	token := func(host, query, service, region string) string {
		r, err := http.NewRequest(http.MethodGet, "https://"+host+"/?"+query, nil)
		require.NoError(t, err)
		const ofNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, r, ofNothing, service, region, time.Now())
		require.NoError(t, err)
		return strings.TrimPrefix(signed, "https://")
	}
	good := token(d.host, "Action=DbConnect&X-Amz-Expires=900", "dsql", dbRegion)
	require.NoError(t, d.connect(ctx, "web", good, true))
	for _, c := range []struct {
		name, user, password string
		plain                bool
		says                 string
	}{
		{"tampered signature", "web", good[:len(good)-8] + "00000000", false, "SignatureDoesNotMatch"},
		{"the action changed", "admin", strings.Replace(good, "DbConnect", "DbConnectAdmin", 1), false, "SignatureDoesNotMatch"},
		{"admin with another action's token", "admin", good, false, "not DbConnectAdmin"},
		{"another host", "web", token("elsewhere", "Action=DbConnect&X-Amz-Expires=900", "dsql", dbRegion), false, "the token is for "},
		{"another service", "web", token(d.host, "Action=DbConnect&X-Amz-Expires=900", "rds-db", dbRegion), false, "another region or service"},
		{"a longer life", "web", token(d.host, "Action=DbConnect&X-Amz-Expires=3600", "dsql", dbRegion), false, "15 minutes"},
		{"no token at all", "web", "hunter2", false, "the token is for "},
		{"plain text", "web", good, true, "no encryption"},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.ErrorContains(t, d.connect(ctx, c.user, c.password, !c.plain), c.says)
		})
	}
	t.Run("expired token", func(t *testing.T) {
		d.clock.Store(int64(16 * time.Minute))
		defer d.clock.Store(0)
		assert.ErrorContains(t, d.connect(ctx, "web", good, true), "Signature expired")
	})
}
