package http1

import (
	"bytes"
	"io"
	"net"
	"sync"
)

const (
	// readBuffer is the size of net/http's read buffer, in bytes. A line that
	// begins a chunk may be this long, and so may a trailer.
	readBuffer = 256
	// maxAnswer is how much is read of an answer, in bytes.
	maxAnswer = maxHeader + MaxBody
)

// conn is a connection that gives net/http no byte beyond the end of an answer.
// On a connection that it keeps, net/http would write such bytes to the standard
// log, or take them for the answer to the next request.
//
// It knows nothing of how an answer is built, but that its header is lines and
// ends with an empty one. It gives net/http's buffer a line of that at a time, and
// one byte of what follows, so that net/http has never read more than it has
// used, and what is held here at the end of an answer is surplus. A read that is
// longer than the buffer bypasses it: net/http makes those only within a body,
// and asks for no more than the rest of that.
type conn struct {
	net.Conn          // over TLS where the scheme is https
	raw      net.Conn // beneath it
	block    [4 << 10]byte

	mu     sync.Mutex // guards what follows
	held   []byte     // what came and was not yet asked for, in block; only Read changes it
	left   int        // how much may still be read of the answer
	asked  bool       // whether a request is under way
	header bool       // whether the empty line that ends the header is still to come
}

// Write writes a request, or a part of it. Where something has come before the
// request, it writes nothing, and net/http takes another connection.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if !c.asked && len(c.held) == 0 {
		c.asked, c.header, c.left = true, true, maxAnswer
	}
	asked := c.asked
	c.mu.Unlock()
	if !asked {
		return 0, errSurplus
	}
	return c.Conn.Write(p)
}

// end is called when the answer has ended, before anything else is read. It
// reports whether more has come.
func (c *conn) end() (surplus bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = false
	return len(c.held) > 0
}

// Read reads from an answer. One goroutine calls it at a time.
func (c *conn) Read(p []byte) (n int, err error) {
	if len(c.held) == 0 {
		n, err = c.Conn.Read(c.block[:])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		c.held = c.block[:n]
	}
	switch {
	case len(c.held) == 0 && err == io.EOF && c.left == maxAnswer:
		return 0, errNone
	case len(c.held) == 0:
		return 0, err
	case !c.asked:
		return 0, errSurplus // closes the connection
	case c.left == 0:
		return 0, errTooLong
	case len(p) <= readBuffer:
		p = p[:min(c.part(), len(p))]
	}
	n = copy(p[:min(c.left, len(p))], c.held)
	c.held = c.held[n:]
	c.left -= n
	return n, nil
}

// part needs mu. It is how many of the held bytes go into net/http's buffer.
func (c *conn) part() int {
	if !c.header {
		return 1
	}
	line := bytes.IndexByte(c.held, '\n') + 1
	if line == 0 {
		line = len(c.held) // its end is still to come
	}
	if line > 2 { // so it is not the empty one
		return line
	}
	c.header = c.held[0] != '\n'
	return 1
}

// Close closes what is beneath TLS, which waits for nothing.
func (c *conn) Close() error { return c.raw.Close() }
