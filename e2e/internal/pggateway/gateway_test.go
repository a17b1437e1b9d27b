package pggateway

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/e2e/internal/postgres"
)

// slow is a connection whose writes take longer than the 15 ms after which
// pgconn begins to read in the background.
type slow struct{ net.Conn }

func (s slow) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	time.Sleep(50 * time.Millisecond)
	return n, err
}

// TestRelayToASlowServer has every connection to PostgreSQL read ahead in the
// background. Nothing that it has read may be lost.
func TestRelayToASlowServer(t *testing.T) {
	server, err := postgres.Start(t.Context())
	require.NoError(t, err)
	defer func() { assert.NoError(t, server.Stop()) }()
	g := &Gateway{DSN: server.DSN, dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return slow{conn}, err
	}}

	near, far := net.Pipe()
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		defer far.Close()
		backend := pgproto3.NewBackend(far, far)
		startup := &pgproto3.StartupMessage{Parameters: map[string]string{"user": "web", "database": "postgres", "application_name": "slow"}}
		g.relay(far, backend, startup)
	}()
	require.NoError(t, near.SetDeadline(time.Now().Add(time.Minute)))
	client := pgproto3.NewFrontend(near, near)
	// answers reads to the end of an answer, and returns the rows' first values.
	answers := func() (rows []string) {
		for {
			message, err := client.Receive()
			require.NoError(t, err)
			switch m := message.(type) {
			case *pgproto3.ErrorResponse:
				t.Fatal(m.Message)
			case *pgproto3.DataRow:
				rows = append(rows, string(m.Values[0]))
			case *pgproto3.ReadyForQuery:
				return rows
			}
		}
	}
	answers() // to the connection itself
	for range 5 {
		client.Send(&pgproto3.Query{String: "SHOW application_name"})
		require.NoError(t, client.Flush())
		assert.Equal(t, []string{"slow"}, answers())
	}
	client.Send(&pgproto3.Terminate{})
	require.NoError(t, client.Flush())
	select {
	case <-relayed:
	case <-time.After(time.Minute):
		t.Fatal("the relay goes on without a client")
	}
}
