//go:build go1.25

package vercelaws

import (
	"errors"
	"flag"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

var soak = flag.Duration("soak", 2*time.Second, "how long TestSoak runs")

// TestSoak has 10,000 goroutines ask real threads for credentials of a few
// seconds' life, with good and bad tokens, while STS fails at random. It checks
// each answer: it is credentials that STS gave, whole, and alive; or a typed
// error. Run it longer with `go test -race -run TestSoak -soak 30s`.
func TestSoak(t *testing.T) {
	isolate(t)
	before := runtime.NumGoroutine()
	w := newWorld(t, false)
	down := faults()["all mixed"]
	w.sts.SetFault(choose(func() ststest.Fault {
		fault := ststest.Fault{}
		if rand.IntN(3) == 0 {
			fault = down()
		}
		if fault.Lifetime == 0 {
			fault.Lifetime = time.Duration(2+rand.IntN(3)) * time.Second
		}
		return fault
	}))
	p := NewProvider(testRole, withClient(w.sts.STS()))
	tokens := []string{w.issuer.Mint(), w.issuer.Mint(func(c *oidctest.Claims) { c.JTI = "2" }), w.issuer.MintForged(), "garbage", ""}

	var requests []*http.Request
	for _, raw := range tokens {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(oidc.Header, raw)
		requests = append(requests, r)
	}

	var answers, failures, wrong atomic.Int64
	check := func(creds aws.Credentials, asked time.Time, err error) {
		if err != nil {
			failures.Add(1)
			var failed *AssumeRoleError
			if !errors.As(err, &failed) && !errors.Is(err, oidc.ErrNoToken) && !errors.Is(err, oidc.ErrMalformed) {
				wrong.Add(1)
				t.Errorf("an error without a type: %v", err)
			}
			return
		}
		answers.Add(1)
		session, known := w.sts.Session(creds.AccessKeyID)
		given := session.Credentials()
		switch {
		case !known, given.SecretAccessKey != creds.SecretAccessKey, given.SessionToken != creds.SessionToken:
			wrong.Add(1)
			t.Error("credentials that STS never gave")
		case creds.Expires.After(session.Expires), !asked.Before(session.Expires):
			wrong.Add(1)
			t.Errorf("credentials that ended at %s, asked for at %s", session.Expires, asked)
		}
	}
	// A run in which STS happened to fail all the time says nothing, so it goes on
	// until there were answers, if not for ever.
	begin := time.Now()
	more := func() bool {
		took := time.Since(begin)
		return took < *soak || answers.Load() == 0 && took < *soak+2*time.Minute
	}
	var wg sync.WaitGroup
	for range 10_000 {
		wg.Go(func() {
			for more() && wrong.Load() < 10 {
				ctx := oidc.RequestContext(requests[rand.IntN(len(requests))])
				asked := time.Now()
				creds, err := p.Retrieve(ctx)
				check(creds, asked, err)
				time.Sleep(rand.N(200 * time.Millisecond)) // the pace of a busy server
			}
		})
	}
	wg.Wait()
	require.Zero(t, wrong.Load())
	require.Positive(t, answers.Load())
	t.Logf("%d answers, %d errors, %d STS calls in %s", answers.Load(), failures.Load(), w.calls(), *soak)

	w.close()
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 2*fetchLimit, 50*time.Millisecond, "goroutines are left")
}
