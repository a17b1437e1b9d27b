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
	pendingTime = 200 * time.Millisecond
	// minPendingTime is for a connection whose request may have come, and was not
	// read yet because this process was busy.
	minPendingTime = time.Millisecond
)

// pendingListener is a listener that bounds the number of connections that have
// not sent the token, so that a program which opens many and sends nothing does not
// block others.
type pendingListener struct {
	net.Listener
	pending chan *conn // in the order in which they came; some have sent it since
}

type conn struct {
	net.Conn
	accepted          time.Time
	authenticated     chan struct{} // closed when it has sent the token
	markAuthenticated func()        // closes authenticated
}

func newPendingListener(l net.Listener, limit int) *pendingListener {
	return &pendingListener{l, make(chan *conn, limit)}
}

// Accept returns the next connection. If there is no room, it first gives up the
// place of the oldest one, and closes that if it has not sent the token.
func (l *pendingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if len(l.pending) == cap(l.pending) {
		oldest := <-l.pending
		select {
		case <-oldest.authenticated:
		case <-time.After(max(time.Until(oldest.accepted.Add(pendingTime)), minPendingTime)):
			_ = oldest.Close()
		}
	}
	authenticated := make(chan struct{})
	added := &conn{c, time.Now(), authenticated, sync.OnceFunc(func() { close(authenticated) })}
	l.pending <- added
	return added, nil
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
		c.markAuthenticated()
	}
}
