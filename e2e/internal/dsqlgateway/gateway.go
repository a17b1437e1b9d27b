// Package dsqlgateway is a PostgreSQL server's front as Aurora DSQL has it: it
// wants TLS, asks for the password in clear, takes a presigned "DbConnect" URL
// for a password, and only then opens the connection to the real PostgreSQL
// behind it. See
// https://docs.aws.amazon.com/aurora-dsql/latest/userguide/SECTION_authentication-token.html.
package dsqlgateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/vercelaws/vercelaws/ststest"
)

// connectTime is how long a client may take to be let in.
const connectTime = 15 * time.Second

// Gateway is a running gateway. Set the fields before Serve.
type Gateway struct {
	STS         *ststest.Server // issued the sessions that sign passwords
	Region      string          // the cluster's
	RoleARN     string          // the role that may dsql:DbConnect, but not dsql:DbConnectAdmin
	Host        string          // by which clients know the cluster
	Certificate tls.Certificate // for TLS
	DSN         string          // the real PostgreSQL, with a user that clients do not have

	mu        sync.Mutex // guards what follows
	passwords map[string]bool
	open      []net.Conn
	wait      sync.WaitGroup
}

// Serve takes connections until l is closed.
func (g *Gateway) Serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		g.open = append(g.open, conn)
		g.mu.Unlock()
		g.wait.Add(1)
		go func() {
			defer g.wait.Done()
			defer conn.Close()
			g.handle(conn)
		}()
	}
}

// Close ends all connections and waits for their goroutines. Close the listener
// first.
func (g *Gateway) Close() {
	g.mu.Lock()
	for _, conn := range g.open {
		conn.Close()
	}
	g.mu.Unlock()
	g.wait.Wait()
}

// Passwords returns with how many different passwords clients were let in.
func (g *Gateway) Passwords() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.passwords)
}

func (g *Gateway) handle(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(connectTime))
	if m, err := pgproto3.NewBackend(conn, conn).ReceiveStartupMessage(); err != nil {
		return
	} else if _, ok := m.(*pgproto3.SSLRequest); !ok {
		refuse(pgproto3.NewBackend(conn, conn), "28000", "DSQL takes no connection without TLS")
		return
	}
	if _, err := conn.Write([]byte("S")); err != nil {
		return
	}
	secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{g.Certificate}})
	backend := pgproto3.NewBackend(secure, secure)
	m, err := backend.ReceiveStartupMessage()
	startup, ok := m.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return
	}
	backend.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := errors.Join(backend.Flush(), backend.SetAuthType(pgproto3.AuthTypeCleartextPassword)); err != nil {
		return
	}
	reply, err := backend.Receive()
	if err != nil {
		return
	}
	password, ok := reply.(*pgproto3.PasswordMessage)
	if !ok {
		return
	}
	user := startup.Parameters["user"]
	if err := g.check(user, password.Password); err != nil {
		refuse(backend, "28P01", fmt.Sprintf("unable to accept connection, access denied: %v", err))
		return
	}
	g.mu.Lock()
	if g.passwords == nil {
		g.passwords = map[string]bool{}
	}
	g.passwords[password.Password] = true
	g.mu.Unlock()
	_ = conn.SetDeadline(time.Time{})
	g.relay(secure, backend, startup)
}

func refuse(backend *pgproto3.Backend, code, message string) {
	backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message})
	_ = backend.Flush()
}

// check recomputes the password's signature. Unlike RDS's token, DSQL's names no
// user; admin needs another action. Real DSQL does not say why it refuses; the
// reasons here are for the tests.
func (g *Gateway) check(user, password string) error {
	r, err := http.NewRequest(http.MethodGet, "https://"+password, nil)
	if err != nil {
		return errors.New("the password is not a presigned URL")
	}
	action := "DbConnect"
	if user == "admin" {
		action = "DbConnectAdmin"
	}
	query := r.URL.Query()
	switch {
	case r.Host != g.Host:
		return errors.New("the token is for another host")
	case query.Get("Action") != action:
		return fmt.Errorf("the token's action is %q, not %s", query.Get("Action"), action)
	case query.Get("X-Amz-Expires") != "900":
		return errors.New("the token does not live 15 minutes")
	}
	scope := strings.Split(query.Get("X-Amz-Credential"), "/")
	if len(scope) != 5 || scope[2] != g.Region || scope[3] != "dsql" {
		return errors.New("the token is for another region or service")
	}
	session, err := g.STS.Verify(r)
	if err != nil {
		return err
	}
	if session.RoleARN != g.RoleARN || action != "DbConnect" {
		return errors.New("the role may not connect so")
	}
	return nil
}

// relay connects to the real server, tells the client that it is in, and carries
// bytes from then on.
func (g *Gateway) relay(client net.Conn, backend *pgproto3.Backend, startup *pgproto3.StartupMessage) {
	cfg, err := pgconn.ParseConfig(g.DSN)
	if err != nil {
		refuse(backend, "08001", err.Error())
		return
	}
	cfg.Database = startup.Parameters["database"]
	ctx, cancel := context.WithTimeout(context.Background(), connectTime)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		refuse(backend, "08001", err.Error())
		return
	}
	server, err := conn.Hijack()
	if err != nil {
		refuse(backend, "08001", err.Error())
		return
	}
	defer server.Conn.Close()
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.BackendKeyData{ProcessID: server.PID, SecretKey: server.SecretKey})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: server.TxStatus})
	if err := backend.Flush(); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server.Conn, client)
		server.Conn.Close()
	}()
	_, _ = io.Copy(client, server.Conn)
}
