// Package rdsgateway is a PostgreSQL server's front as RDS has it with IAM
// database authentication: it wants TLS, asks for the password in clear, takes
// a presigned "connect" URL for a password, and only then opens the connection
// to the real PostgreSQL behind it. See
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html.
package rdsgateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/vercelaws/vercelaws/ststest"
)

// connectTime is how long a client and the real server may take together until
// the client is in.
const connectTime = time.Minute

// Gateway is a running gateway. Set the fields before Serve.
type Gateway struct {
	STS         *ststest.Server // issued the sessions that sign passwords
	Region      string          // the database's
	RoleARN     string          // the role that may rds-db:connect
	Endpoint    string          // host:port by which clients know the database
	Certificate tls.Certificate // for TLS
	DSN         string          // the real PostgreSQL, with a user that clients do not have

	dial pgconn.DialFunc // reaches the real PostgreSQL; if nil, pgconn's own

	mu          sync.Mutex // guards what follows
	connections int
	keys        map[string]bool
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
// different access keys.
func (g *Gateway) Connections() (connections, accessKeys int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.connections, len(g.keys)
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
	user := startup.Parameters["user"]
	session, err := g.authenticate(user, password.Password)
	if err != nil {
		refuse(backend, "28P01", fmt.Sprintf("PAM authentication failed for user %q: %v", user, err))
		return
	}
	g.mu.Lock()
	g.connections++
	if g.keys == nil {
		g.keys = map[string]bool{}
	}
	g.keys[session.AccessKeyID] = true
	g.mu.Unlock()
	g.relay(secure, backend, startup)
}

func refuse(backend *pgproto3.Backend, code, message string) {
	backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message})
	_ = backend.Flush()
}

// authenticate checks a password as RDS does. Real RDS does not say why it
// refuses; the reasons here are for the tests.
func (g *Gateway) authenticate(user, password string) (ststest.Session, error) {
	r, err := http.NewRequest(http.MethodGet, "https://"+password, nil)
	if err != nil {
		return ststest.Session{}, errors.New("the password is not a presigned URL")
	}
	query := r.URL.Query()
	switch {
	case r.Host != g.Endpoint:
		return ststest.Session{}, fmt.Errorf("the token is for %s", r.Host)
	case query.Get("Action") != "connect":
		return ststest.Session{}, errors.New("the token's action is not connect")
	case query.Get("DBUser") != user:
		return ststest.Session{}, fmt.Errorf("the token is for the user %s", query.Get("DBUser"))
	case query.Get("X-Amz-Expires") != "900":
		return ststest.Session{}, errors.New("the token does not live 15 minutes")
	}
	scope := strings.Split(query.Get("X-Amz-Credential"), "/")
	if len(scope) != 5 || scope[2] != g.Region || scope[3] != "rds-db" {
		return ststest.Session{}, errors.New("the token is for another region or service")
	}
	session, err := g.STS.Verify(r)
	if err != nil {
		return ststest.Session{}, err
	}
	if session.RoleARN != g.RoleARN {
		return ststest.Session{}, errors.New("the role may not connect")
	}
	return session, nil
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
