package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"
)

// conn is a connection to a server. One request uses it at a time.
type conn struct {
	net.Conn          // over TLS where the scheme is https
	raw      net.Conn // beneath it

	left io.LimitedReader // what may still be read of an answer
	in   *bufio.Reader
	out  *bufio.Writer

	wrote chan error // of the request under way

	watch [1]byte   // read into while the connection is kept
	since time.Time // when it was last used
	quiet chan bool // of a kept one that was taken: whether nothing came meanwhile
}

// connect opens a connection for u.
func (t *Transport) connect(ctx context.Context, u *url.URL) (*conn, error) {
	raw, err := t.dial(ctx, "tcp", addressOf(u))
	if err != nil {
		if !errors.As(err, new(*net.OpError)) {
			err = &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, quiet: make(chan bool, 1), wrote: make(chan error, 1)}
	if u.Scheme == "https" {
		over := tls.Client(raw, t.tlsConfig(u.Hostname()))
		if err := over.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		c.Conn = over
	}
	c.left.R = c.Conn
	c.in, c.out = bufio.NewReader(&c.left), bufio.NewWriter(c.Conn)
	return c, nil
}

// roundTrip makes one request. It reports whether the connection can be used
// again.
func (c *conn) roundTrip(ctx context.Context, r *http.Request) (response *http.Response, again bool, err error) {
	// Closing what is beneath TLS waits for nothing.
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	go func() { // a server may answer before it has read all
		err := r.Write(c.out)
		if err == nil {
			err = c.out.Flush()
		}
		if err != nil && !errors.As(err, new(*net.OpError)) {
			c.raw.Close() // the server waits for the rest, and so would the answer
		}
		c.wrote <- err
	}()
	response, err = c.read(r)
	if err != nil {
		c.raw.Close()
	}
	unsent := c.written()
	if err != nil && unsent != nil && !errors.As(unsent, new(*net.OpError)) {
		err = errNotSent
	}
	again = stop() && unsent == nil && err == nil && !response.Close && !r.Close
	return response, again, err
}

// written waits a moment for the request to be written, and no longer: where a
// server has answered before it read all of it, the connection is of no more use.
func (c *conn) written() error {
	select {
	case err := <-c.wrote:
		return err
	default:
	}
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case err := <-c.wrote:
		return err
	case <-timer.C:
		c.raw.Close()
		return <-c.wrote
	}
}

// noAnswer is the reason why not a byte of an answer came.
type noAnswer struct{ error }

// Unwrap returns it.
func (e noAnswer) Unwrap() error { return e.error }

// read reads the answer to r.
func (c *conn) read(r *http.Request) (*http.Response, error) {
	c.left.N = maxHeader + MaxBody + 1
	if _, err := c.in.Peek(1); err != nil {
		return nil, noAnswer{err}
	}
	for {
		response, err := http.ReadResponse(c.in, r)
		if err == nil && response.StatusCode < 200 && response.StatusCode != http.StatusSwitchingProtocols {
			continue // such as 103, Early Hints: the answer follows
		}
		if err == nil {
			err = whole(response)
		}
		switch {
		case err == nil && c.in.Buffered() > 0:
			return nil, errSurplus
		case err != nil && c.left.N <= 0:
			return nil, errTooLong
		case err != nil:
			return nil, err
		}
		return response, nil
	}
}

// take returns a kept connection, or nil.
func (t *Transport) take(key string) *conn {
	for {
		t.mu.Lock()
		kept := t.idle[key]
		if len(kept) == 0 {
			t.mu.Unlock()
			return nil
		}
		c := kept[len(kept)-1]
		t.remove(key, c)
		t.mu.Unlock()

		_ = c.SetReadDeadline(time.Unix(1, 0)) // ends the watch
		// By the wall clock: the process may have been frozen.
		if <-c.quiet && time.Since(c.since.Round(0)) < idleLimit && c.SetReadDeadline(time.Time{}) == nil {
			return c
		}
		c.Close()
	}
}

// keep keeps c for the next request, and watches it: what comes unasked, and
// the server's leaving, end it.
func (t *Transport) keep(key string, c *conn) {
	c.since = time.Now()
	if c.SetReadDeadline(c.since.Add(idleLimit)) != nil {
		c.Close()
		return
	}
	t.mu.Lock()
	full := t.count >= maxIdle
	if !full {
		t.count++
		t.idle[key] = append(t.idle[key], c)
	}
	t.mu.Unlock()
	if full {
		c.Close()
		return
	}
	go func() {
		n, err := c.Conn.Read(c.watch[:])
		t.mu.Lock()
		mine := t.remove(key, c)
		t.mu.Unlock()
		if mine {
			c.Close()
			return
		}
		c.quiet <- n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
	}()
}

// remove takes c out of the kept ones, and reports whether it was there. t.mu is
// held.
func (t *Transport) remove(key string, c *conn) bool {
	at := slices.Index(t.idle[key], c)
	if at < 0 {
		return false
	}
	t.count--
	if t.idle[key] = slices.Delete(t.idle[key], at, at+1); len(t.idle[key]) == 0 {
		delete(t.idle, key)
	}
	return true
}

// CloseIdleConnections closes the connections that no request is using.
func (t *Transport) CloseIdleConnections() { t.closeIdle(func(string) bool { return true }) }

func (t *Transport) closeIdle(which func(key string) bool) {
	var closing []*conn
	t.mu.Lock()
	for key, kept := range t.idle {
		if which(key) {
			closing = append(closing, kept...)
			t.count -= len(kept)
			delete(t.idle, key)
		}
	}
	t.mu.Unlock()
	for _, c := range closing {
		c.Close()
	}
}
