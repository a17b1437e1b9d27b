// Package pggateway is a PostgreSQL server's front as AWS has it with IAM
// database authentication: it wants TLS, asks for the password in clear, takes
// a presigned URL for a password, and only then opens the connection to the
// real PostgreSQL behind it. [RDS] and [DSQL] say which URL.
package pggateway

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// connectTime is how long a client and the real server may take together until
// the client is in.
const connectTime = time.Minute

// Passwords checks the passwords of a service. Check returns an identity that
// distinguishes one login from another, or the reason of a refusal. The real
// services do not tell the reason.
type Passwords interface {
	Check(user, password string) (identity string, err error)
}

// Gateway is a running gateway. Set the fields before Serve.
type Gateway struct {
	Passwords   Passwords
	Certificate tls.Certificate // for TLS
	DSN         string          // the real PostgreSQL, with a user that clients do not have

	dial pgconn.DialFunc // reaches the real PostgreSQL; if nil, pgconn's own

	mu          sync.Mutex // guards what follows
	connections int
	identities  map[string]bool
	open        map[net.Conn]bool // nil once the gateway is closed
	wait        sync.WaitGroup    // for the connections' goroutines
}

// Serve takes connections until l or the gateway is closed.
func (g *Gateway) Serve(l net.Listener) {
	g.mu.Lock()
	g.open = map[net.Conn]bool{}
	g.mu.Unlock()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if !g.begin(conn) {
			conn.Close()
			return
		}
		go func() {
			defer g.end(conn)
			g.handle(conn)
		}()
	}
}

// begin counts a connection in, unless the gateway is closed.
func (g *Gateway) begin(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		return false
	}
	g.open[conn] = true
	g.wait.Add(1)
	return true
}

func (g *Gateway) end(conn net.Conn) {
	conn.Close()
	g.mu.Lock()
	delete(g.open, conn)
	g.mu.Unlock()
	g.wait.Done()
}

// Close ends all connections and waits for their goroutines.
func (g *Gateway) Close() {
	g.mu.Lock()
	for conn := range g.open {
		conn.Close()
	}
	g.open = nil
	g.mu.Unlock()
	g.wait.Wait()
}

// Connections returns how many clients have been let in, and with how many
// different identities.
func (g *Gateway) Connections() (connections, identities int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.connections, len(g.identities)
}

func (g *Gateway) handle(conn net.Conn) {
	if err := conn.SetDeadline(time.Now().Add(connectTime)); err != nil {
		return
	}
	backend := pgproto3.NewBackend(conn, conn)
	message, err := backend.ReceiveStartupMessage()
	if err != nil {
		return
	}
	if _, ok := message.(*pgproto3.SSLRequest); !ok {
		refuse(backend, "28000", "no pg_hba.conf entry for host, no encryption")
		return
	}
	if _, err := conn.Write([]byte("S")); err != nil {
		return
	}
	secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{g.Certificate}})
	backend = pgproto3.NewBackend(secure, secure)
	message, err = backend.ReceiveStartupMessage()
	startup, ok := message.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return
	}
	backend.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := backend.Flush(); err != nil {
		return
	}
	if err := backend.SetAuthType(pgproto3.AuthTypeCleartextPassword); err != nil {
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
	identity, err := g.Passwords.Check(startup.Parameters["user"], password.Password)
	if err != nil {
		refuse(backend, "28P01", err.Error())
		return
	}
	g.mu.Lock()
	g.connections++
	if g.identities == nil {
		g.identities = map[string]bool{}
	}
	g.identities[identity] = true
	g.mu.Unlock()
	g.relay(secure, backend, startup)
}

func refuse(backend *pgproto3.Backend, code, message string) {
	backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message})
	_ = backend.Flush()
}

// relay connects to the real server with the client's parameters, tells the
// client that it is in, and carries messages from then on.
func (g *Gateway) relay(client net.Conn, backend *pgproto3.Backend, startup *pgproto3.StartupMessage) {
	server, err := g.connect(startup)
	if err != nil {
		refuse(backend, "08001", err.Error())
		return
	}
	defer server.Conn.Close()
	backend.Send(&pgproto3.AuthenticationOk{})
	for name, value := range server.ParameterStatuses {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	backend.Send(&pgproto3.BackendKeyData{ProcessID: server.PID, SecretKey: server.SecretKey})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: server.TxStatus})
	if err := backend.Flush(); err != nil {
		return
	}
	// The client says how long it waits for an answer, not the gateway.
	if err := client.SetDeadline(time.Time{}); err != nil {
		return
	}
	// Messages, and not bytes: pgconn reads ahead in the background when a
	// write of its takes long, and what it has read only its frontend gives.
	upwards := make(chan struct{})
	go func() {
		defer close(upwards)
		defer server.Conn.Close()
		for {
			message, err := backend.Receive()
			if err != nil {
				return
			}
			server.Frontend.Send(message)
			if server.Frontend.Flush() != nil {
				return
			}
		}
	}()
	for {
		message, err := server.Frontend.Receive()
		if err != nil {
			break
		}
		backend.Send(message)
		if backend.Flush() != nil {
			break
		}
	}
	client.Close()
	<-upwards
}

// connect opens a connection to the real server.
func (g *Gateway) connect(startup *pgproto3.StartupMessage) (*pgconn.HijackedConn, error) {
	cfg, err := pgconn.ParseConfig(g.DSN)
	if err != nil {
		return nil, err
	}
	if g.dial != nil {
		cfg.DialFunc = g.dial
	}
	cfg.Database = startup.Parameters["database"]
	for name, value := range startup.Parameters {
		if name != "user" && name != "database" {
			cfg.RuntimeParams[name] = value
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTime)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return conn.Hijack()
}
