// Package handler answers rows of an Aurora DSQL cluster. Its password is a token
// that it signs with the role's credentials.
package handler

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/examples/dsql/resource"
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
	cfg, err := pgxpool.ParseConfig("sslmode=require") // TLS or nothing; verified as set below
	if err != nil {
		return nil, err
	}
	c := cfg.ConnConfig
	c.Host, c.Port, c.User, c.Database = s.host, s.port, s.user, s.database
	c.Fallbacks = nil // no other host, and nothing without TLS
	// DSQL's certificates are signed by Amazon's public authority, which the
	// system's list has.
	c.TLSConfig = &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12}
	c.ConnectTimeout = 5 * time.Second
	// Many instances share the cluster, and each serves few requests at once.
	cfg.MaxConns = 4
	cfg.MaxConnIdleTime = 30 * time.Second
	cfg.MaxConnLifetime = 55 * time.Minute // DSQL ends a connection after an hour

	provider := vercelaws.NewProvider(s.role)
	cfg.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		// ctx has the values of the request that needs the connection, and so
		// its token. The password is checked at connect only: each connection
		// gets a new one, and an open connection outlives it.
		password, err := token(ctx, s, provider)
		c.Password = password
		return err
	}
	return pgxpool.NewWithConfig(context.Background(), cfg)
}

// token makes the password for one connection: a presigned URL without its
// scheme, as DSQL takes it. The SDK has the same in its package
// feature/dsql/auth. The user admin needs another action, and the permission
// dsql:DbConnectAdmin.
// https://docs.aws.amazon.com/aurora-dsql/latest/userguide/SECTION_authentication-token.html
func token(ctx context.Context, s settings, provider aws.CredentialsProvider) (string, error) {
	credentials, err := provider.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	action := "DbConnect"
	if s.user == "admin" {
		action = "DbConnectAdmin"
	}
	r, err := http.NewRequest(http.MethodGet, "https://"+s.host+"/?Action="+action+"&X-Amz-Expires=900", nil) // seconds
	if err != nil {
		return "", err
	}
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, r, hex.EncodeToString(empty[:]), "dsql", s.region, time.Now())
	return strings.TrimPrefix(signed, "https://"), err
}

// settings say which cluster, and who may connect.
type settings struct {
	role, region, host, user, database string
	port                               uint16
}

// readSettings takes the variables that Vercel's marketplace sets. With
// RESOURCE_PREFIX, for example STORAGE2_, those with that prefix.
func readSettings() (settings, error) {
	prefix := os.Getenv("RESOURCE_PREFIX")
	s := settings{user: "admin", database: "postgres", port: 5432}
	for _, v := range []struct {
		name  string
		value *string
	}{{"AWS_ROLE_ARN", &s.role}, {"AWS_REGION", &s.region}, {"PGHOST", &s.host}} {
		var err error
		if *v.value, err = resource.Variable(prefix, v.name); err != nil {
			return s, err
		}
	}
	if user, err := resource.Variable(prefix, "PGUSER"); err == nil {
		s.user = user
	}
	if database, err := resource.Variable(prefix, "PGDATABASE"); err == nil {
		s.database = database
	}
	if value, err := resource.Variable(prefix, "PGPORT"); err == nil {
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return s, fmt.Errorf("the environment variable %sPGPORT is %q, not a port", prefix, value)
		}
		s.port = uint16(n)
	}
	return s, nil
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
