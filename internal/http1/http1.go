// Package http1 is the HTTP/1.1 transport of the module's own clients: of STS, of
// the token exchange and of an issuer's keys.
//
// It is an [http.Transport] with these differences. An answer is read completely
// before it is returned, so any fault in it is an error of its own request. Text
// from a server gets neither into an error nor into the standard log, since STS's
// answers hold keys. If one address of a name does not answer within two seconds,
// the next one is tried.
//
// HTTP/2 is left out on purpose. When a connection dies silently, only a request
// that times out notices. Over HTTP/1.1 that request closes the connection. Over
// HTTP/2 the connection would stay open, and the next requests would time out too.
package http1

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxBody is the largest body of an answer, in bytes.
	MaxBody = 1 << 20 // 1 MiB; STS's has some 2 KiB, a key set less than 2

	// maxHeader is the largest answer without its body, in bytes.
	maxHeader = 64 << 10 // 64 KiB

	// dialLimit bounds connecting. The dialer divides it among the addresses of a
	// name, but gives each at least two seconds (see [net.Dialer]). So with two or
	// more addresses, one that does not answer costs two seconds.
	dialLimit = 4 * time.Second

	// idleLimit is how long an unused connection is kept. It is as long as a call
	// with its retries can take. A connection that was opened ahead also lasts as
	// long as Lambda lets a function initialize
	// (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
	// Load balancers drop idle connections after 60 seconds or more.
	idleLimit = 10 * time.Second

	// maxIdle is how many unused connections are kept at most.
	maxIdle = 100
)

// Transport is an [http.RoundTripper]. It keeps connections for later requests,
// and uses the proxy that the environment names, as [http.ProxyFromEnvironment]
// does; a connection through a proxy is used once. It is safe for concurrent
// use.
//
// If a kept connection is closed before an answer begins, the request is sent again
// on another one, whatever its method: all requests of this module can be repeated.
// A request with a body needs GetBody for that.
type Transport struct {
	proxy func(*http.Request) (*url.URL, error)
	model *http.Transport // is cloned for each single

	mu   sync.Mutex
	kept []single // with connections for later requests; the newest last; guarded by mu
}

// single is a net/http transport with one connection, which one request at a time
// uses. A transport that requests share can open more connections than there are
// requests: it goes on connecting for a request that has got another request's
// connection in the meantime.
type single struct {
	*http.Transport
	scheme, host string
}

// New returns a Transport that trusts roots, or the system's roots if nil. Dial
// opens connections; its errors must be of type [*net.OpError]. If nil, a
// [net.Dialer] does. Most callers want [Shared].
func New(roots *x509.CertPool, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Transport {
	if dial == nil {
		dial = newDialer().DialContext
	}
	connect := func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: raw, raw: raw, left: maxAnswer}, nil
	}
	config := &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	t := &Transport{proxy: http.ProxyFromEnvironment}
	t.model = &http.Transport{ // net/http does not use HTTP/2 with a dialer of ours
		Proxy:       func(r *http.Request) (*url.URL, error) { return t.proxy(r) },
		DialContext: connect,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			raw, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			config := config.Clone()
			config.ServerName, _, _ = net.SplitHostPort(address)
			over := tls.Client(raw, config)
			if err := over.HandshakeContext(ctx); err != nil {
				raw.Close()
				return nil, err
			}
			return &conn{Conn: over, raw: raw, left: maxAnswer}, nil
		},
		TLSClientConfig:     config, // for connections through a proxy
		DisableCompression:  true,
		IdleConnTimeout:     idleLimit, // net/http compares the wall clock too, so time in a freeze counts
		MaxIdleConnsPerHost: 1,
		ReadBufferSize:      readBuffer,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
			if r.StatusCode != http.StatusOK {
				return answerError(fmt.Sprintf("the proxy answers CONNECT with status %d", r.StatusCode))
			}
			return nil
		},
	}
	return t
}

func newDialer() *net.Dialer { return &net.Dialer{Timeout: dialLimit} }

var shared struct {
	sync.Mutex
	of map[string]*Transport // by bundle
}

// Shared returns a Transport that trusts the certificates in bundle, which is in
// PEM form, or the system's roots if bundle is empty. For the same bundle it returns
// the same Transport, so that the process holds the roots and connections once.
func Shared(bundle []byte) (*Transport, error) {
	shared.Lock()
	defer shared.Unlock()
	if t := shared.of[string(bundle)]; t != nil {
		return t, nil
	}
	var roots *x509.CertPool
	if len(bundle) > 0 {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(bundle) {
			return nil, errors.New("there is no certificate in PEM form")
		}
	}
	const most = 16
	if shared.of == nil || len(shared.of) >= most { // Transports that are in use go on working
		shared.of = map[string]*Transport{}
	}
	t := New(roots, nil)
	shared.of[string(bundle)] = t
	return t, nil
}

// Roots returns the roots that t trusts, or nil if they are the system's.
func (t *Transport) Roots() *x509.CertPool { return t.model.TLSClientConfig.RootCAs }

// Do makes a request as an [http.Client] with this Transport does, at half the cost, and
// follows no redirect. With it, t can be the HTTP client of the SDK.
func (t *Transport) Do(r *http.Request) (*http.Response, error) {
	response, err := t.RoundTrip(r)
	if err != nil {
		return nil, &url.Error{Op: r.Method, URL: r.URL.Redacted(), Err: err}
	}
	return response, nil
}

// answerError says what is wrong with an answer. It holds no text from the server.
type answerError string

// Error returns the text.
func (e answerError) Error() string { return string(e) }

const (
	errNotHTTP  answerError = "what the server sent is not an HTTP answer"
	errCutOff   answerError = "the connection was closed before the answer was complete"
	errNone     answerError = "the connection was closed without an answer"
	errTooLong  answerError = "the answer is longer than 1 MiB"
	errSurplus  answerError = "the server sent more than was asked for"
	errSwitches answerError = "the server switches to another protocol (status 101), which was not asked for"
	errNotSent  answerError = "the request could not be written"
	errNotTLS   answerError = "the server does not speak TLS; is the address one of plain HTTP?"
	errAddress  answerError = "the address is not one of http or https"
	errProxy    answerError = "the proxy that the environment names is not a URL"
)

// RoundTrip sends the request and reads the complete answer, which may have any
// status from 200 on, a redirect's included. If the answer is incomplete or its body
// longer than [MaxBody], RoundTrip returns an error without text from the server,
// and closes the connection. If the request's context ends, the error is the
// context's cause.
//
// If the request's deadline passes, the connections that are kept are closed too:
// they are as old, and may be as dead.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.send(r)
	if err == nil {
		return response, nil
	}
	if r.Body != nil {
		_ = r.Body.Close() // net/http may have closed it already
	}
	if errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		t.CloseIdleConnections()
	}
	if cause := context.Cause(r.Context()); cause != nil {
		return nil, cause
	}
	return nil, plain(err)
}

// CloseIdleConnections closes the connections that no request is using.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	closing := t.kept
	t.kept = nil
	t.mu.Unlock()
	for _, s := range closing {
		s.CloseIdleConnections()
	}
}

// take returns the single transport that was kept last for u's host, or a new one.
func (t *Transport) take(u *url.URL) single {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, s := range slices.Backward(t.kept) {
		if s.scheme == u.Scheme && s.host == u.Host {
			t.kept = slices.Delete(t.kept, i, i+1)
			return s
		}
	}
	return single{t.model.Clone(), u.Scheme, u.Host}
}

func (t *Transport) keep(s single) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) == maxIdle {
		t.kept[0].CloseIdleConnections()
		t.kept = slices.Delete(t.kept, 0, 1)
	}
	t.kept = append(t.kept, s)
}

// send sends the request and reads the answer.
func (t *Transport) send(r *http.Request) (*http.Response, error) {
	if r.URL == nil || r.URL.Host == "" || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return nil, errAddress
	}
	proxy, err := t.proxy(r)
	if err != nil {
		return nil, errProxy
	}
	// If the context ends, net/http's goroutines can still be calling the hooks when
	// RoundTrip has returned.
	var used struct {
		conn   atomic.Pointer[conn] // nil for TLS through a proxy
		unsent atomic.Bool          // the request could not be written, and the connection is not why
		answer atomic.Pointer[http.Response]
	}
	s := t.take(r.URL)
	header := r.Header
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			c, _ := info.Conn.(*conn)
			used.conn.Store(c)
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			used.unsent.Store(info.Err != nil && !errors.As(info.Err, new(*net.OpError)))
		},
		PutIdleConn: func(error) {
			if c := used.conn.Load(); c != nil {
				c.end()
			}
			if answer := used.answer.Load(); answer != nil && answer.Trailer != nil {
				s.CloseIdleConnections() // net/http looks ahead for a trailer's end, and may hold more
			}
		},
	}))
	r.Header = maps.Clone(header)
	r.Header["Idempotency-Key"] = nil // is not sent, and makes net/http repeat the request on a closed connection
	r.Close = r.Close || proxy != nil // a conn under TLS cannot see where an answer ends
	response, err := s.RoundTrip(r)
	used.answer.Store(response)
	switch {
	case err == nil:
		err = whole(response)
	case used.unsent.Load() && !errors.As(err, new(answerError)):
		err = errNotSent
	}
	if c := used.conn.Load(); err == nil && c != nil && c.end() {
		err = errSurplus
	}
	if err != nil {
		s.CloseIdleConnections() // and connections that are still being opened
		return nil, err
	}
	t.keep(s)
	return response, nil
}

// whole reads the body of an answer.
func whole(r *http.Response) error {
	defer r.Body.Close()
	switch {
	case r.StatusCode < 200:
		return errSwitches // it is 101: net/http skips the others
	case r.ContentLength > MaxBody && r.Body != http.NoBody:
		return errTooLong
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if len(body) > MaxBody {
		err = errTooLong
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return err
}

// WithoutText returns err, which is of any HTTP client. If it may be net/http's of what
// stands where a status line, a header or a trailer belongs, it quotes that, and
// WithoutText returns another one.
func WithoutText(err error) error {
	if (strings.Contains(err.Error(), "transport connection broken: ") || errors.As(err, new(textproto.ProtocolError))) && !BrokeOff(err) {
		return errNotHTTP
	}
	return err
}

// BrokeOff reports whether err is of a connection that failed or ended.
func BrokeOff(err error) bool {
	return errors.As(err, new(*net.OpError)) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// plain returns an error for err without the text of net/http, which may quote the
// server.
func plain(err error) error {
	var ours answerError
	var op *net.OpError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, new(tls.RecordHeaderError)):
		return errNotTLS
	case errors.As(err, &op):
		return op
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return errCutOff
	case strings.HasPrefix(err.Error(), "tls: "), strings.HasPrefix(err.Error(), "x509: "):
		return err
	}
	return errNotHTTP
}
