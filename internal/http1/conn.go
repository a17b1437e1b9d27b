package http1

import (
	"bytes"
	"io"
	"net"
	"sync"
)

const (
	// readBuffer is the size of net/http's read buffer, in bytes. It is also the
	// longest first line of a chunk, and the longest trailer.
	readBuffer = 256
	// maxAnswer is the largest answer, in bytes.
	maxAnswer = maxHeader + MaxBody
)

// conn is a connection from which net/http reads no byte beyond the end of an answer.
// Otherwise net/http would write such bytes to the standard log, or take them for the
// answer to the next request.
//
// A conn does not parse answers. It knows that a header is lines and ends with an
// empty one: it gives net/http's buffer one line of the header at a time, and one
// byte at a time of what follows. So net/http has read no more than it has used,
// and any bytes that conn holds when an answer has ended are surplus. (A trailer is
// an exception, since net/http looks for its end first. After one the connection is
// closed.) Only within a body does net/http make reads that are longer than its
// buffer. They bypass the buffer, and ask for no more than the rest of the body.
type conn struct {
	net.Conn          // over TLS where the scheme is https
	raw      net.Conn // the TCP connection
	block    [4 << 10]byte

	mu     sync.Mutex // guards what follows
	held   []byte     // bytes in block that net/http has not read yet; only Read changes it
	left   int        // how many bytes of the answer may still be read
	asked  bool       // whether a request is under way
	header bool       // whether the empty line that ends the header is still to come
}

// Write writes a request, or a part of it. If bytes have come before the request,
// it writes nothing, and net/http uses another connection.
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

// end is called when the answer has ended, before the next read. It reports whether
// more bytes have come.
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

// Close closes the TCP connection, without TLS's farewell, which could block.
func (c *conn) Close() error { return c.raw.Close() }
