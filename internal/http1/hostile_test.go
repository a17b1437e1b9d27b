package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pause makes a hostile server wait until the client has read what was sent before.
const pause = "<pause>"

// hostile is a server that sends a given text for its first request, and a good answer
// to all others.
type hostile struct {
	sends    string // with hangUp at its end, nothing follows on the connection
	trickle  bool   // byte by byte
	requests atomic.Int64
	left     chan struct{} // closed when the connection of the first request has ended
}

func (h *hostile) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if h.requests.Add(1) > 1 {
			_, _ = io.WriteString(c, good)
			continue
		}
		defer close(h.left)
		h.send(c)
	}
}

// send sends the text for the first request.
func (h *hostile) send(c net.Conn) {
	sends, closes := strings.CutSuffix(h.sends, hangUp)
	for i, part := range strings.Split(sends, pause) {
		if i > 0 {
			time.Sleep(20 * time.Millisecond) // either outcome is right
		}
		step := len(part)
		if h.trickle {
			step = 1
		}
		for ; part != ""; part = part[step:] {
			if _, err := io.WriteString(c, part[:step]); err != nil {
				return
			}
		}
	}
	if closes {
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}
}

const (
	chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n"
	head   = "HTTP/1.1 200 OK\r\nContent-Length: "
)

// hostileAnswers are texts for the first request, and the answers that the client
// returns for them. It returns an error if the answer is empty.
var hostileAnswers = map[string]struct{ sends, want string }{
	"good":                             {sends: good, want: "200 well"},
	"chunks":                           {sends: chunks, want: "200 well"},
	"chunks with extensions":           {sends: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nwell\r\n0;c\r\n\r\n", want: "200 well"},
	"chunks with a trailer":            {sends: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\nX: y\r\n\r\n", want: "200 well"},
	"a trailer that ends early":        {sends: strings.TrimSuffix(chunks, "\r\n") + "\n" + secret + "\r\n\r\n", want: "200 well"},
	"a long trailer":                   {sends: strings.TrimSuffix(chunks, "\r\n") + strings.Repeat("X: "+secret+"\r\n", 15) + "\r\n"},
	"an answer in a trailer":           {sends: strings.TrimSuffix(chunks, "\r\n") + "\nHTTP/1.1 204 Other\r\n\r\n", want: "200 well"},
	"chunks that hold an end":          {sends: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", want: "200 \r\n0\r\n\r\n"},
	"bare newlines":                    {sends: strings.ReplaceAll(good, "\r", ""), want: "200 well"},
	"a folded header":                  {sends: "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 4\r\n\r\nwell", want: "200 well"},
	"a header longer than the buffer":  {sends: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20*readBuffer) + "\r\nContent-Length: 4\r\n\r\nwell", want: "200 well"},
	"length and chunks":                {sends: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + chunks[17:], want: "200 well"},
	"the same length twice":            {sends: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n" + good[17:], want: "200 well"},
	"some hints":                       {sends: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50) + good, want: "200 well"},
	"until the end":                    {sends: "HTTP/1.1 200 OK\r\n\r\nwell" + hangUp, want: "200 well"},
	"the end when idle":                {sends: good + hangUp, want: "200 well"},
	"a body that looks like an answer": {sends: head + fmt.Sprint(len(good)) + "\r\n\r\n" + good, want: "200 " + good},

	"nothing":                    {sends: hangUp},
	"garbage":                    {sends: secret + "\r\n\r\n"},
	"garbage without an end":     {sends: strings.Repeat(secret, MaxBody/10)},
	"a TLS alert":                {sends: "\x15\x03\x01\x00\x02\x02\x28" + hangUp},
	"HTTP/2":                     {sends: "\x00\x00\x12\x04\x00\x00\x00\x00\x00" + hangUp},
	"a header without end":       {sends: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+secret+"\r\n", MaxBody/10)},
	"a line without end":         {sends: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat(secret, MaxBody/10)},
	"a flood of hints":           {sends: strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: "+secret+"\r\n\r\n", MaxBody/20)},
	"101":                        {sends: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + secret},
	"101 and an answer":          {sends: "HTTP/1.1 101 Switching Protocols\r\n\r\n" + good},
	"99":                         {sends: "HTTP/1.1 099 " + secret + "\r\nContent-Length: 0\r\n\r\n"},
	"half a header":              {sends: "HTTP/1.1 200 OK\r\nX: " + secret + hangUp},
	"half a body":                {sends: head + "40\r\n\r\n" + secret + hangUp},
	"half a chunk":               {sends: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + secret + hangUp},
	"no last chunk":              {sends: strings.TrimSuffix(chunks, "0\r\n\r\n") + hangUp},
	"a negative length":          {sends: head + "-4\r\n\r\nwell" + secret},
	"a length of words":          {sends: head + secret + "\r\n\r\nwell"},
	"a length beyond numbers":    {sends: head + "99999999999999999999999\r\n\r\nwell"},
	"a huge length":              {sends: head + "9223372036854775807\r\n\r\nwell"},
	"two lengths":                {sends: head + "4\r\nContent-Length: 5\r\n\r\nwell" + secret},
	"an unknown encoding":        {sends: "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\nwell"},
	"a huge chunk":               {sends: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n" + strings.Repeat(secret, MaxBody/10)},
	"a chunk's size without end": {sends: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("0", MaxBody)},
	"chunks of one byte":         {sends: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", MaxBody)},
	"a trailer without end":      {sends: strings.TrimSuffix(chunks, "\r\n") + strings.Repeat("X: "+secret+"\r\n", MaxBody/10)},
}

// hostileSurplus are answers with bytes after their end. If those come together with
// the answer, the request fails. If they come later, it does not.
var hostileSurplus = map[string]string{
	"two answers":                good + good,
	"two answers, later":         good + pause + good,
	"surplus":                    good + secret,
	"surplus, and the end":       good + secret + hangUp,
	"surplus, later":             good + pause + secret,
	"a byte of surplus":          good + "H",
	"a newline of surplus":       good + "\r\n",
	"much surplus":               good + strings.Repeat(secret, MaxBody/10),
	"surplus of chunks":          chunks + secret,
	"surplus of chunks, later":   chunks + pause + secret,
	"surplus of no content":      "HTTP/1.1 204 No Content\r\n\r\n" + secret,
	"surplus of a 304":           "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nwell",
	"surplus of one that closes": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nwell" + secret,
	"surplus of HTTP/1.0":        "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nwell" + secret,
	"a length that is too short": head + "2\r\n\r\nwell",
	"a 408 when idle":            good + pause + "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" + hangUp,
}

func TestHostileServers(t *testing.T) {
	written := standardLog(t)
	t.Cleanup(func() { assert.Empty(t, written.String()) })
	certificate, roots := certificate(t)
	// try has a client of its own ask a hostile server.
	try := func(t *testing.T, scheme string, server *hostile, check func(got string, err error)) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		if scheme == "https" {
			listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}})
		}
		defer listener.Close()
		server.left = make(chan struct{})
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				go server.serve(c)
			}
		}()
		transport := New(roots, nil)
		defer transport.CloseIdleConnections()
		address := scheme + "://" + listener.Addr().String()
		got, err := post(t, clientOf(transport), address, time.Minute)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "it ends by itself")
		if err != nil {
			assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err)), secret)
			assert.NotContains(t, err.Error(), "net/http")
		}
		check(got, err)
		for range 3 {
			got, err := post(t, clientOf(transport), address, time.Minute)
			require.NoError(t, err, "the next request")
			assert.Equal(t, "200 well", got)
		}
	}
	for _, scheme := range []string{"http", "https"} {
		for _, trickle := range []bool{false, true} {
			how := fmt.Sprintf("%s, trickle %v, ", scheme, trickle)
			for name, test := range hostileAnswers {
				if trickle && len(test.sends) > 4<<10 {
					continue
				}
				t.Run(how+name, func(t *testing.T) {
					try(t, scheme, &hostile{sends: test.sends, trickle: trickle}, func(got string, err error) {
						assert.Equal(t, test.want, got)
						assert.Equal(t, test.want == "", err != nil, "%v", err)
					})
				})
			}
			for name, sends := range hostileSurplus {
				if trickle && len(sends) > 4<<10 {
					continue
				}
				t.Run(how+name, func(t *testing.T) {
					server := &hostile{sends: sends, trickle: trickle}
					try(t, scheme, server, func(got string, err error) {
						if !trickle && !strings.Contains(sends, pause) || err != nil {
							require.ErrorIs(t, err, errSurplus)
							return
						}
						assert.Contains(t, []string{"200 well", "200 we", "204 ", "304 "}, got)
						select {
						case <-server.left:
						case <-time.After(30 * time.Second):
							t.Error("the connection is not closed")
						}
					})
				})
			}
		}
	}
}

// Bytes that come between two requests make the first Write of the second one fail, so
// that it is sent on another connection. Otherwise net/http could take those bytes for
// its answer.
func TestNoRequestIsWrittenAfterSurplus(t *testing.T) {
	server, client := net.Pipe()
	defer server.Close()
	require.NoError(t, client.SetDeadline(time.Now().Add(10*time.Second)))
	c := &conn{Conn: client, raw: client, left: maxAnswer}
	go func() {
		_, _ = server.Read(make([]byte, 10))
		_, _ = io.WriteString(server, "\n"+secret)
	}()
	_, err := io.WriteString(c, "ask")
	require.NoError(t, err)
	n, err := c.Read(make([]byte, readBuffer))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.True(t, c.end())
	_, err = io.WriteString(c, "ask")
	require.ErrorIs(t, err, errSurplus)
	_, err = c.Read(make([]byte, 4<<10))
	require.ErrorIs(t, err, errSurplus)
}

// certificate is one for loopback, and the roots that trust it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.TLS.Certificates[0], roots
}

// FuzzAnswer compares the answer with what [http.ReadResponse] reads in the same bytes.
func FuzzAnswer(f *testing.F) {
	for _, test := range noAnswers {
		f.Add([]byte(strings.TrimSuffix(test.sends, hangUp)[:min(4<<10, len(strings.TrimSuffix(test.sends, hangUp)))]))
	}
	for _, test := range hostileAnswers {
		f.Add([]byte(test.sends[:min(4<<10, len(test.sends))]))
	}
	for _, sends := range hostileSurplus {
		f.Add([]byte(sends[:min(4<<10, len(sends))]))
	}
	f.Fuzz(func(t *testing.T, sends []byte) {
		written := standardLog(t)
		want, surplus, wantErr := reference(sends)
		connections := 0
		transport := New(nil, func(context.Context, string, string) (net.Conn, error) {
			server, client := net.Pipe()
			connections++
			if connections == 1 {
				go func() {
					defer server.Close()
					if r, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
						_, _ = io.Copy(io.Discard, r.Body)
						_, _ = server.Write(sends)
					}
				}()
			} else {
				go (&hostile{sends: good, left: make(chan struct{})}).serve(server)
			}
			return client, nil
		})
		defer transport.CloseIdleConnections()
		got, err := post(t, clientOf(transport), "http://sts.test/", 20*time.Second)
		switch {
		case err != nil:
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			require.True(t, errors.As(err, new(answerError)), "%v", err)
			require.True(t, wantErr != nil || surplus, "%v", err)
		default:
			require.NoError(t, wantErr)
			require.Equal(t, want, got)
		}
		got, err = post(t, clientOf(transport), "http://sts.test/", 20*time.Second)
		require.NoError(t, err)
		require.Equal(t, "200 well", got)
		require.Equal(t, 2, connections)
		require.Empty(t, written.String())
	})
}

// reference is the answer that is at the beginning of sent, as it is read with a buffer
// that is as long as net/http's.
func reference(sent []byte) (answer string, surplus bool, err error) {
	in := bufio.NewReaderSize(bytes.NewReader(sent), readBuffer)
	for {
		r, err := http.ReadResponse(in, &http.Request{Method: http.MethodPost})
		switch {
		case err != nil:
			return "", false, err
		case r.StatusCode == http.StatusSwitchingProtocols || r.StatusCode < 100:
			return "", false, errSwitches
		case r.StatusCode < 200:
			continue
		}
		body, err := io.ReadAll(r.Body)
		if r.ContentLength > MaxBody {
			err = errTooLong
		}
		_, atEnd := in.Peek(1)
		return fmt.Sprintf("%d %s", r.StatusCode, body), atEnd == nil, err
	}
}

// A TLS handshake with a silent server ends when its request does.
func TestASilentHandshakeEndsWithItsRequest(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	_, err = post(t, clientOf(New(nil, nil)), "https://"+listener.Addr().String(), 100*time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	c, err := listener.Accept()
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = io.Copy(io.Discard, c)
	require.NoError(t, err, "it is closed")
}
