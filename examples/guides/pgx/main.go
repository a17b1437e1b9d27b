// Command pgx answers how many movies a PostgreSQL database on RDS or Aurora
// has. The password of each connection is signed with the role's credentials.
//
// The environment has what libpq reads: PGHOST, PGPORT, PGUSER, PGDATABASE,
// PGSSLMODE=verify-full, and in PGSSLROOTCERT the file of Amazon's certificates
// (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html).
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

func main() {
	pool, err := newPool(vercelaws.NewProvider(os.Getenv("AWS_ROLE_ARN")), os.Getenv("AWS_REGION"))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "3000"), routes(pool)))
}

func newPool(provider aws.CredentialsProvider, region string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	cfg.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) (err error) {
		endpoint := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
		c.Password, err = auth.BuildAuthToken(ctx, endpoint, region, c.User, provider)
		return err
	}
	return pgxpool.NewWithConfig(context.Background(), cfg)
}

func routes(pool *pgxpool.Pool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /movies", func(w http.ResponseWriter, r *http.Request) {
		var n int
		if err := pool.QueryRow(r.Context(), "SELECT count(*) FROM movies").Scan(&n); err != nil {
			log.Print(err)
			http.Error(w, "cannot count the movies", http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, n)
	})
	return oidc.Middleware(mux)
}
