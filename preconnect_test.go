//go:build go1.25

package vercelaws

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/memnet"
)

// The round trips of a first fetch are counted under fake time, on a link that
// adds latency and on which nothing else takes any time at all.
func TestPreconnectSavesRoundTrips(t *testing.T) {
	const roundTrip = 100 * time.Millisecond
	first := func(t *testing.T, option func(*Options), idle time.Duration) (took time.Duration, conns int64) {
		isolate(t)
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true)
			defer w.close()
			raw := w.issuer.Mint()
			_, err := NewProvider(testRole, withClient(w.sts.STS())).Retrieve(fromRequest(raw)) // STS fetches the issuer's keys
			require.NoError(t, err)

			link := listenTLS(t, w)
			defer link.close()
			client := link.client(roundTrip)
			p := NewProvider(testRole, withClient(client), option)
			time.Sleep(idle)
			start := time.Now()
			_, err = p.Retrieve(fromRequest(raw))
			require.NoError(t, err)
			took, conns = time.Since(start), link.conns.Load()
			link.transport.CloseIdleConnections()
			time.Sleep(roundTrip) // let the closing pass the link
		})
		return took, conns
	}
	none := func(*Options) {}
	preconnect := func(o *Options) { o.Preconnect = true }

	cold, conns := first(t, none, time.Second)
	assert.Equal(t, 3*roundTrip, cold, "TCP, TLS, HTTP")
	assert.EqualValues(t, 1, conns)
	warm, conns := first(t, preconnect, time.Second)
	assert.Equal(t, roundTrip, warm, "HTTP alone")
	assert.EqualValues(t, 1, conns, "the connection that was opened is the one that is used")
	t.Logf("first credentials at a round trip of %s: %s without Preconnect, %s with it", roundTrip, cold, warm)

	early, _ := first(t, preconnect, 0)
	assert.LessOrEqual(t, early, cold, "a fetch that comes before the connection is there is no later for it")
}

func TestPreconnectNeverHurts(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS() // not an *sts.Client
		p := NewProvider(testRole, withClient(s), func(o *Options) { o.Preconnect = true })
		synctest.Wait()
		assert.Zero(t, s.count())
		creds, err := p.Retrieve(fromRequest(mint(t, "a")))
		usable(t, s, creds, err)

		broken := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://sts.test"), HTTPClient: &http.Client{Transport: hung{}}})
		NewProvider(testRole, withClient(broken), func(o *Options) { o.Preconnect = true })
		time.Sleep(fetchLimit)
		synctest.Wait() // the goroutine has ended: synctest.Test would fail otherwise
	})
}

// What a user's code does in the background ends neither the process nor the
// provider: an HTTP client that is to connect beforehand, and a log handler that
// is told of settings without effect.
func TestWhatMisbehavesInTheBackground(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_PROFILE", "other")
	for name, misbehave := range map[string]func(){
		"panics": func() { panic("no") },
		"exits":  runtime.Goexit,
		"blocks": func() { time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://sts.test"), HTTPClient: misbehaving(misbehave)})
				p := NewProvider(testRole, withClient(client), func(o *Options) { o.Preconnect = true })
				synctest.Wait()
				began := time.Now()
				_, err := p.Retrieve(fromRequest(mint(t, "a")))
				require.Error(t, err)
				assert.LessOrEqual(t, time.Since(began), 10*time.Second)

				asked := make(chan struct{}, 10)
				NewProvider(testRole, func(o *Options) {
					o.Logger = slog.New(misbehavingHandler{func() { asked <- struct{}{}; misbehave() }})
				})
				<-asked
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// misbehaving is an HTTP client, misbehavingHandler a log handler.
type misbehaving func()

func (m misbehaving) Do(*http.Request) (*http.Response, error) {
	m()
	return nil, errors.New("out of order")
}

type misbehavingHandler struct{ misbehave func() }

func (misbehavingHandler) Enabled(context.Context, slog.Level) bool    { return true }
func (h misbehavingHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h misbehavingHandler) WithGroup(string) slog.Handler             { return h }
func (h misbehavingHandler) Handle(context.Context, slog.Record) error { h.misbehave(); return nil }

// hung is a transport that never answers.
type hung struct{}

func (hung) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// tlsLink is the world's STS behind TLS, on a link with latency.
type tlsLink struct {
	listener  *memnet.Listener
	server    *http.Server
	roots     *x509.CertPool
	transport *http.Transport
	conns     atomic.Int64
}

func listenTLS(t *testing.T, w *world) *tlsLink {
	t.Helper()
	target, err := url.Parse(w.sts.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = w.sts.Client().Transport
	l := &tlsLink{listener: memnet.Listen("example.com:443"), server: &http.Server{Handler: proxy}, roots: x509.NewCertPool()}
	certificate := testCertificate()
	l.roots.AddCert(certificate.Leaf)
	go func() {
		_ = l.server.Serve(tls.NewListener(l.listener, &tls.Config{Certificates: []tls.Certificate{certificate}, Time: time2026}))
	}()
	return l
}

// testCertificate borrows the certificate of httptest, which is for example.com.
func testCertificate() tls.Certificate {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	certificate := server.TLS.Certificates[0]
	certificate.Leaf = server.Certificate()
	return certificate
}

// time2026 is a time at which that certificate is valid, as the fake clock of
// synctest, which begins in 2000, need not be.
func time2026() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func (l *tlsLink) close() {
	l.server.Close()
	l.listener.Close()
}

func (l *tlsLink) client(roundTrip time.Duration) *sts.Client {
	l.transport = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.roots, Time: time2026},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			l.conns.Add(1)
			time.Sleep(roundTrip) // SYN, SYN-ACK
			c, err := l.listener.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return delayed(c, roundTrip/2), nil
		},
	}
	return sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("https://example.com"), Retryer: aws.NopRetryer{},
		HTTPClient: &http.Client{Transport: l.transport},
	})
}

// delayed returns the near end of a link to c that carries each byte for d.
func delayed(c net.Conn, d time.Duration) net.Conn {
	near, far := net.Pipe()
	carry := func(to io.WriteCloser, from io.Reader) {
		type parcel struct {
			due  time.Time
			data []byte
		}
		road := make(chan parcel, 1024)
		go func() {
			defer to.Close()
			for p := range road {
				time.Sleep(time.Until(p.due))
				if _, err := to.Write(p.data); err != nil {
					for range road { // let the sender end
					}
					return
				}
			}
		}()
		defer close(road)
		for {
			data := make([]byte, 16<<10)
			n, err := from.Read(data)
			if n > 0 {
				road <- parcel{time.Now().Add(d), data[:n]}
			}
			if err != nil {
				return
			}
		}
	}
	go carry(c, far)
	go carry(far, c)
	return near
}
