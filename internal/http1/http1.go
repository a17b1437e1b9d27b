// Package http1 is the HTTP/1.1 transport of the module's own clients: of STS,
// of the token exchange and of an issuer's keys.
//
// It is an [http.Transport] with these differences. An answer is read whole
// before anyone sees it, so that all that can go wrong with it is an error of
// that one request. What a server sends comes neither into an error nor into the
// standard log, since STS's answers hold keys. A name's address that does not
// answer is left for the next one after two seconds.
//
// HTTP/2 is left out on purpose. A connection that has died without a word is
// noticed only by a request that times out on it. Over HTTP/1.1 that request
// closes it; over HTTP/2 it would stay, and take the next requests down too.
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
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// MaxBody is how long the body of an answer may be, in bytes.
	MaxBody = 1 << 20 // 1 MiB; STS's has some 2 KiB, a key set less than 2

	// maxHeader is how long an answer may be without its body, in bytes.
	maxHeader = 64 << 10 // 64 KiB

	// dialLimit bounds connecting. The dialer divides it among the addresses of
	// a name, but gives none less than two seconds (see [net.Dialer]). So an
	// address that does not answer costs two seconds where there is another.
	dialLimit = 4 * time.Second

	// idleLimit is how long an unused connection is kept: as long as one call
	// and its retries can take, and as long as Lambda lets a function initialize
	// after it has connected ahead
	// (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
	// Load balancers drop idle connections after 60 seconds or more.
	idleLimit = 10 * time.Second

	// maxIdle is how many unused connections are kept.
	maxIdle = 100
)

// Transport is an [http.RoundTripper]. It keeps connections for later requests,
// and uses the proxy that the environment names, as [http.ProxyFromEnvironment]
// does; a connection through a proxy is used once. It is safe for concurrent
// use.
//
// Where a kept connection turns out to be closed before an answer began, the
// request is sent again, whatever its method, since each request of the module's
// may be repeated. One with a body needs GetBody for that.
type Transport struct {
	proxy func(*http.Request) (*url.URL, error)
	model *http.Transport // what single ones are made of

	mu   sync.Mutex
	kept []single // with connections for later requests; the newest last; guarded by mu
}

// single is a net/http transport that one request at a time uses, so that it has
// one connection. One that requests share makes more connections than there are
// requests at a time: it goes on connecting for a request that has meanwhile got
// another's connection.
type single struct {
	*http.Transport
	scheme, host string
}

// New returns a Transport that trusts roots, or the system's roots if nil. Dial
// opens connections, and its errors are of type [*net.OpError]; if nil, a
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
	t.model = &http.Transport{ // with a dialer of ours, it leaves HTTP/2 alone
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
		TLSClientConfig:     config, // through a proxy
		DisableCompression:  true,
		IdleConnTimeout:     idleLimit, // by the wall clock too: the process may have been frozen
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

// Shared returns the process's Transport that trusts the certificates in bundle,
// which is in PEM form, in place of the system's roots. An empty bundle stands
// for the system's. The same bundle gives the same Transport, so its roots and
// connections are held once.
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
	if shared.of == nil || len(shared.of) >= most { // a bundle that changes; who has its Transport keeps it
		shared.of = map[string]*Transport{}
	}
	t := New(roots, nil)
	shared.of[string(bundle)] = t
	return t, nil
}

// Client returns an HTTP client that uses t. It follows no redirect: a token
// goes nowhere but to the address that was configured.
func (t *Transport) Client() *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Do makes a request as Client does, for those who need no more than that of an
// HTTP client: the SDK's. It costs half as much.
func (t *Transport) Do(r *http.Request) (*http.Response, error) {
	response, err := t.RoundTrip(r)
	if err != nil {
		return nil, &url.Error{Op: r.Method, URL: r.URL.Redacted(), Err: err}
	}
	return response, nil
}

// answerError says what is wrong with an answer, in words of this package alone.
type answerError string

// Error says it.
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

// RoundTrip sends the request and reads the whole answer: one of status 200 or
// more, of any status, that is complete and no longer than [MaxBody]. A redirect
// is such an answer. Anything else is an error without the server's words, and
// the connection is closed. Where the request's context ends, the error is the
// context's cause.
//
// When a request's deadline passes, the connections that are kept are closed
// too: they are as old, and may be as dead.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.send(r)
	if err == nil {
		return response, nil
	}
	if r.Body != nil {
		_ = r.Body.Close() // twice does no harm
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
	var unsent error
	var c *conn // the one that is used; stays nil where TLS is spoken through a proxy
	header := r.Header
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			c, _ = info.Conn.(*conn)
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) { unsent = info.Err },
		PutIdleConn:  func(error) { _ = c != nil && c.end() },
	}))
	r.Header = maps.Clone(header)
	r.Header["Idempotency-Key"] = nil // is not sent; lets net/http send the request again
	r.Close = r.Close || proxy != nil // beneath TLS, c sees no end of an answer
	s := t.take(r.URL)
	response, err := s.RoundTrip(r)
	switch {
	case err == nil:
		err = whole(response)
	case unsent != nil && !errors.As(unsent, new(*net.OpError)) && !errors.As(err, new(answerError)):
		err = errNotSent
	}
	if err == nil && c != nil && c.end() {
		err = errSurplus
	}
	if err != nil {
		s.CloseIdleConnections() // and ends what is still connecting
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
		return errSwitches // 101; the others are passed over
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

// plain returns err without words of net/http, which may quote the server.
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
