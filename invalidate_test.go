//go:build go1.25

package vercelaws

import (
	"errors"
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

func TestDeadCredentialsAreDropped(t *testing.T) {
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

func TestManyDeadRequestsCostOneCallASecond(t *testing.T) {
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

func TestOtherErrorsDropNothing(t *testing.T) {
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

func TestSigningKey(t *testing.T) {
	r := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	assert.Empty(t, signingKey(r))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20260101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0")
	assert.Equal(t, "ASIAEXAMPLE", signingKey(r))
	r.Header.Set("Authorization", "Bearer x")
	assert.Empty(t, signingKey(r))
}
