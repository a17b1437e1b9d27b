package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/e2e/internal/pggateway"
	"github.com/vercelaws/vercelaws/e2e/internal/postgres"
	"github.com/vercelaws/vercelaws/e2e/internal/vercelfn"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/ststest"
)

const (
	dbRole    = "arn:aws:iam::123456789012:role/db"
	otherRole = "arn:aws:iam::123456789012:role/other"
	dbRegion  = "us-east-1"
)

// database is a real PostgreSQL behind a gateway that does what RDS does at
// connect, and the STS whose sessions it knows.
type database struct {
	gateway  *pggateway.Gateway
	sts      *ststest.Server
	clock    atomic.Int64 // nanoseconds by which the STS's clock is ahead
	host     string
	port     string
	roots    *x509.CertPool
	endpoint string
}

func startDatabase(t *testing.T) *database {
	t.Helper()
	real, err := postgres.Start(within(t, patience))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, real.Stop()) })
	ctx := within(t, patience)
	admin, err := pgx.Connect(ctx, real.DSN)
	require.NoError(t, err)
	defer admin.Close(ctx)
	for _, sql := range []string{
		`CREATE TABLE movies (title text NOT NULL, year integer NOT NULL)`,
		`INSERT INTO movies VALUES ('The General', 1926), ('Metropolis', 1927)`,
	} {
		_, err := admin.Exec(ctx, sql)
		require.NoError(t, err)
	}

	d := &database{host: "localhost"}
	d.sts = startSTS(t, "production", []string{dbRole, otherRole}, func(o *ststest.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(d.clock.Load())) }
	})

	d.roots = x509.NewCertPool()
	require.True(t, d.roots.AppendCertsFromPEM(databaseCertificate().encoded))

	d.gateway, d.port = startGateway(t, real.DSN, func(port string) pggateway.Passwords {
		d.endpoint = net.JoinHostPort(d.host, port)
		return pggateway.RDS{STS: d.sts, Region: dbRegion, RoleARN: dbRole, Endpoint: d.endpoint}
	})
	return d
}

// startGateway starts a gateway before a real PostgreSQL, which ends with t.
func startGateway(t *testing.T, dsn string, passwords func(port string) pggateway.Passwords) (g *pggateway.Gateway, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	g = &pggateway.Gateway{Passwords: passwords(port), Certificate: databaseCertificate().tls, DSN: dsn}
	go g.Serve(l)
	t.Cleanup(func() {
		l.Close()
		g.Close()
	})
	return g, port
}

// certificate is what stands in for Amazon's.
type certificate struct {
	tls     tls.Certificate
	encoded []byte // PEM
}

// databaseCertificate is the gateways' certificate: the examples are built once,
// with it as the bundle.
var databaseCertificate = sync.OnceValue(func() certificate { return selfSigned("localhost") })

func selfSigned(host string) certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return certificate{
		tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
}

func (d *database) provider(role string) *aws.CredentialsCache {
	return vercelaws.NewProvider(role, func(o *vercelaws.Options) { o.Client = d.sts.STS() })
}

// TestExampleRDS runs examples/rds, as Vercel builds it, behind Vercel's bridge
// against the database.
func TestExampleRDS(t *testing.T) {
	e := buildExample(t, "rds")
	d := startDatabase(t)
	start := func(t *testing.T, more ...string) *vercelfn.Function {
		return e.start(t, "api/movies", map[string]string{
			"AWS_ROLE_ARN": dbRole, "AWS_REGION": dbRegion,
			"RDS_HOSTNAME": d.host, "RDS_USERNAME": "web", "RDS_DATABASE": "postgres",
		}, append([]string{"AWS_ENDPOINT_URL_STS=" + d.sts.URL, "RDS_PORT=" + d.port}, more...)...)
	}
	t.Run("rows", func(t *testing.T) {
		fn := start(t)
		for range 3 {
			status, out := call(t, fn, "GET", "/api/movies", issuer.Mint(), "")
			require.Equal(t, http.StatusOK, status, fn.Log())
			assert.Equal(t, map[string]any{"movies": []any{
				map[string]any{"title": "The General", "year": 1926.0}, map[string]any{"title": "Metropolis", "year": 1927.0},
			}}, out)
		}
	})
	t.Run("the README's requests", func(t *testing.T) {
		assert.JSONEq(t, `{"movies": [{"title": "The General", "year": 1926}, {"title": "Metropolis", "year": 1927}]}`, e.try(t, start(t)))
	})
	// A database of Vercel's marketplace: none of the README's variables.
	marketplace := func(t *testing.T, prefix string, more ...string) *vercelfn.Function {
		program, err := e.Functions["api/movies"].Unpack(t.TempDir())
		require.NoError(t, err)
		env := []string{"AWS_ENDPOINT_URL_STS=" + d.sts.URL, "RESOURCE_PREFIX=" + prefix}
		for _, v := range []string{"AWS_ROLE_ARN=" + dbRole, "AWS_REGION=" + dbRegion, "AWS_RESOURCE_ARN=arn:aws:rds:us-east-1:123456789012:cluster:movies",
			"PGHOST=" + d.host, "PGPORT=" + d.port, "PGUSER=web", "PGDATABASE=postgres", "PGSSLMODE=require"} {
			env = append(env, prefix+v)
		}
		fn, err := vercelfn.Start(program, append(env, more...)...)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, fn.Stop()) })
		return fn
	}
	for _, c := range []struct{ name, prefix, change string }{
		{"the marketplace's variables", "", ""},
		{"a second resource's", "STORAGE2_", ""},
		{"a second resource's beside a first's", "STORAGE2_", "PGHOST=nobody.invalid"},
		{"beside RDS variables, which do not count", "", "RDS_HOSTNAME=nobody.invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fn := marketplace(t, c.prefix, c.change)
			status, out := call(t, fn, "GET", "/api/movies", issuer.Mint(), "")
			require.Equal(t, http.StatusOK, status, fn.Log())
			assert.Len(t, out["movies"], 2)
		})
	}
	for _, c := range []struct {
		name   string
		fn     func(t *testing.T) *vercelfn.Function
		status int
		logged string
	}{
		{"wrong region", func(t *testing.T) *vercelfn.Function { return start(t, "AWS_REGION=eu-west-1") }, http.StatusBadGateway, "the token is for another region"},
		{"another role", func(t *testing.T) *vercelfn.Function { return start(t, "AWS_ROLE_ARN="+otherRole) }, http.StatusBadGateway, "the role may not connect"},
		{"a role that does not trust the project", func(t *testing.T) *vercelfn.Function {
			return start(t, "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/none")
		}, http.StatusServiceUnavailable, "AccessDenied"},
		{"no host", func(t *testing.T) *vercelfn.Function { return start(t, "RDS_HOSTNAME=") }, http.StatusInternalServerError, "the environment variable RDS_HOSTNAME is not set"},
		{"half a marketplace resource", func(t *testing.T) *vercelfn.Function { return marketplace(t, "STORAGE2_", "STORAGE2_PGUSER=") }, http.StatusInternalServerError, "the environment variable STORAGE2_PGUSER is not set"},
		{"no CA bundle", func(t *testing.T) *vercelfn.Function { return start(t, "RDS_CA_BUNDLE=certs/none.pem") }, http.StatusInternalServerError, "certs/none.pem"},
		{"certificates that are not the database's", func(t *testing.T) *vercelfn.Function {
			other := httptest.NewTLSServer(nil)
			defer other.Close()
			file := filepath.Join(t.TempDir(), "other.pem")
			require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw}), 0o600))
			return marketplace(t, "", "RDS_CA_BUNDLE="+file)
		}, http.StatusBadGateway, "certificate signed by unknown authority"},
		{"nobody listens", func(t *testing.T) *vercelfn.Function { return start(t, "RDS_PORT=1") }, http.StatusBadGateway, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fn := c.fn(t)
			status, out := call(t, fn, "GET", "/api/movies", issuer.Mint(), "")
			assert.Equal(t, c.status, status)
			assert.NotContains(t, fmt.Sprint(out["error"]), c.logged, "details are not for the client")
			assert.Contains(t, fn.Log(), c.logged)
		})
	}
	t.Run("without a token", func(t *testing.T) {
		status, _ := call(t, start(t), "GET", "/api/movies", "", "")
		assert.Equal(t, http.StatusServiceUnavailable, status)
	})
}

// connect opens one connection with a password.
func (d *database) connect(ctx context.Context, user, password string, secure bool) error {
	cfg, err := pgconn.ParseConfig("sslmode=disable")
	if err != nil {
		return err
	}
	cfg.Host, cfg.Database, cfg.User, cfg.Password, cfg.Fallbacks = d.host, "postgres", user, password, nil
	if _, err := fmt.Sscan(d.port, &cfg.Port); err != nil {
		return err
	}
	if secure {
		cfg.TLSConfig = &tls.Config{ServerName: d.host, RootCAs: d.roots}
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func TestRDSRefusals(t *testing.T) {
	d := startDatabase(t)
	ctx := oidc.ContextWithToken(within(t, patience), issuer.Mint())
	password := func(role, region, user string) string {
		p, err := auth.BuildAuthToken(ctx, d.endpoint, region, user, d.provider(role))
		require.NoError(t, err)
		return p
	}
	good := password(dbRole, dbRegion, "web")
	require.NoError(t, d.connect(ctx, "web", good, true))
	cases := []struct {
		name, user, password string
		plain                bool
		says                 string
	}{
		{"wrong user", "root", good, false, "the token is for the user web"},
		{"user changed in the token", "root", strings.Replace(good, "DBUser=web", "DBUser=root", 1), false, "SignatureDoesNotMatch"},
		{"wrong region", "web", password(dbRole, "eu-west-1", "web"), false, "another region"},
		{"tampered signature", "web", good[:len(good)-8] + "00000000", false, "SignatureDoesNotMatch"},
		{"another role", "web", password(otherRole, dbRegion, "web"), false, "the role may not connect"},
		{"no token at all", "web", "hunter2", false, "the token is for hunter2"},
		{"plain text", "web", good, true, "no encryption"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			assert.ErrorContains(t, d.connect(ctx, c.user, c.password, !c.plain), c.says)
		})
	}
	t.Run("expired token", func(t *testing.T) {
		d.clock.Store(int64(16 * time.Minute))
		defer d.clock.Store(0)
		assert.ErrorContains(t, d.connect(ctx, "web", good, true), "Signature expired")
	})
	t.Run("dead session", func(t *testing.T) {
		d.sts.RevokeAll()
		assert.ErrorContains(t, d.connect(ctx, "web", good, true), "InvalidClientTokenId")
	})
}

// TestRDSRollOver keeps queries going while credentials roll over, and
// connections of a quarter of a second's life are opened with each. None fails.
//
// The credentials are replaced in the last quarter of their life, at its middle
// at the latest: a connection then has five seconds to be made, so that a busy
// machine is not taken for a fault.
func TestRDSRollOver(t *testing.T) {
	t.Parallel()
	d := startDatabase(t)
	d.sts.SetFault(ststest.Always(ststest.Fault{Lifetime: 40 * time.Second}))
	provider := d.provider(dbRole)
	cfg, err := pgxpool.ParseConfig("sslmode=require")
	require.NoError(t, err)
	cfg.ConnConfig.Host, cfg.ConnConfig.User, cfg.ConnConfig.Database, cfg.ConnConfig.Fallbacks = d.host, "web", "postgres", nil
	_, err = fmt.Sscan(d.port, &cfg.ConnConfig.Port)
	require.NoError(t, err)
	cfg.ConnConfig.TLSConfig = &tls.Config{ServerName: d.host, RootCAs: d.roots}
	cfg.MaxConnLifetime = 250 * time.Millisecond
	cfg.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		password, err := auth.BuildAuthToken(ctx, d.endpoint, dbRegion, "web", provider)
		c.Password = password
		return err
	}
	pool, err := pgxpool.NewWithConfig(within(t, patience), cfg)
	require.NoError(t, err)
	defer pool.Close()

	token := issuer.Mint()
	ctx := within(t, patience)
	var queries, failed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				if _, keys := d.gateway.Connections(); keys >= 2 {
					return
				}
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
				r.Header.Set(oidc.Header, token)
				var n int
				if err := pool.QueryRow(oidc.RequestContext(r), "SELECT count(*) FROM movies").Scan(&n); err != nil || n != 2 {
					failed.Add(1)
					t.Error(n, err)
					return
				}
				queries.Add(1)
			}
		}()
	}
	wg.Wait()
	connections, keys := d.gateway.Connections()
	t.Logf("%d queries over %d connections with %d different access keys", queries.Load(), connections, keys)
	assert.Zero(t, failed.Load())
	assert.GreaterOrEqual(t, keys, 2)
}
