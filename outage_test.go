//go:build go1.25

package vercelaws

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

// world is an issuer, and an STS with the test role, in memory.
type world struct {
	issuer *oidctest.Server
	sts    *ststest.Server
}

func newWorld(t testing.TB, inMemory bool, optFns ...func(*ststest.Options)) *world {
	t.Helper()
	issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = inMemory })
	w := &world{issuer: issuer, sts: ststest.NewServer(append(optFns, func(o *ststest.Options) {
		o.InMemory, o.HTTPClient = inMemory, issuer.Client()
	})...)}
	w.sts.AddProvider(issuer.Issuer(), issuer.Audience())
	w.recreateRole(t)
	return w
}

func (w *world) recreateRole(t testing.TB) {
	w.sts.AddRole(ststest.Role{ARN: testRole, TrustPolicy: w.policy(t)})
}

// policy is the trust policy of the test role.
func (w *world) policy(t testing.TB) string {
	policy, err := trustpolicy.Build(trustpolicy.Spec{
		AccountID: ststest.Account, BaseIssuer: w.issuer.URL, Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production"},
	})
	require.NoError(t, err)
	return policy.String()
}

func (w *world) close() {
	w.sts.Close()
	w.issuer.Close()
}

func (w *world) calls() int { return w.sts.Calls("AssumeRoleWithWebIdentity") }

// inWorld runs f under fake time with a provider that speaks HTTP to the STS.
func inWorld(t *testing.T, f func(t *testing.T, w *world, p *aws.CredentialsCache)) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		f(t, w, NewProvider(testRole, withClient(w.sts.STS())))
	})
}

// faults are those of ststest, and all of them mixed at random.
func faults() map[string]func() ststest.Fault {
	out := map[string]func() ststest.Fault{}
	down := ststest.Down()
	for name, fault := range down {
		out[name] = func() ststest.Fault { return fault }
	}
	all := slices.Collect(maps.Values(down))
	out["all mixed"] = func() ststest.Fault { return all[rand.IntN(len(all))] }
	return out
}

func choose(f func() ststest.Fault) func(ststest.Call) ststest.Fault {
	return func(c ststest.Call) ststest.Fault {
		if c.Action != "AssumeRoleWithWebIdentity" {
			return ststest.Fault{}
		}
		return f()
	}
}

func TestOutageWhileCredentialsLive(t *testing.T) {
	for name, fault := range faults() {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
				ctx := fromRequest(w.issuer.Mint())
				first, err := p.Retrieve(ctx)
				require.NoError(t, err)
				session, ok := w.sts.Session(first.AccessKeyID)
				require.True(t, ok)

				w.sts.SetFault(choose(fault))
				before := w.calls()
				for time.Until(session.Expires) > time.Minute {
					start := time.Now()
					creds, err := p.Retrieve(ctx)
					require.NoError(t, err)
					require.Equal(t, first.AccessKeyID, creds.AccessKeyID)
					require.Less(t, time.Since(start), 5*time.Millisecond)
					time.Sleep(time.Second)
				}
				tried := w.calls() - before
				assert.Positive(t, tried)
				assert.LessOrEqual(t, tried, 3*(3+10+45*60/15), "three attempts a refresh, refreshes as the back-off allows from the first quarter of the hour on")

				w.sts.SetFault(nil)
				back := time.Now()
				for {
					creds, err := p.Retrieve(ctx)
					require.NoError(t, err)
					if creds.AccessKeyID != first.AccessKeyID {
						break
					}
					time.Sleep(time.Second)
				}
				assert.LessOrEqual(t, time.Since(back), 45*time.Second)
				synctest.Wait()
			})
		})
	}
}

func TestOutageAtColdStart(t *testing.T) {
	for name, fault := range faults() {
		if name == "all mixed" {
			continue // a retry may meet a good answer
		}
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
				w.sts.SetFault(choose(fault))
				ctx := fromRequest(w.issuer.Mint())
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						start := time.Now()
						_, err := p.Retrieve(ctx)
						var failed *AssumeRoleError
						assert.ErrorAs(t, err, &failed)
						assert.LessOrEqual(t, time.Since(start), fetchLimit)
					})
				}
				wg.Wait()
				w.sts.SetFault(nil)
				if fault().Lifetime < 0 {
					time.Sleep(time.Second) // a wrong clock is remembered for a moment
				}
				_, err := p.Retrieve(ctx)
				require.NoError(t, err, "the first caller after STS is back")
				time.Sleep(time.Minute) // abandoned attempts end
			})
		})
	}
}

// A connection that hangs costs one attempt, and not the whole fetch.
func TestHungAttemptIsRetried(t *testing.T) {
	for name, fault := range map[string]ststest.Fault{"hang": {Hang: true}, "drip": {Drip: true}, "latency": {Latency: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
				w.sts.SetFault(func(c ststest.Call) ststest.Fault {
					if c.Action == "AssumeRoleWithWebIdentity" && c.N == 1 {
						return fault
					}
					return ststest.Fault{}
				})
				start := time.Now()
				_, err := p.Retrieve(fromRequest(w.issuer.Mint()))
				require.NoError(t, err)
				assert.GreaterOrEqual(t, time.Since(start), 3*time.Second)
				assert.Less(t, time.Since(start), 2*3*time.Second)
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestWrongLocalClockIsNamed(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		behind := func() time.Time { return time.Now().Add(-2 * time.Hour) }
		w := newWorld(t, true, func(o *ststest.Options) { o.Now = behind })
		defer w.close()
		p := NewProvider(testRole, withClient(w.sts.STS()))
		token := w.issuer.Mint(func(c *oidctest.Claims) { c.IssuedAt, c.Expiry = behind(), time.Now().Add(2*time.Hour) })
		_, err := p.Retrieve(fromRequest(token))
		require.ErrorContains(t, err, "expired on arrival")
		assert.ErrorContains(t, err, "2h0m0s ahead of STS's; set the local clock right")
	})
}
