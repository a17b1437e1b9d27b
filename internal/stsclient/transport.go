package stsclient

import (
	"crypto/x509"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// idleLimit is how long an unused connection is kept: as long as one call and
// its retries can take, and as long as Lambda lets a function initialize after
// it has connected ahead
// (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
// Credentials live at least 15 minutes, so nothing could use it later. Load
// balancers drop idle connections after 60 seconds or more, and a connection
// that outlived a freeze of the function is too old too: the transport goes by
// the wall clock.
const idleLimit = 10 * time.Second

// newTransport returns the SDK's transport, with two differences: it keeps an
// idle connection briefly, and speaks HTTP/1.1 alone. A connection that has
// died without a word is noticed only by an attempt that times out on it. Over
// HTTP/1.1 that attempt closes it; over HTTP/2 it would stay, and take the next
// attempts down too.
//
// Roots are trusted in place of the system's, unless they are nil.
func newTransport(roots *x509.CertPool) *http.Transport {
	t := awshttp.NewBuildableClient().GetTransport()
	t.IdleConnTimeout = idleLimit
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.TLSClientConfig.RootCAs = roots
	return t
}

// newHTTPClient follows no redirect: STS sends none to a call, and a token goes
// nowhere but to the endpoint that was configured.
func newHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport:     newTransport(roots),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
