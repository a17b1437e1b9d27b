//go:build go1.25

package vercelaws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/ststest"
)

// service is a real SDK client whose service checks signatures against the
// STS: GetCallerIdentity.
func (w *world) service(p *aws.CredentialsCache, options ...func(*middleware.Stack) error) *sts.Client {
	return w.sts.STS(func(o *sts.Options) {
		o.Credentials, o.Retryer = p, aws.NopRetryer{}
		o.APIOptions = append(o.APIOptions, options...)
	})
}

func codeOf(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}

func TestRejectedCredentialsAreReplaced(t *testing.T) {
	kill := map[string]func(t *testing.T, w *world){
		"the role was deleted and made again": func(t *testing.T, w *world) { w.recreateRole(t) },
		"all sessions were revoked":           func(_ *testing.T, w *world) { w.sts.RevokeAll() },
	}
	for name, kill := range kill {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
				client := w.service(p, InvalidateDeadCredentials(p))
				ctx := fromRequest(w.issuer.Mint())
				_, err := client.GetCallerIdentity(ctx, nil)
				require.NoError(t, err)
				kill(t, w)
				_, err = client.GetCallerIdentity(ctx, nil)
				require.Equal(t, "InvalidClientTokenId", codeOf(err))
				synctest.Wait()
				_, err = client.GetCallerIdentity(ctx, nil)
				require.NoError(t, err, "the next request after the refresh uses fresh ones")
				assert.Equal(t, 2, w.calls())

				without := w.service(p)
				kill(t, w)
				for range 3 {
					_, err = without.GetCallerIdentity(ctx, nil)
					require.Equal(t, "InvalidClientTokenId", codeOf(err), "without the middleware they stay")
				}
			})
		})
	}
}

func TestManyRejectionsCostOneCallASecond(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
		watch := InvalidateDeadCredentials(p)
		clients := []*sts.Client{w.service(p, watch), w.service(p, watch)}
		ctx := fromRequest(w.issuer.Mint())
		w.sts.SetFault(func(c ststest.Call) ststest.Fault {
			if c.Action == "GetCallerIdentity" { // whatever the credentials
				return ststest.Fault{Code: "ExpiredToken", Status: 403}
			}
			return ststest.Fault{}
		})
		const seconds = 10
		for range 10 * seconds { // 2,000 requests in 10 seconds
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					_, err := clients[i%2].GetCallerIdentity(ctx, nil)
					assert.Equal(t, "ExpiredToken", codeOf(err))
				})
			}
			wg.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, w.calls(), seconds+1)
		assert.Greater(t, w.calls(), 1)
	})
}

func TestOtherErrorsChangeNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
		client := w.service(p, InvalidateDeadCredentials(p))
		ctx := fromRequest(w.issuer.Mint())
		for _, fault := range []ststest.Fault{
			{Code: "AccessDenied", Status: 403}, {Code: "SignatureDoesNotMatch", Status: 403}, {Status: 500}, {Code: "Throttling"}, {Reset: true},
		} {
			w.sts.SetFault(func(c ststest.Call) ststest.Fault {
				if c.Action == "GetCallerIdentity" {
					return fault
				}
				return ststest.Fault{}
			})
			_, err := client.GetCallerIdentity(ctx, nil)
			require.Error(t, err)
			time.Sleep(2 * time.Second)
		}
		assert.Equal(t, 1, w.calls())
	})
}

// head sends a request as a client of S3 does, whose answer is status alone.
func head(t *testing.T, watch func(*middleware.Stack) error, method, key string, status int) {
	t.Helper()
	stack := middleware.NewStack("HeadObject", smithyhttp.NewStackRequest)
	require.NoError(t, watch(stack))
	request := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	request.Method = method
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key+"/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
	_, _, _ = stack.Deserialize.HandleMiddleware(t.Context(), request, middleware.HandlerFunc(func(context.Context, any) (any, middleware.Metadata, error) {
		if status == 0 {
			return nil, middleware.Metadata{}, errors.New("connection reset by peer")
		}
		if status < 400 {
			return nil, middleware.Metadata{}, nil
		}
		return nil, middleware.Metadata{}, &smithy.OperationError{ServiceID: "S3", OperationName: "HeadObject", Err: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
			Err:      &smithy.GenericAPIError{Code: strings.ReplaceAll(http.StatusText(status), " ", "")},
		}}
	}))
	synctest.Wait()
}

// A HEAD request has no body for a code. Three that are refused in a row, with no
// request accepted in between, are a rejection.
func TestHeadRequestsWithoutACode(t *testing.T) {
	const head400 = "HEAD 400"
	for name, c := range map[string]struct {
		answers  []string
		rejected bool
	}{
		"three in a row":                {[]string{head400, head400, head400}, true},
		"two":                           {[]string{head400, head400}, false},
		"one accepted in between":       {[]string{head400, head400, "GET 200", head400, head400}, false},
		"one that found nothing":        {[]string{head400, head400, "HEAD 404", head400}, false},
		"what says nothing in between":  {[]string{head400, "GET 503", head400, "GET 403", "GET 0", head400}, true},
		"one of another key in between": {[]string{head400, head400, "GET 200 other", head400}, true},
		"of a key that was replaced":    {[]string{head400 + " other", head400 + " other", head400, head400}, false},
		"requests that are no HEAD":     {[]string{"GET 400", "GET 400", "GET 400", "GET 400"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
				creds, err := p.Retrieve(fromRequest(w.issuer.Mint()))
				require.NoError(t, err)
				watch := InvalidateDeadCredentials(p)
				for _, answer := range c.answers {
					var method, key string
					var status int
					_, _ = fmt.Sscan(answer, &method, &status, &key)
					head(t, watch, method, cmp.Or(key, creds.AccessKeyID), status)
				}
				time.Sleep(time.Second)
				after, err := p.Retrieve(fromRequest(w.issuer.Mint()))
				require.NoError(t, err)
				assert.Equal(t, c.rejected, after.AccessKeyID != creds.AccessKeyID)
			})
		})
	}
}

func TestSigningKey(t *testing.T) {
	r := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	assert.Empty(t, signingKey(r))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20260101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0")
	assert.Equal(t, "ASIAEXAMPLE", signingKey(r))
	r.Header.Set("Authorization", "Bearer x")
	assert.Empty(t, signingKey(r))
}
