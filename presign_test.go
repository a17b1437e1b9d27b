//go:build go1.25

package vercelaws

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

// presign makes a URL of S3 for life with p's credentials.
func presign(t *testing.T, p *aws.CredentialsCache, token string, life time.Duration) *http.Request {
	creds, err := p.Retrieve(fromRequest(token))
	require.NoError(t, err)
	r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://photos.s3.us-east-1.amazonaws.com/harbour.jpg?X-Amz-Expires=%d", int(life.Seconds())), nil)
	require.NoError(t, err)
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	require.NoError(t, err)
	r, err = http.NewRequest(http.MethodGet, signed, nil)
	require.NoError(t, err)
	return r
}

// TestPresignedURLsToTheirEnd makes URLs for a day, of instances that are
// asked once in two minutes and once in an hour and a half on average, and uses each
// a second before its end. Docs/presigning.md has the table.
func TestPresignedURLsToTheirEnd(t *testing.T) {
	const m, h = time.Minute, time.Hour
	for _, c := range []struct {
		duration, window, url time.Duration
		least, most           float64 // per cent that end early
	}{
		{0, 0, 5 * m, 0, 0},   // an instance that is awake; see below for one that slept
		{0, 0, 15 * m, 0, 20}, // by the instance's own time of refresh
		{0, 0, 1 * h, 95, 100},
		{0, 5 * m, 5 * m, 0, 0},
		{0, 15 * m, 15 * m, 0, 0},
		{0, 36 * m, 35 * m, 0, 0},
		{12 * h, 0, 1 * h, 0, 0}, // they are replaced before each token's end
		{12 * h, 1 * h, 1 * h, 0, 0},
		{12 * h, 7 * h, 7 * h, 0, 0},
	} {
		for name, every := range map[string]time.Duration{"awake": 2 * time.Minute, "seldom asked": 90 * time.Minute} {
			t.Run(fmt.Sprintf("duration %s, window %s, URL of %s, %s", c.duration, c.window, c.url, name), func(t *testing.T) {
				isolate(t)
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, true)
					defer w.close()
					w.sts.AddRole(ststest.Role{ARN: testRole, TrustPolicy: w.policy(t), MaxSessionDuration: 12 * h})
					p := NewProvider(testRole, withClient(w.sts.STS()), func(o *Options) { o.Duration, o.ExpiryWindow = c.duration, c.window })
					var made, early atomic.Int64
					var uses sync.WaitGroup
					token, minted := "", time.Time{}
					for end := time.Now().Add(24 * h); time.Now().Before(end); time.Sleep(every/2 + rand.N(every)) {
						if time.Since(minted) > 90*time.Minute { // as Vercel hands them out
							token, minted = w.issuer.Mint(), time.Now()
						}
						r := presign(t, p, token, c.url)
						made.Add(1)
						uses.Add(1)
						time.AfterFunc(c.url-time.Second, func() {
							defer uses.Done()
							if _, err := w.sts.Verify(r); err != nil {
								early.Add(1)
							}
						})
					}
					uses.Wait()
					percent := 100 * float64(early.Load()) / float64(made.Load())
					t.Logf("%.1f %% of %d ended early, %d calls of STS", percent, made.Load(), w.calls())
					if name == "awake" {
						assert.GreaterOrEqual(t, percent, c.least)
					}
					if name == "awake" || c.window > 0 {
						assert.LessOrEqual(t, percent, c.most)
					}
				})
			})
		}
	}
}

// A URL of 15 minutes, made at any time with an ExpiryWindow of 30, outlives an
// outage of STS of 15 minutes.
func TestPresignedURLsThroughAnOutage(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		p := NewProvider(testRole, withClient(w.sts.STS()), func(o *Options) { o.ExpiryWindow = 30 * time.Minute })
		token := w.issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(48 * time.Hour) })
		presign(t, p, token, time.Minute)
		var uses sync.WaitGroup
		for minute := range 24 * 60 {
			down := minute%100 < 15
			w.sts.SetFault(choose(func() ststest.Fault {
				if down {
					return ststest.Fault{Status: 503}
				}
				return ststest.Fault{}
			}))
			began := time.Now()
			r := presign(t, p, token, 15*time.Minute)
			assert.LessOrEqual(t, time.Since(began), 500*time.Millisecond)
			uses.Add(1)
			time.AfterFunc(15*time.Minute-time.Second, func() {
				defer uses.Done()
				_, err := w.sts.Verify(r)
				assert.NoError(t, err)
			})
			time.Sleep(time.Minute)
		}
		uses.Wait()
	})
}
