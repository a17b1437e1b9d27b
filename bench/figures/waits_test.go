//go:build go1.25

package figures

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/internal/testworld"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/ststest"
)

const (
	role     = "arn:aws:iam::123456789012:role/web"
	callers  = 20
	lifetime = 8 * time.Second
	latency  = 300 * time.Millisecond // of STS

	// The outage covers the end of the first credentials, of which STS states
	// the whole second. Ours have been replaced by then: that begins after
	// seven eighths of their life at most.
	outageFrom = lifetime * 7 / 8
	outageTo   = lifetime + 2*time.Second

	jsWindow = 5 * time.Minute // before the end, the AWS SDK for JavaScript fetches
)

// sample is one call for credentials.
type sample struct {
	At     float64 `json:"at"`   // milliseconds since the first credentials came
	Wait   float64 `json:"wait"` // milliseconds
	Failed bool    `json:"failed"`
}

type measurement struct {
	name    string
	samples []sample
}

func (m measurement) sums() (failed, slow int, longest float64) {
	for _, s := range m.samples {
		if s.Failed {
			failed++
		}
		if s.Wait > 50 {
			slow++
		}
		longest = max(longest, s.Wait)
	}
	return failed, slow, longest
}

// measure has the library and its peers run one after another, each with an
// issuer and an STS of its own, which faults from one time to the other.
func measure(t *testing.T, during, from, to time.Duration) []measurement {
	t.Helper()
	run := func(name string, life time.Duration, drive func(server *ststest.Server, token string) []sample) measurement {
		w := testworld.New(role, false)
		defer w.Close()
		var began time.Time // of the first credentials' life; SetFault's function is called by one goroutine at a time
		w.STS.SetFault(func(c ststest.Call) ststest.Fault {
			if c.N == 1 {
				began = time.Now().Add(latency)
			}
			if now := time.Since(began); now >= from && now < to {
				return ststest.Fault{Status: 500}
			}
			return ststest.Fault{Latency: latency, Lifetime: life}
		})
		// As STS states whole seconds, all begin at the same part of one.
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		return measurement{name, drive(w.STS, w.Issuer.Mint())}
	}
	goProvider := func(made func(*ststest.Server, string) *aws.CredentialsCache) func(*ststest.Server, string) []sample {
		return func(server *ststest.Server, token string) []sample {
			return driveGo(t, made(server, token), oidc.ContextWithToken(context.Background(), token), during)
		}
	}
	return []measurement{
		run("vercelaws", lifetime, goProvider(func(s *ststest.Server, _ string) *aws.CredentialsCache {
			return vercelaws.NewProvider(role, func(o *vercelaws.Options) { o.Client = s.STS() })
		})),
		run("stscreds in aws.CredentialsCache", lifetime, goProvider(func(s *ststest.Server, token string) *aws.CredentialsCache {
			return aws.NewCredentialsCache(stscreds.NewWebIdentityRoleProvider(s.STS(), role, fixed(token)))
		})),
		run("@vercel/oidc-aws-credentials-provider", lifetime+jsWindow, func(s *ststest.Server, token string) []sample {
			return driveJS(t, s.URL, token, during)
		}),
	}
}

// fixed is an IdentityTokenRetriever.
type fixed string

func (f fixed) GetIdentityToken() ([]byte, error) { return []byte(f), nil }

// driveGo has the callers ask a provider, once it has credentials.
func driveGo(t *testing.T, p aws.CredentialsProvider, ctx context.Context, during time.Duration) []sample {
	_, err := p.Retrieve(ctx)
	require.NoError(t, err)
	began := time.Now()
	var mu sync.Mutex
	var samples []sample
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for time.Since(began) < during {
				start := time.Now()
				_, err := p.Retrieve(ctx)
				s := sample{milliseconds(start.Sub(began)), milliseconds(time.Since(start)), err != nil}
				mu.Lock()
				samples = append(samples, s)
				mu.Unlock()
				time.Sleep(10 * time.Millisecond) // a caller's own work
			}
		})
	}
	wg.Wait()
	return samples
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// driveJS does the same in Node.
func driveJS(t *testing.T, url, token string, during time.Duration) []sample {
	ctx, cancel := context.WithTimeout(context.Background(), during+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "peer.cjs", *peers, url, role, fmt.Sprint(during.Milliseconds()), fmt.Sprint(callers))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "VERCEL_OIDC_TOKEN=" + token, "VERCEL=1"}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	require.NoError(t, err, complaints.String())
	var samples []sample
	require.NoError(t, json.Unmarshal(out, &samples), filepath.Base(cmd.Path))
	return samples
}
