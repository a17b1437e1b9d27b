// Package memnet is a network in memory: a listener whose connections are
// [net.Pipe]s. Package testing/synctest knows when their users are blocked, so tests
// of HTTP code can run under fake time.
package memnet

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Listener is a net.Listener that only its own DialContext reaches. Make one
// with Listen.
type Listener struct {
	address string
	conns   chan net.Conn
	closed  chan struct{}
	close   sync.Once
}

// Listen returns a listener that reports address, which is never looked up.
func Listen(address string) *Listener {
	return &Listener{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for a connection. After Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and refuses further connections. Open connections stay open.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// Addr returns the address that Listen was given.
func (l *Listener) Addr() net.Addr { return addr(l.address) }

// DialContext connects to the listener, whatever the network and address. It
// fits http.Transport.DialContext.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: l.Addr(), Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Client returns an HTTP client whose every request goes to the listener.
func (l *Listener) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: l.DialContext}}
}

type addr string

// Network implements net.Addr.
func (addr) Network() string { return "memory" }

// String implements net.Addr.
func (a addr) String() string { return string(a) }

// NewServer returns a server that is not started, a client that reaches it, and
// its URL: on a network in memory with the name, or on a free port of 127.0.0.1.
func NewServer(h http.Handler, name string, inMemory bool) (server *httptest.Server, client *http.Client, url string) {
	server = httptest.NewUnstartedServer(h)
	if !inMemory {
		return server, &http.Client{Transport: &http.Transport{}}, "http://" + server.Listener.Addr().String()
	}
	server.Listener.Close()
	l := Listen(name + ":80")
	server.Listener = l
	return server, l.Client(), "http://" + name
}
