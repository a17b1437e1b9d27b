package credserver

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxPending is the largest number of connections that have not sent the token.
	maxPending = 4096
	// pendingTime is how long a connection may take to send the token, if there is no
	// room for another. A client on this machine sends its request within a
	// millisecond.
	pendingTime = 300 * time.Millisecond
)

// pendingListener is a listener that bounds the number of connections that have
// not sent the token, so that a program which opens many and sends nothing does not
// block others.
type pendingListener struct {
	net.Listener
	pending chan *conn // in the order in which they came; some have settled since
}

func newPendingListener(l net.Listener, limit int) *pendingListener {
	return &pendingListener{l, make(chan *conn, limit)}
}

// Accept returns the next connection. If there is no room, it first gives up the
// place of the oldest one, and closes that if it has not sent the token in time.
func (l *pendingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if len(l.pending) == cap(l.pending) {
		oldest := <-l.pending
		select {
		case <-oldest.settled:
		case <-oldest.time.C:
			_ = oldest.Close()
		}
	}
	added := newConn(c)
	l.pending <- added
	return added, nil
}

// conn is a connection that a pendingListener accepted.
type conn struct {
	net.Conn
	settled chan struct{} // closed when it has sent the token, or is closed itself
	settle  func()        // closes settled

	// The time begins with the first Read, and anew with the first bytes. So if this
	// process is busy, that is not taken from the client's time.
	time         *time.Timer
	asked, began bool // whether there was a Read, and whether bytes came
}

func newConn(c net.Conn) *conn {
	const never = 1<<63 - 1
	timer, settled := time.NewTimer(never), make(chan struct{})
	settle := sync.OnceFunc(func() {
		timer.Stop()
		close(settled)
	})
	return &conn{Conn: c, settled: settled, settle: settle, time: timer}
}

// Read reads what the client has sent, and starts the client's time.
func (c *conn) Read(p []byte) (int, error) {
	if !c.asked {
		c.asked = true
		c.time.Reset(pendingTime)
	}
	n, err := c.Conn.Read(p)
	if n > 0 && !c.began {
		c.began = true
		c.time.Reset(pendingTime)
	}
	return n, err
}

// Close closes the connection, which then needs no place.
func (c *conn) Close() error {
	c.settle()
	return c.Conn.Close()
}

type connKey struct{}

// withConn puts the connection into the context of its requests, since net/http gives
// a handler no other way to it.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// markAuthenticated records that the request's connection has sent the token.
func markAuthenticated(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.settle()
	}
}
