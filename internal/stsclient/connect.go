package stsclient

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Connect opens a connection for the first operation, in the first region. It
// sends no token. Its error is ignored: the first operation connects by itself.
func (c *Client) Connect(ctx context.Context) {
	if regions, err := c.Regions(); err == nil {
		Connect(ctx, regions[0])
	}
}

// Connect opens a connection for the first operation of client, and leaves it
// in the pool of the client's HTTP client. It sends no token. Its error is
// ignored: the first operation connects by itself.
func Connect(ctx context.Context, client *sts.Client) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	_, _ = Head(ctx, client)
}

// Head sends a HEAD request for the root of client's endpoint and returns the
// answer. The request holds nothing of the user's. After any answer the connection
// is open.
func Head(ctx context.Context, client *sts.Client) (*http.Response, error) {
	to, err := Endpoint(ctx, client)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, to.Scheme+"://"+to.Host+"/", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Options().HTTPClient.Do(request)
	if err != nil {
		return nil, err
	}
	return response, response.Body.Close()
}

// Endpoint returns the address to which client sends its calls. To find it, it
// makes a call on another client, which has only the settings that decide the
// address, and which sends nothing.
func Endpoint(ctx context.Context, client *sts.Client) (*url.URL, error) {
	o := client.Options()
	var to *url.URL
	_, err := sts.New(sts.Options{
		Region:          o.Region,
		BaseEndpoint:    o.BaseEndpoint,
		EndpointOptions: o.EndpointOptions,
		//lint:ignore SA1019 a user's client may have one
		EndpointResolver:   o.EndpointResolver,
		EndpointResolverV2: o.EndpointResolverV2,
		Retryer:            aws.NopRetryer{},
		HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
			to = r.URL
			return nil, errNotSent
		}),
	}).AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String("none"), RoleSessionName: aws.String("none"), WebIdentityToken: aws.String("none"),
	})
	if !errors.Is(err, errNotSent) {
		return nil, err
	}
	return to, nil
}

var errNotSent = errors.New("not sent")

// doer is an HTTP client.
type doer func(*http.Request) (*http.Response, error)

// Do calls d.
func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }
