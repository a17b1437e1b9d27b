package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	secret = "SECRETSECRETSECRET"
	good   = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell"
)

// raw is a server that answers the requests of a connection with the given bytes, one
// after the other, and then closes the connection. After "" it sends nothing more.
type raw struct {
	net.Listener
	dials  atomic.Int64 // by dial; the listener can also be reached by clients of other tests
	answer atomic.Pointer[string]
	ends   chan struct{}

	mu     sync.Mutex
	silent []net.Conn // on which a request was answered with ""
}

func newRaw(t *testing.T, answer string) *raw {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &raw{Listener: listener, ends: make(chan struct{})}
	s.answer.Store(&answer)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		close(s.ends)
	})
	return s
}

// hangUp at the end of an answer makes the server close the connection.
const hangUp = "<hang up>"

func (s *raw) serve(c net.Conn) {
	defer c.Close()
	buffer := make([]byte, 64<<10)
	for {
		if _, err := c.Read(buffer); err != nil { // requests of tests are small
			return
		}
		answer, closes := strings.CutSuffix(*s.answer.Load(), hangUp)
		if answer == "" {
			s.mu.Lock()
			s.silent = append(s.silent, c)
			s.mu.Unlock()
		}
		if _, err := io.WriteString(c, answer); err != nil || closes {
			return
		}
	}
}

// dial opens a connection for a Transport.
func (s *raw) dial(ctx context.Context, network, address string) (net.Conn, error) {
	s.dials.Add(1)
	return newDialer().DialContext(ctx, network, address)
}

func (s *raw) url() string { return "http://" + s.Addr().String() + "/" }

// clientOf returns a client that follows no redirect.
func clientOf(t *Transport) *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get makes a request that has a body.
func get(t *testing.T, client *http.Client, address string) (string, error) {
	t.Helper()
	return post(t, client, address, 10*time.Second)
}

func post(t *testing.T, client *http.Client, address string, limit time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("token="+secret))
	require.NoError(t, err)
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err, "the answer was read before")
	require.NoError(t, response.Body.Close())
	return fmt.Sprintf("%d %s", response.StatusCode, body), nil
}

// standardLog records what is written to the standard log until the test ends.
func standardLog(t *testing.T) *logged {
	t.Helper()
	out := &logged{}
	was := log.Writer()
	log.SetOutput(out)
	t.Cleanup(func() { log.SetOutput(was) })
	return out
}

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// noAnswers are texts that a server or middlebox sends in place of an answer, and
// the resulting errors.
var noAnswers = map[string]struct {
	sends string
	want  answerError
}{
	"101":                 {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + secret + "\r\nConnection: Upgrade\r\n\r\n", errSwitches},
	"101 of nothing":      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", errSwitches},
	"XML":                 {"<AssumeRoleWithWebIdentityResponse><SecretAccessKey>" + secret + "</SecretAccessKey>\r\n\r\n", errNotHTTP},
	"a header of garbage": {"HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n", errNotHTTP},
	"a status of garbage": {"HTTP/1.1 " + secret + "\r\n\r\n", errNotHTTP},
	"two lengths":         {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nwell" + secret, errNotHTTP},
	"a garbage chunk":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n", errNotHTTP},
	"cut off":             {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + secret + hangUp, errCutOff},
	"cut off in a chunk":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + secret + hangUp, errCutOff},
	"cut off in a header": {"HTTP/1.1 200 OK\r\nX-" + secret + hangUp, errNotHTTP},
	"nothing":             {hangUp, errNone},
	"announced too long":  {"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n" + secret, errTooLong},
	"too long":            {"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat(secret, MaxBody/10), errTooLong},
	"an endless header":   {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+secret+"\r\n", MaxBody/10), errTooLong},
	"endless hints":       {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", MaxBody/10), errTooLong},
}

// surplus are answers with bytes after their end.
var surplus = map[string]string{
	"of a length":   good + secret,
	"of chunks":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n" + secret,
	"of no content": "HTTP/1.1 204 No Content\r\n\r\n" + secret,
	"an answer":     good + "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n" + secret,
}

func TestInvalidAnswersAreErrors(t *testing.T) {
	written := standardLog(t)
	for name, test := range noAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRaw(t, test.sends)
			transport := New(nil, s.dial)
			for range 2 {
				_, err := get(t, clientOf(transport), s.url())
				require.ErrorIs(t, err, test.want)
				assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err)), secret)
				assert.NotContains(t, err.Error(), "net/http")
			}
			s.answer.Store(ptr(good))
			got, err := get(t, clientOf(transport), s.url())
			require.NoError(t, err, "and nothing of it stays")
			assert.Equal(t, "200 well", got)
			assert.EqualValues(t, 3, s.dials.Load())
		})
	}
	t.Cleanup(func() { assert.Empty(t, written.String()) })
}

func TestSurplusIsNeverLogged(t *testing.T) {
	written := standardLog(t)
	for name, sends := range surplus {
		t.Run(name, func(t *testing.T) {
			s := newRaw(t, sends)
			transport := New(nil, nil)
			_, err := get(t, clientOf(transport), s.url())
			require.ErrorIs(t, err, errSurplus)

			s.answer.Store(ptr(good))
			got, err := get(t, clientOf(transport), s.url())
			require.NoError(t, err)
			assert.Equal(t, "200 well", got)
		})
	}
	assert.Empty(t, written.String())
}

// Bytes that come on a kept connection close it, and are no request's answer.
func TestBytesBetweenRequestsCloseTheConnection(t *testing.T) {
	written := standardLog(t)
	server, client := net.Pipe()
	dialed := 0
	transport := New(nil, func(context.Context, string, string) (net.Conn, error) {
		dialed++
		if dialed > 1 {
			return nil, &net.OpError{Op: "dial", Err: errors.New("no further connection")}
		}
		return client, nil
	})
	go func() {
		_, _ = server.Read(make([]byte, 4096))
		_, _ = io.WriteString(server, good)
	}()
	_, err := get(t, clientOf(transport), "http://sts.test/")
	require.NoError(t, err)
	_, _ = io.WriteString(server, "H") // read by the watch
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the connection is closed")
	_, err = get(t, clientOf(transport), "http://sts.test/")
	require.ErrorContains(t, err, "no further connection")
	assert.Empty(t, written.String())
}

func TestValidAnswersAreReturnedUnchanged(t *testing.T) {
	for name, test := range map[string]struct{ sends, want string }{
		"length":          {good, "200 well"},
		"chunks":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n", "200 well"},
		"to the end":      {"HTTP/1.1 200 OK\r\n\r\nwell" + hangUp, "200 well"},
		"HTTP/1.0":        {"HTTP/1.0 200 OK\r\n\r\nwell" + hangUp, "200 well"},
		"after hints":     {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + good, "200 well"},
		"a redirect":      {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "302 "},
		"no content":      {"HTTP/1.1 204 No Content\r\n\r\n", "204 "},
		"an error":        {"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwell" + hangUp, "500 well"},
		"as long as can":  {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", MaxBody, strings.Repeat("x", MaxBody)), "200 " + strings.Repeat("x", MaxBody)},
		"an early answer": {"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n" + hangUp, "413 "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRaw(t, test.sends)
			transport := New(nil, s.dial)
			for range 3 {
				got, err := get(t, clientOf(transport), s.url())
				require.NoError(t, err)
				assert.Equal(t, test.want, got)
			}
			if !strings.HasSuffix(test.sends, hangUp) {
				assert.EqualValues(t, 1, s.dials.Load(), "the connection is kept")
			}
		})
	}
}

// A body of 4 MiB is more than any buffer between the two holds.
func TestAnAnswerBeforeTheRequestIsRead(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		<-done
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+listener.Addr().String(), bytes.NewReader(make([]byte, 64<<20)))
	require.NoError(t, err)
	response, err := New(nil, nil).RoundTrip(r)
	require.NoError(t, err)
	assert.Equal(t, 413, response.StatusCode)
}

func TestABodyThatCannotBeReadEndsTheRequest(t *testing.T) {
	s := newRaw(t, "")
	r, err := http.NewRequest(http.MethodPost, s.url(), io.MultiReader(strings.NewReader("a"), failing{}))
	require.NoError(t, err)
	_, err = New(nil, nil).RoundTrip(r)
	require.ErrorIs(t, err, errNotSent)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cannot be read") }

func TestAddressesThatCannotBeAsked(t *testing.T) {
	for address, says := range map[string]string{
		"ftp://127.0.0.1/":    "not one of http or https",
		"http:///path":        "not one of http or https",
		"http://127.0.0.1:1/": "connection refused",
		"https://" + newRaw(t, good).Addr().String(): "does not speak TLS",
	} {
		r, err := http.NewRequest(http.MethodGet, address, nil)
		require.NoError(t, err)
		_, err = New(nil, nil).RoundTrip(r)
		require.ErrorContains(t, err, says, address)
	}
}

func tlsServer(t *testing.T, handler http.HandlerFunc) (server *httptest.Server, roots *x509.CertPool, conns *atomic.Int64) {
	t.Helper()
	conns = &atomic.Int64{}
	server = httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true // which it is not asked for
	server.StartTLS()
	t.Cleanup(server.Close)
	roots = x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server, roots, conns
}

func says(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }

func TestTLS(t *testing.T) {
	server, roots, conns := tlsServer(t, says)
	transport := New(roots, nil)
	for range 3 {
		got, err := get(t, clientOf(transport), server.URL)
		require.NoError(t, err)
		assert.Equal(t, "200 HTTP/1.1", got)
	}
	assert.EqualValues(t, 1, conns.Load())

	_, err := get(t, clientOf(New(nil, nil)), server.URL)
	require.ErrorContains(t, err, "certificate", "the system's roots do not have it")
	_, err = get(t, clientOf(transport), strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
	require.ErrorContains(t, err, "localhost", "the name is checked")
}

// Any number of requests, sixteen at a time, need some sixteen handshakes. Five
// hundred requests at once wait only for the server.
func TestManyRequests(t *testing.T) {
	var under, most atomic.Int64
	server, roots, conns := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		_, _ = io.Copy(io.Discard, r.Body)
		says(w, r)
	})
	// The test does not depend on how fast a busy machine connects.
	transport := New(roots, (&net.Dialer{Timeout: time.Minute}).DialContext)
	many := func(total, atATime int) {
		places := make(chan struct{}, atATime)
		var all sync.WaitGroup
		for range total {
			places <- struct{}{}
			all.Add(1)
			go func() {
				defer all.Done()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				r, _ := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader("token"))
				response, err := clientOf(transport).Do(r)
				if assert.NoError(t, err) {
					response.Body.Close()
				}
				<-places
			}()
		}
		all.Wait()
	}
	many(10_000, 16)
	// On a busy machine net/http now and then closes a connection, if its writing
	// goroutine had to wait for 50 ms.
	t.Logf("%d handshakes", conns.Load())
	assert.LessOrEqual(t, conns.Load(), int64(2*16))
	many(500, 500)
	transport.mu.Lock()
	assert.LessOrEqual(t, len(transport.kept), maxIdle)
	transport.mu.Unlock()
	transport.CloseIdleConnections()
	transport.mu.Lock()
	defer transport.mu.Unlock()
	assert.Empty(t, transport.kept)
}

// A server can close an idle connection just as the next request is sent.
func TestAConnectionThatTheServerClosed(t *testing.T) {
	s := newRaw(t, good)
	transport := New(nil, nil)
	for i := range 200 {
		s.answer.Store(ptr(good + hangUp[:len(hangUp)*(i%2)])) // every second time it leaves at once
		got, err := get(t, clientOf(transport), s.url())
		require.NoError(t, err)
		assert.Equal(t, "200 well", got)
	}
}

// Three connections have died silently. One request times out, and the next one uses
// none of them.
func TestSilentConnectionsAreLeft(t *testing.T) {
	s := newRaw(t, good)
	transport := New(nil, s.dial)
	three(t, transport, s)
	s.answer.Store(ptr(""))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(), nil)
	require.NoError(t, err)
	_, err = transport.RoundTrip(r)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, transport.kept)

	s.answer.Store(ptr(good))
	_, err = get(t, clientOf(transport), s.url())
	require.NoError(t, err)
	assert.EqualValues(t, 4, s.dials.Load())
}

// After a freeze the connections are too old by the wall clock, and are not used.
func TestAConnectionIsNotUsedAfterAFreeze(t *testing.T) {
	s := newRaw(t, good)
	transport := New(nil, s.dial)
	_, err := get(t, clientOf(transport), s.url())
	require.NoError(t, err)
	for _, at := range idleSince(t, transport) {
		*at = at.Add(-time.Hour)
	}
	_, err = get(t, clientOf(transport), s.url())
	require.NoError(t, err)
	assert.EqualValues(t, 2, s.dials.Load())
}

// three makes transport keep three connections to s.
func three(t *testing.T, transport *Transport, s *raw) {
	t.Helper()
	s.answer.Store(ptr(""))
	var all sync.WaitGroup
	for range 3 {
		all.Add(1)
		go func() {
			defer all.Done()
			_, err := get(t, clientOf(transport), s.url())
			assert.NoError(t, err)
		}()
	}
	silent := func() []net.Conn {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Clone(s.silent)
	}
	require.Eventually(t, func() bool { return len(silent()) == 3 }, 10*time.Second, time.Millisecond)
	for _, c := range silent() {
		_, err := io.WriteString(c, good)
		require.NoError(t, err)
	}
	all.Wait()
	require.EqualValues(t, 3, s.dials.Load())
}

// idleSince are the times since when net/http has kept its connections.
func idleSince(t *testing.T, transport *Transport) (since []*time.Time) {
	t.Helper()
	for _, s := range transport.kept {
		conns := reflect.ValueOf(s.Transport).Elem().FieldByName("idleConn")
		for each := conns.MapRange(); each.Next(); {
			for i := range each.Value().Len() {
				at := each.Value().Index(i).Elem().FieldByName("idleAt")
				since = append(since, (*time.Time)(at.Addr().UnsafePointer()))
			}
		}
	}
	require.NotEmpty(t, since)
	return since
}

func TestACanceledRequestEndsAtOnce(t *testing.T) {
	s := newRaw(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	gone := errors.New("the caller has left")
	time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(), nil)
	require.NoError(t, err)
	_, err = New(nil, nil).RoundTrip(r)
	require.ErrorIs(t, err, gone)
}

// A context that ends while the request is written, or while the answer is read, races
// with net/http's goroutines, which go on. The race detector sees what they share.
func TestACancelWhileAnAnswerComes(t *testing.T) {
	for name, cancelAt := range map[string]func(cancel func()) *canceling{
		"write": func(cancel func()) *canceling { return &canceling{onWrite: cancel} },
		"read":  func(cancel func()) *canceling { return &canceling{onRead: cancel} },
	} {
		t.Run(name, func(t *testing.T) {
			for range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				c := cancelAt(cancel)
				transport := New(nil, func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					go func() {
						defer server.Close()
						if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
							_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
						}
					}()
					c.Conn = client
					return c, nil
				})
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sts.test/", nil)
				require.NoError(t, err)
				if _, err = transport.RoundTrip(r); err != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
				transport.CloseIdleConnections()
			}
		})
	}
}

// canceling is a connection that calls onWrite before it writes, and onRead after it
// has read.
type canceling struct {
	net.Conn
	onWrite, onRead func()
}

func (c *canceling) Write(p []byte) (int, error) {
	if c.onWrite != nil {
		c.onWrite()
	}
	return c.Conn.Write(p)
}

func (c *canceling) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.onRead != nil {
		c.onRead()
	}
	return n, err
}

// A proxy is used as net/http does, and text that comes through it is not quoted or
// logged.
func TestThroughAProxy(t *testing.T) {
	written := standardLog(t)
	through := func(proxy string) *Transport {
		transport := New(nil, nil)
		transport.proxy = http.ProxyURL(must(url.Parse(proxy)))
		return transport
	}
	for name, test := range noAnswers {
		t.Run(name, func(t *testing.T) {
			s := newRaw(t, test.sends)
			_, err := get(t, clientOf(through(s.url())), "http://sts.test/")
			require.Error(t, err)
			assert.ErrorIs(t, err, test.want)
			assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err)), secret)
			assert.NotContains(t, err.Error(), "net/http")
		})
	}
	for name, sends := range surplus {
		s := newRaw(t, sends)
		_, err := get(t, clientOf(through(s.url())), "http://sts.test/")
		require.ErrorIs(t, err, errSurplus, name)
	}

	server, roots, _ := tlsServer(t, says)
	proxy := httptest.NewServer(connectProxy(server.Listener.Addr().String()))
	defer proxy.Close()
	transport := through(proxy.URL)
	transport.model.TLSClientConfig.RootCAs = roots
	for range 2 {
		got, err := get(t, clientOf(transport), "https://example.com/")
		require.NoError(t, err)
		assert.Equal(t, "200 HTTP/1.1", got)
	}
	_, err := get(t, clientOf(through(newRaw(t, "HTTP/1.1 407 "+secret+"\r\nContent-Length: 0\r\n\r\n").url())), "https://example.com/")
	require.ErrorContains(t, err, "the proxy answers CONNECT with status 407")
	assert.NotContains(t, err.Error(), secret)
	assert.Empty(t, written.String())
}

func connectProxy(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			(&httputil.ReverseProxy{Director: func(*http.Request) {}}).ServeHTTP(w, r)
			return
		}
		server, err := net.Dial("tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n") // after Hijack, so that net/http reads none of what follows
		go func() {
			_, _ = io.Copy(server, client)
			server.Close()
		}()
		_, _ = io.Copy(client, server)
		client.Close()
	}
}

func TestSharedByBundle(t *testing.T) {
	server, _, _ := tlsServer(t, says)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	a, err := Shared(bundle)
	require.NoError(t, err)
	b, err := Shared(bytes.Clone(bundle))
	require.NoError(t, err)
	assert.Same(t, a, b)
	system, err := Shared(nil)
	require.NoError(t, err)
	assert.NotSame(t, a, system)
	_, err = get(t, clientOf(a), server.URL)
	require.NoError(t, err)
	_, err = Shared([]byte("none"))
	require.Error(t, err)
	for i := range 100 {
		_, err = Shared(append(bundle, byte(i)))
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, len(shared.of), 16)
}

func ptr[T any](v T) *T { return &v }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}
