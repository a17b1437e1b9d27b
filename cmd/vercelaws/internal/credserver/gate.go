package credserver

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// most is how many connections can wait to show the token at most.
	most = 4096
	// patience is how long a connection has for that where others wait. A client
	// on this machine sends its request within a millisecond.
	patience = 200 * time.Millisecond
	// leastPatience is for one whose request may be there, and unread because
	// this process had no time.
	leastPatience = time.Millisecond
)

// gate is a listener that bounds how many connections have not shown the token,
// so that whoever opens many and sends nothing leaves room for others.
type gate struct {
	net.Listener
	strangers chan *conn // in the order in which they came; some have shown it
}

type conn struct {
	net.Conn
	came  time.Time
	admit func() // says that it has shown the token
	known chan struct{}
}

func newGate(l net.Listener, room int) *gate {
	return &gate{l, make(chan *conn, room)}
}

// Accept lets in another connection. Where there is no room, it first closes the
// one that has been there longest.
func (g *gate) Accept() (net.Conn, error) {
	accepted, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if len(g.strangers) == cap(g.strangers) {
		oldest := <-g.strangers
		select {
		case <-oldest.known:
		case <-time.After(max(time.Until(oldest.came.Add(patience)), leastPatience)):
			_ = oldest.Close()
		}
	}
	c := &conn{Conn: accepted, came: time.Now(), known: make(chan struct{})}
	c.admit = sync.OnceFunc(func() { close(c.known) })
	g.strangers <- c
	return c, nil
}

type connKey struct{}

// withConn has requests know their connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// admit keeps the connection of a request that has the token.
func admit(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.admit()
	}
}
