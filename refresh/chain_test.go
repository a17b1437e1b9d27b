//go:build go1.25

package refresh_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/refresh"
	"github.com/vercelaws/vercelaws/ststest"
	"github.com/vercelaws/vercelaws/trustpolicy"
)

const (
	webRole  = "arn:aws:iam::123456789012:role/web"
	dataRole = "arn:aws:iam::210987654321:role/data"

	firstHop  = "AssumeRoleWithWebIdentity"
	secondHop = "AssumeRole"
)

// chain has a role that is assumed with a token, and a second one that is assumed with
// the first one's credentials. The issuer and STS are in memory.
type chain struct {
	t      *testing.T
	issuer *oidctest.Server
	server *ststest.Server

	first, second *aws.CredentialsCache
	client        *sts.Client // uses second, and watches for dead credentials
	token         string      // of the requests

	mu     sync.Mutex // guards what follows
	events []refresh.Event
}

type lives struct{ first, second time.Duration }

// chained runs f under fake time.
func chained(t *testing.T, life lives, carry func(context.Context) context.Context, f func(t *testing.T, c *chain)) {
	t.Helper()
	t.Setenv("VERCEL_PROJECT_ID", "")
	synctest.Test(t, func(t *testing.T) {
		issuer := oidctest.NewServer(func(o *oidctest.Options) { o.InMemory = true })
		defer issuer.Close()
		server := ststest.NewServer(func(o *ststest.Options) { o.InMemory, o.HTTPClient = true, issuer.Client() })
		defer server.Close()
		defer issuer.Client().CloseIdleConnections()
		policy, err := trustpolicy.Build(trustpolicy.Spec{
			AccountID: ststest.Account, BaseIssuer: issuer.URL,
			Teams: []string{"acme"}, Projects: []string{"web"}, Environments: []string{"production", "preview"},
		})
		require.NoError(t, err)
		server.AddProvider(issuer.Issuer(), issuer.Audience())
		server.AddRole(ststest.Role{ARN: webRole, TrustPolicy: policy.String()})
		c := &chain{t: t, issuer: issuer, server: server, token: issuer.Mint()}
		c.addDataRole()
		c.first = vercelaws.NewProvider(webRole, func(o *vercelaws.Options) {
			o.Client, o.Duration = server.STS(), life.first
			o.TokenSource = oidc.FromRequest()
		})
		next := server.STS(func(o *sts.Options) {
			o.Credentials = c.first
			o.APIOptions = append(o.APIOptions, vercelaws.InvalidateDeadCredentials(c.first))
		})
		c.second = refresh.NewCredentialsCache(stscreds.NewAssumeRoleProvider(next, dataRole, func(o *stscreds.AssumeRoleOptions) {
			o.Duration, o.ExternalID = life.second, aws.String("acme-7")
		}), func(o *refresh.Options) {
			o.Carry = carry
			o.OnEvent = func(e refresh.Event) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.events = append(c.events, e)
			}
		})
		c.client = server.STS(func(o *sts.Options) {
			o.Credentials = c.second
			o.APIOptions = append(o.APIOptions, vercelaws.InvalidateDeadCredentials(c.second))
		})
		defer time.Sleep(15 * time.Second) // for what is under way
		f(t, c)
	})
}

// addDataRole creates the second role. If there is one, it is deleted first.
func (c *chain) addDataRole() {
	c.server.AddRole(ststest.Role{ARN: dataRole, TrustPolicy: `{"Version":"2012-10-17","Statement":{"Effect":"Allow",` +
		`"Principal":{"AWS":"` + webRole + `"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"acme-7"}}}}`})
}

// request is the context of a request that brings c's token.
func (c *chain) request() context.Context {
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "/", nil)
	require.NoError(c.t, err)
	r.Header.Set(oidc.Header, c.token)
	return oidc.RequestContext(r)
}

// key retrieves credentials of the role, which must not have expired, within most, and
// returns their access key.
func (c *chain) key(ctx context.Context, cache *aws.CredentialsCache, role string, most time.Duration) string {
	c.t.Helper()
	began := time.Now()
	creds, err := cache.Retrieve(ctx)
	require.NoError(c.t, err, "at %s", began)
	require.LessOrEqual(c.t, time.Since(began), most, "a wait at %s", began)
	session, ok := c.server.Session(creds.AccessKeyID)
	require.True(c.t, ok)
	require.Equal(c.t, role, session.RoleARN)
	require.True(c.t, time.Now().Before(session.Expires), "credentials that have ended")
	return creds.AccessKeyID
}

// serve makes a request each second that uses the second role, and if both is set the
// first one too. None may wait or fail. It returns how many keys each role had.
func (c *chain) serve(d time.Duration, both bool) (first, second int) {
	c.t.Helper()
	firsts, seconds := map[string]bool{}, map[string]bool{}
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		seconds[c.key(c.request(), c.second, dataRole, 0)] = true
		if both {
			firsts[c.key(c.request(), c.first, webRole, 0)] = true
		}
	}
	return len(firsts), len(seconds)
}

// fails makes an action fail as f says, or both actions if the name is empty.
func (c *chain) fails(action string, f ststest.Fault) {
	c.server.SetFault(func(call ststest.Call) ststest.Fault {
		if action != "" && call.Action != action {
			return ststest.Fault{}
		}
		return f
	})
}

// last is the latest event of the second cache, a moment from now.
func (c *chain) last() refresh.Event {
	time.Sleep(time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	require.NotEmpty(c.t, c.events)
	return c.events[len(c.events)-1]
}

func TestChainRefreshesWithoutAWait(t *testing.T) {
	for name, both := range map[string]bool{"only the second role is used": false, "both are used": true} {
		t.Run(name, func(t *testing.T) {
			chained(t, lives{time.Hour, time.Hour}, oidc.Detach, func(t *testing.T, c *chain) {
				c.fails("", ststest.Fault{Latency: 300 * time.Millisecond})
				c.key(c.request(), c.second, dataRole, 600*time.Millisecond) // cold: one operation after the other
				for range 4 {
					c.token = c.issuer.Mint()
					first, second := c.serve(time.Hour, both)
					assert.GreaterOrEqual(t, second, 2)
					if both {
						assert.GreaterOrEqual(t, first, 2)
					}
				}
				assert.LessOrEqual(t, c.server.Calls(firstHop), 7)
				assert.LessOrEqual(t, c.server.Calls(secondHop), 7)
			})
		})
	}
}

func TestChainLivesThroughAnOutage(t *testing.T) {
	for name, fault := range ststest.Down() {
		if fault.Endless { // the SDK's own client reads on until its time is up, and fake time stands still
			continue
		}
		t.Run(name, func(t *testing.T) {
			chained(t, lives{time.Hour, time.Hour}, oidc.Detach, func(t *testing.T, c *chain) {
				before := c.key(c.request(), c.second, dataRole, time.Second)
				c.serve(14*time.Minute, true)
				c.fails("", fault)
				c.serve(44*time.Minute, true)
				assert.Equal(t, before, c.key(c.request(), c.second, dataRole, 0))
				require.Error(t, c.last().Err)
				c.server.SetFault(nil)
				c.serve(time.Minute, true)
				assert.NotEqual(t, before, c.key(c.request(), c.second, dataRole, 0))
				c.serve(30*time.Minute, true)
			})
		})
	}
}

// In TestChainWithTheSecondHopSilent STS does not answer AssumeRole, and still answers
// AssumeRoleWithWebIdentity.
func TestChainWithTheSecondHopSilent(t *testing.T) {
	chained(t, lives{time.Hour, time.Hour}, oidc.Detach, func(t *testing.T, c *chain) {
		before := c.key(c.request(), c.second, dataRole, time.Second)
		c.serve(14*time.Minute, true)
		c.fails(secondHop, ststest.Fault{Hang: true})
		firsts, seconds := c.serve(45*time.Minute, true)
		assert.Equal(t, 2, firsts, "the first role is replaced")
		assert.Equal(t, 1, seconds, "the second one serves")
		assert.Less(t, c.server.Calls(secondHop), 100)
		require.ErrorIs(t, c.last().Err, context.DeadlineExceeded)

		// After the expiry a caller gets the error within ten seconds. There is no
		// event of the first role.
		time.Sleep(2 * time.Minute)
		began := time.Now()
		_, err := c.second.Retrieve(c.request())
		assert.ErrorContains(t, err, "AssumeRole,")
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)
		c.key(c.request(), c.first, webRole, 0)

		c.server.SetFault(nil)
		assert.NotEqual(t, before, c.key(c.request(), c.second, dataRole, 0))
		c.serve(time.Hour, true)
	})
}

// In TestChainHandsTheTokenOn only the caller's context has a token. A fetch of the
// second role passes it on to the first.
func TestChainHandsTheTokenOn(t *testing.T) {
	explicit := func(c *chain, environment string) context.Context {
		return oidc.ContextWithToken(c.t.Context(), c.issuer.Mint(func(m *oidctest.Claims) { m.Environment = environment }))
	}
	// subject is that of the token with which the first role was assumed.
	subject := func(c *chain) string {
		c.t.Helper()
		creds, err := c.first.Retrieve(c.t.Context())
		require.NoError(c.t, err)
		session, ok := c.server.Session(creds.AccessKeyID)
		require.True(c.t, ok)
		return session.Subject
	}
	// The second role is refreshed before the 53rd minute of its hour.
	due := func() { time.Sleep(54 * time.Minute) }
	brief := lives{15 * time.Minute, time.Hour} // the first role has ended by then
	for name, carry := range map[string]func(context.Context) context.Context{"with Carry": oidc.Detach, "without": nil} {
		t.Run(name, func(t *testing.T) {
			chained(t, brief, carry, func(t *testing.T, c *chain) {
				before := c.key(explicit(c, "production"), c.second, dataRole, time.Second)
				assert.Equal(t, "owner:acme:project:web:environment:production", subject(c))
				due()
				c.key(explicit(c, "preview"), c.second, dataRole, 0) // starts a refresh
				event := c.last()
				assert.Equal(t, refresh.ReasonExpiring, event.Reason)
				if carry == nil {
					assert.ErrorIs(t, event.Err, oidc.ErrNoToken)
					assert.Equal(t, before, c.key(c.t.Context(), c.second, dataRole, 0))
					return
				}
				require.NoError(t, event.Err)
				assert.Equal(t, "owner:acme:project:web:environment:preview", subject(c))
			})
		})
	}
	t.Run("a request's, without", func(t *testing.T) { // it is remembered
		chained(t, brief, nil, func(t *testing.T, c *chain) {
			before := c.key(c.request(), c.second, dataRole, time.Second)
			due()
			c.key(c.request(), c.second, dataRole, 0)
			require.NoError(t, c.last().Err)
			time.Sleep(time.Second)
			assert.NotEqual(t, before, c.key(c.request(), c.second, dataRole, 0))
		})
	})
	t.Run("a context that ends", func(t *testing.T) {
		chained(t, brief, oidc.Detach, func(t *testing.T, c *chain) {
			c.key(explicit(c, "production"), c.second, dataRole, time.Second)
			due()
			c.fails("", ststest.Fault{Latency: 300 * time.Millisecond})
			ctx, cancel := context.WithCancel(explicit(c, "preview"))
			c.key(ctx, c.second, dataRole, 0)
			cancel() // the request is answered
			time.Sleep(time.Second)
			require.NoError(t, c.last().Err)
			assert.Equal(t, "owner:acme:project:web:environment:preview", subject(c))
		})
	})
}

func TestChainInvalidate(t *testing.T) {
	chained(t, lives{time.Hour, time.Hour}, oidc.Detach, func(t *testing.T, c *chain) {
		before := c.key(c.request(), c.second, dataRole, time.Second)
		firstKey := c.key(c.request(), c.first, webRole, 0)
		c.second.Invalidate()
		after := c.key(c.request(), c.second, dataRole, time.Second)
		assert.NotEqual(t, before, after)
		assert.Equal(t, firstKey, c.key(c.request(), c.first, webRole, 0), "the first role is not touched")

		c.second.Invalidate()
		c.fails(secondHop, ststest.Fault{Status: 503})
		_, err := c.second.Retrieve(c.request())
		require.Error(t, err, "what was invalidated is not given out")
		c.server.SetFault(nil)
		assert.NotContains(t, []string{before, after}, c.key(c.request(), c.second, dataRole, time.Second))
	})
}

// In TestChainOfDeadCredentials a service rejects the second role's credentials before
// they expire.
func TestChainOfDeadCredentials(t *testing.T) {
	for name, kill := range map[string]func(c *chain, key string){
		"the second one's are revoked": func(c *chain, key string) { c.server.Revoke(key) },
		"the second role is made anew": func(c *chain, _ string) { c.addDataRole() },
		"those of both are revoked":    func(c *chain, _ string) { c.server.RevokeAll() },
	} {
		t.Run(name, func(t *testing.T) {
			chained(t, lives{time.Hour, time.Hour}, oidc.Detach, func(t *testing.T, c *chain) {
				use := func() error {
					began := time.Now()
					_, err := c.client.GetCallerIdentity(c.request(), nil)
					require.Zero(t, time.Since(began), "a wait")
					return err
				}
				before := c.key(c.request(), c.second, dataRole, time.Second)
				require.NoError(t, use())
				c.server.SetFault(func(call ststest.Call) ststest.Fault {
					if call.Action == "GetCallerIdentity" {
						return ststest.Fault{}
					}
					return ststest.Fault{Latency: 300 * time.Millisecond}
				})
				kill(c, before)
				require.Error(t, use(), "the request that meets them")
				assert.Equal(t, before, c.key(c.request(), c.second, dataRole, 0), "no one waits for others")
				healed := time.Now().Add(10 * time.Second)
				for use() != nil {
					require.True(t, time.Now().Before(healed), "it does not heal: %v", c.last().Err)
					time.Sleep(time.Second)
				}
				assert.NotEqual(t, before, c.key(c.request(), c.second, dataRole, 0))
				assert.True(t, c.last().Reason == refresh.ReasonRejected || name == "those of both are revoked")
				for range 60 { // and stays so
					require.NoError(t, use())
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// In TestChainTellsOfTheFirstHop the first role has no credentials. Callers of the
// second role get the error that package vercelaws returns for that.
func TestChainTellsOfTheFirstHop(t *testing.T) {
	chained(t, lives{time.Hour, time.Hour}, oidc.Detach, func(t *testing.T, c *chain) {
		_, err := c.second.Retrieve(c.t.Context())
		require.ErrorIs(t, err, oidc.ErrNoToken)

		good := c.token
		c.token = c.issuer.MintForged()
		_, err = c.second.Retrieve(c.request())
		var refused *vercelaws.AssumeRoleError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, webRole, refused.RoleARN)
		assert.Equal(t, "InvalidIdentityToken", refused.Code)
		assert.NotContains(t, err.Error(), c.token)

		c.token = good
		c.fails(firstHop, ststest.Fault{Hang: true})
		began := time.Now()
		_, err = c.second.Retrieve(c.request())
		assert.ErrorContains(t, err, "AssumeRole, get identity: get credentials")
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)

		c.server.SetFault(nil)
		c.key(c.request(), c.second, dataRole, 10*time.Second) // the first hop's faults have an allowance
	})
}
