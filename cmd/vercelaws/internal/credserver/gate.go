package credserver

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// most is the largest number of connections that have not sent the token.
	most = 4096
	// patience is how long a connection may take to send the token, if there is no
	// room for another. A client on this machine sends its request within a
	// millisecond.
	patience = 200 * time.Millisecond
	// leastPatience is for a connection whose request may have come, and was not
	// read yet because this process was busy.
	leastPatience = time.Millisecond
)

// gate is a listener that bounds the number of connections that have not sent the
// token, so that a program which opens many and sends nothing does not block
// others.
type gate struct {
	net.Listener
	strangers chan *conn // in the order in which they came; some have sent it since
}

type conn struct {
	net.Conn
	came  time.Time
	admit func() // called when it has sent the token
	known chan struct{}
}

func newGate(l net.Listener, room int) *gate {
	return &gate{l, make(chan *conn, room)}
}

// Accept returns the next connection. If there is no room, it first closes the
// oldest one that has not sent the token.
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

// withConn puts the connection into the context of its requests.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// admit records that the request's connection has sent the token.
func admit(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.admit()
	}
}
