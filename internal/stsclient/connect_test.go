package stsclient

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/http1"
)

func assumeRole(t *testing.T, c *Client) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return c.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(testRole), RoleSessionName: aws.String("session"), WebIdentityToken: aws.String("a.b.c"),
	})
}

// server is an STS behind TLS that would speak HTTP/2, on loopback.
type server struct {
	*httptest.Server
	conns  atomic.Int64
	silent atomic.Bool // connections that are open answer no more
	seen   chan *http.Request
}

type silencedKey struct{}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{seen: make(chan *http.Request, 100)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen <- r
		_, _ = io.Copy(io.Discard, r.Body)
		if s.silent.Load() && r.Context().Value(silencedKey{}) == int64(1) {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `<R xmlns="x"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></R>`)
	}))
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, silencedKey{}, s.conns.Add(1))
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// client is the default client, with the server's address and certificate.
func (s *server) client(t *testing.T) *Client {
	t.Helper()
	setenv(t, nil)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return New(Options{RoleARN: testRole, Override: func(o *sts.Options) {
		o.BaseEndpoint = aws.String(s.URL)
		o.HTTPClient = &http.Client{Transport: http1.New(roots, nil)}
	}})
}

func TestConnectOpensTheConnectionThatIsUsed(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	c.Connect(t.Context())
	head := <-s.seen
	assert.Equal(t, http.MethodHead, head.Method)
	assert.Equal(t, "/", head.URL.Path)
	assert.Empty(t, head.URL.RawQuery)
	assert.Zero(t, head.ContentLength)
	_, err := assumeRole(t, c)
	require.NoError(t, err)
	assert.EqualValues(t, 1, s.conns.Load())
	assert.Equal(t, "HTTP/1.1", (<-s.seen).Proto)
}

func TestErrorsOfConnectAreIgnored(t *testing.T) {
	setenv(t, map[string]string{"AWS_REGION": "no region"})
	New(Options{RoleARN: testRole}).Connect(t.Context())
	setenv(t, map[string]string{"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"})
	New(Options{RoleARN: testRole}).Connect(t.Context())
}

// An attempt on a silent connection times out, and the next one opens another.
func TestSilentConnectionIsNotUsedAgain(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	c.Connect(t.Context())
	s.silent.Store(true)
	start := time.Now()
	_, err := assumeRole(t, c)
	require.NoError(t, err)
	assert.EqualValues(t, 2, s.conns.Load())
	assert.GreaterOrEqual(t, time.Since(start), attemptLimit)

	_, err = assumeRole(t, c)
	require.NoError(t, err)
	onSilent := 0
	for range len(s.seen) {
		if r := <-s.seen; r.Context().Value(silencedKey{}) == int64(1) {
			onSilent++
		}
	}
	assert.Equal(t, 2, onSilent, "HEAD, and the attempt that timed out")
}
