// Package http1 is the HTTP/1.1 transport of the module's own clients: of STS,
// of the token exchange and of an issuer's keys.
//
// It is not an [http.Transport] because of what that does with an answer which
// is none. It quotes the server's bytes in errors and writes them to the standard
// log, and STS's answers hold keys. It reads the body of a 101 answer from the
// connection, which no context ends. It gives the first of two addresses half a
// minute. Here an answer is read whole before anyone sees it, and all that can
// go wrong with it is an error of that one request.
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
	"net"
	"net/http"
	"net/url"
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
// use. A request is sent again, once, where a kept connection turns out to be
// closed before an answer began: each request of the module's may be repeated.
type Transport struct {
	roots *x509.CertPool // nil: the system's
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	proxy func(*http.Request) (*url.URL, error)

	proxied *http.Transport // for requests through a proxy

	mu    sync.Mutex         // guards what follows
	idle  map[string][]*conn // by scheme and address; the newest last
	count int                // of idle
}

// New returns a Transport that trusts roots, or the system's roots if nil. Dial
// opens connections; if nil, a [net.Dialer] does. Most callers want [Shared].
func New(roots *x509.CertPool, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Transport {
	if dial == nil {
		dial = newDialer().DialContext
	}
	t := &Transport{roots: roots, dial: dial, proxy: http.ProxyFromEnvironment, idle: map[string][]*conn{}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t.proxied = &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return t.proxy(r) },
		DialContext:            dial,
		TLSClientConfig:        t.tlsConfig(""),
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConnsPerHost:    -1, // on one that it keeps, net/http logs what comes unasked
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

// Roots returns the roots that t trusts, nil for the system's.
func (t *Transport) Roots() *x509.CertPool { return t.roots }

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
	errSurplus  answerError = "the server sent more than the answer that it announced"
	errSwitches answerError = "the server switches to another protocol (status 101), which was not asked for"
	errNotSent  answerError = "the request could not be written"
	errNotTLS   answerError = "the server does not speak TLS; is the address one of plain HTTP?"
)

// RoundTrip sends the request and reads the whole answer: one of status 200 or
// more, of any status, that is complete and no longer than [MaxBody]. A redirect
// is such an answer. Anything else is an error without the server's words, and
// the connection is closed. Where the request's context ends, the error is the
// context's cause.
//
// When a request's deadline passes, the connections to the same address that
// are kept are closed too: they are as old, and may be as dead.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	response, err := t.send(ctx, r)
	if err == nil {
		return response, nil
	}
	if r.Body != nil {
		_ = r.Body.Close() // twice does no harm
	}
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.closeIdle(func(key string) bool { return key == keyOf(r.URL) })
		}
		return nil, cause
	}
	return nil, plain(err)
}

func (t *Transport) send(ctx context.Context, r *http.Request) (*http.Response, error) {
	if r.URL == nil || r.URL.Host == "" || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return nil, answerError("the address is not one of http or https")
	}
	switch proxy, err := t.proxy(r); {
	case err != nil:
		return nil, answerError("the proxy that the environment names is not a URL")
	case proxy != nil:
		response, err := t.proxied.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		through := response.Body
		defer through.Close()
		response.Body = io.NopCloser(io.LimitReader(through, MaxBody+1))
		return response, whole(response)
	}
	key := keyOf(r.URL)
	c := t.take(key)
	if c != nil {
		response, err := t.use(ctx, key, c, r)
		if !errors.As(err, new(noAnswer)) || ctx.Err() != nil {
			return response, err
		}
		if r.Body != nil && r.Body != http.NoBody {
			if r.GetBody == nil {
				return nil, err
			}
			anew, failed := r.GetBody()
			if failed != nil {
				return nil, err
			}
			r = r.Clone(ctx)
			r.Body = anew
		}
	}
	c, err := t.connect(ctx, r.URL)
	if err != nil {
		return nil, err
	}
	return t.use(ctx, key, c, r)
}

// use sends r on c, and then keeps c or closes it.
func (t *Transport) use(ctx context.Context, key string, c *conn, r *http.Request) (*http.Response, error) {
	response, again, err := c.roundTrip(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case again:
		t.keep(key, c)
	default:
		c.Close()
	}
	return response, nil
}

// body is one that was read.
type body struct{ bytes.Buffer }

// Close does nothing.
func (*body) Close() error { return nil }

// whole reads the body of an answer, which ends soon after MaxBody.
func whole(r *http.Response) error {
	switch {
	case r.StatusCode < 200:
		return errSwitches // 101; the others are passed over
	case r.Body == http.NoBody:
		return nil
	case r.ContentLength > MaxBody:
		return errTooLong
	}
	b := new(body)
	if r.ContentLength > 0 {
		b.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := b.ReadFrom(r.Body)
	switch {
	case err != nil:
		return err
	case n > MaxBody:
		return errTooLong
	}
	r.Body, r.ContentLength, r.TransferEncoding = b, n, nil
	return nil
}

// plain returns err without words of net/http, which may quote the server.
func plain(err error) error {
	var ours answerError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &verify):
		return verify
	case errors.As(err, &record):
		return errNotTLS
	case errors.As(err, &op):
		if op.Op == "proxyconnect" { // around whatever the proxy did
			return plain(op.Err)
		}
		return op
	case errors.As(err, new(noAnswer)):
		return errNone
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return errCutOff
	case strings.HasPrefix(err.Error(), "tls: "), strings.HasPrefix(err.Error(), "x509: "):
		return err
	}
	return errNotHTTP
}

// keyOf is the scheme and address of u.
func keyOf(u *url.URL) string { return u.Scheme + "://" + addressOf(u) }

func addressOf(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (t *Transport) tlsConfig(host string) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: t.roots, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
}
