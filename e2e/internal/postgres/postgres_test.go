package postgres

import (
	"context"
	"net/url"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServerKeepsRows(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*startTime)
	defer cancel()
	s, err := Start(ctx)
	require.NoError(t, err)

	conn, err := pgx.Connect(ctx, s.DSN)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, "create table movies (title text); insert into movies values ('Stalker'), ('Solaris')")
	require.NoError(t, err)
	rows, err := conn.Query(ctx, "select title from movies order by title")
	require.NoError(t, err)
	titles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	assert.Equal(t, []string{"Solaris", "Stalker"}, titles)

	// A connection that is still open does not keep the server from stopping.
	require.NoError(t, s.Stop())
	assert.Error(t, conn.Ping(ctx))
	_, err = os.Stat(s.folder)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestPasswordIsChecked(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*startTime)
	defer cancel()
	s, err := Start(ctx)
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.Stop()) }()

	dsn, err := url.Parse(s.DSN)
	require.NoError(t, err)
	dsn.User = url.UserPassword(superuser, "a guess")
	_, err = pgx.Connect(ctx, dsn.String())
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "28P01", refused.Code) // invalid_password
}
