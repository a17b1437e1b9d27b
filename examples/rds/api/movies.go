// Package handler answers rows of a PostgreSQL database on RDS or Aurora. It
// has no database password: RDS takes a token that is signed with the role's
// credentials.
package handler

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/rds/resource"
	"github.com/vercelaws/vercelaws/oidc"
)

const queryTime = 10 * time.Second // for one answer of ours in all

// pool is made once for the instance.
var pool = sync.OnceValues(newPool)

func newPool() (*pgxpool.Pool, error) {
	s, err := readSettings()
	if err != nil {
		return nil, err
	}
	roots, err := certificates()
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig("sslmode=require") // TLS or nothing; what it trusts is set below
	if err != nil {
		return nil, err
	}
	c := cfg.ConnConfig
	c.Host, c.Port, c.User, c.Database = s.host, s.port, s.user, s.database
	c.Fallbacks = nil // no other host, and nothing without TLS
	c.TLSConfig = &tls.Config{ServerName: s.host, RootCAs: roots, MinVersion: tls.VersionTLS12}
	c.ConnectTimeout = 5 * time.Second
	c.RuntimeParams["statement_timeout"] = "8000" // milliseconds; the server ends what we no longer wait for
	// Many instances share the database, and each serves few requests at once.
	cfg.MaxConns = 4
	cfg.MaxConnIdleTime = 30 * time.Second

	provider := vercelaws.NewProvider(s.role)
	endpoint := net.JoinHostPort(s.host, strconv.Itoa(int(s.port)))
	cfg.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		// ctx has the values of the request that needs the connection, and so
		// its token. The password is checked at connect only: each connection
		// gets a new one, and an open connection outlives it.
		password, err := auth.BuildAuthToken(ctx, endpoint, s.region, s.user, provider)
		c.Password = password
		return err
	}
	return pgxpool.NewWithConfig(context.Background(), cfg)
}

// settings say which database, and who may connect.
type settings struct {
	role, region, host, user, database string
	port                               uint16
}

// readSettings takes the variables of Vercel's marketplace (PG*) where they are
// there, and RDS_* else; never some of one and some of the other. With
// RESOURCE_PREFIX, for example STORAGE2_, only the marketplace's with that
// prefix count.
func readSettings() (settings, error) {
	prefix := os.Getenv("RESOURCE_PREFIX")
	host, port, user, database := "PGHOST", "PGPORT", "PGUSER", "PGDATABASE"
	if _, err := resource.Variable(prefix, host); err != nil && prefix == "" {
		host, port, user, database = "RDS_HOSTNAME", "RDS_PORT", "RDS_USERNAME", "RDS_DATABASE"
	}
	s := settings{port: 5432}
	for _, v := range []struct {
		name  string
		value *string
	}{
		{"AWS_ROLE_ARN", &s.role}, {"AWS_REGION", &s.region}, {host, &s.host}, {user, &s.user}, {database, &s.database},
	} {
		var err error
		if *v.value, err = resource.Variable(prefix, v.name); err != nil {
			return s, err
		}
	}
	if value, err := resource.Variable(prefix, port); err == nil {
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return s, fmt.Errorf("the environment variable %s%s is %q, not a port", prefix, port, value)
		}
		s.port = uint16(n)
	}
	return s, nil
}

// bundle is Amazon's certificates for RDS. vercel.json has the builder put
// api/certs/ beside the function, where it runs.
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
const bundle = "certs/global-bundle.pem"

// certificates reads the bundle, or the file that RDS_CA_BUNDLE names.
func certificates() (*x509.CertPool, error) {
	file := os.Getenv("RDS_CA_BUNDLE")
	if file == "" {
		file = bundle
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificates", file)
	}
	return roots, nil
}

type movie struct {
	Title string `json:"title"`
	Year  int    `json:"year"`
}

// Handler is what Vercel calls.
func Handler(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		fail(w, r, http.StatusMethodNotAllowed, "use GET", nil)
		return
	}
	// Vercel gives a function no deadline, so it sets its own.
	ctx, cancel := context.WithTimeout(oidc.RequestContext(r), queryTime)
	defer cancel()
	db, err := pool()
	if err != nil {
		fail(w, r, http.StatusInternalServerError, "the server is not configured", err)
		return
	}
	rows, err := db.Query(ctx, "SELECT title, year FROM movies ORDER BY year, title LIMIT 100")
	if err != nil {
		failDatabase(w, r, err)
		return
	}
	movies, err := pgx.CollectRows(rows, pgx.RowToStructByPos[movie])
	if err != nil {
		failDatabase(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"movies": movies})
}

// failDatabase answers a status that a client can act on; the log has the
// details.
func failDatabase(w http.ResponseWriter, r *http.Request, err error) {
	var refused *pgconn.PgError
	switch {
	case noIdentity(err):
		fail(w, r, http.StatusServiceUnavailable, "the server has no AWS identity", err)
	case errors.As(err, &refused):
		fail(w, r, http.StatusBadGateway, "the database refused", err)
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, r, http.StatusGatewayTimeout, "the database did not answer in time", err)
	default:
		fail(w, r, http.StatusBadGateway, "the database cannot be reached", err)
	}
}

// noIdentity tells whether err is about the function's own identity: a setting is
// wrong, there was no usable token, AWS refused it, or Vercel did not exchange it.
func noIdentity(err error) bool {
	var wrong *vercelaws.ConfigError
	var refused *vercelaws.AssumeRoleError
	var exchange *oidc.ExchangeError
	return errors.As(err, &wrong) || errors.As(err, &refused) || errors.As(err, &exchange) ||
		errors.Is(err, oidc.ErrNoToken) || errors.Is(err, oidc.ErrExpired) || errors.Is(err, oidc.ErrMalformed)
}

func fail(w http.ResponseWriter, r *http.Request, status int, message string, err error) {
	slog.ErrorContext(r.Context(), message, "status", status, "path", r.URL.Path, "error", err)
	answer(w, status, map[string]string{"error": message})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Error("the answer was not sent", "error", err)
	}
}
