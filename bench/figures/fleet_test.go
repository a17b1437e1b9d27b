//go:build go1.25

package figures

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

const (
	fleetSize = 10_000
	fleetTime = 5 * time.Hour
	fleetLife = time.Hour
	fleetAsk  = time.Minute // on average: half of it at least, at random
)

// fleet is the STS calls of instances that run one kind of provider.
type fleet struct {
	name    string
	minutes []float64 // calls a second, for each minute
}

// load is the mean and the highest of the minutes after the start.
func (f fleet) load() (mean, busiest float64) {
	later := f.minutes[2:]
	for _, n := range later {
		mean += n / float64(len(later))
		busiest = max(busiest, n)
	}
	return mean, busiest
}

// counter is an STS that answers at once and counts.
type counter struct {
	began   time.Time
	minutes []atomic.Int64
}

// AssumeRoleWithWebIdentity issues credentials of an hour.
func (c *counter) AssumeRoleWithWebIdentity(context.Context, *sts.AssumeRoleWithWebIdentityInput, ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	now := time.Now()
	if i := int(now.Sub(c.began) / time.Minute); i < len(c.minutes) {
		c.minutes[i].Add(1)
	}
	return &sts.AssumeRoleWithWebIdentityOutput{Credentials: &types.Credentials{
		AccessKeyId: aws.String("ASIAEXAMPLE"), SecretAccessKey: aws.String("secret"), SessionToken: aws.String("session"), Expiration: aws.Time(now.Add(fleetLife)),
	}}, nil
}

// fleets simulates an evening of instances with jitter, which are ours, and
// without: the SDK's cache with the same time before the end, fixed.
func fleets(t *testing.T) []fleet {
	var out []fleet
	for _, kind := range []struct {
		name string
		made func(*counter, string) aws.CredentialsProvider
	}{
		{"with jitter (vercelaws)", func(c *counter, _ string) aws.CredentialsProvider {
			return vercelaws.NewProvider(role, func(o *vercelaws.Options) { o.Client = c })
		}},
		{"without (a fixed window of 10 minutes)", func(c *counter, token string) aws.CredentialsProvider {
			return aws.NewCredentialsCache(stscreds.NewWebIdentityRoleProvider(c, role, fixed(token)),
				func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 10 * time.Minute })
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = true })
			defer issuer.Close()
			token := issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(2 * fleetTime) })
			ctx := oidc.ContextWithToken(t.Context(), token)
			c := &counter{time.Now(), make([]atomic.Int64, fleetTime/time.Minute)}
			var failed atomic.Int64
			var wg sync.WaitGroup
			for range fleetSize {
				start := rand.N(time.Minute)
				wg.Go(func() {
					p := kind.made(c, token)
					for time.Sleep(start); time.Since(c.began) < fleetTime; time.Sleep(fleetAsk/2 + rand.N(fleetAsk)) {
						if _, err := p.Retrieve(ctx); err != nil {
							failed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			require.Zero(t, failed.Load())
			f := fleet{name: kind.name}
			for i := range c.minutes {
				f.minutes = append(f.minutes, float64(c.minutes[i].Load())/60)
			}
			out = append(out, f)
		})
	}
	return out
}
