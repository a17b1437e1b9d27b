//go:build go1.25

package vercelaws

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
)

// badLeaders are the requests that must fail nobody else, by what is wrong
// with their token.
func badLeaders(t testing.TB) map[string]func() string {
	return map[string]func() string{
		"missing":   func() string { return "" },
		"garbage":   func() string { return "garbage" },
		"truncated": func() string { raw := mint(t, "x"); return raw[:len(raw)/2] },
		"expired":   func() string { return mint(t, "x", claim("exp", time.Now().Add(-time.Hour).Unix())) },
		"forged":    func() string { return mint(t, "forged") },
		"refused by the trust policy": func() string {
			return mint(t, "other", claim("project", "other"), claim("project_id", "prj_2"), claim("sub", "owner:acme:project:other:environment:production"))
		},
	}
}

// judge is an STS that takes good tokens only, and takes a moment over it.
func judge(t testing.TB, good string) *fakeSTS {
	s := newFakeSTS()
	s.set(func(_ context.Context, raw string) error {
		tok, err := oidc.ParseUnverified(raw)
		switch {
		case err != nil:
			return codeError("InvalidIdentityToken")
		case tok.Project != "web":
			return codeError("AccessDenied")
		case raw != good:
			return codeError("InvalidIdentityToken")
		}
		return nil
	})
	return s
}

// A leader with a bad token, and 100 callers with good ones who wait for the
// same fetch: none of the 100 fails. Under fake time every caller is in place
// before STS answers the leader.
func TestPoison(t *testing.T) {
	const rounds = 1000
	for name, bad := range badLeaders(t) {
		for _, when := range []string{"cold", "hard expiry", "at refresh", "last minute"} {
			t.Run(name+"/"+when, func(t *testing.T) {
				isolate(t)
				synctest.Test(t, func(t *testing.T) {
					raw := mint(t, "good", claim("exp", time.Now().Add(5000*time.Hour).Unix()))
					s := judge(t, raw)
					s.latency = 50 * time.Millisecond
					p := NewProvider(testRole, withClient(s))
					for round := range rounds / 20 { // of each kind; 24 kinds make more than 1,000
						switch when {
						case "cold":
							forgetRequests()
							p = NewProvider(testRole, withClient(s))
						case "hard expiry":
							time.Sleep(s.life + time.Hour)
						case "at refresh":
							sleepToSoftExpiry(s)
						case "last minute":
							time.Sleep(s.life - 30*time.Second)
						}
						poisonRound(t, p, bad(), raw, round)
					}
				})
			})
		}
	}
}

func poisonRound(t *testing.T, p *aws.CredentialsCache, bad, good string, round int) {
	t.Helper()
	var failed atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.Retrieve(fromRequest(bad)) })
	for range 100 {
		wg.Go(func() {
			if _, err := p.Retrieve(fromRequest(good)); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load(), "round %d", round)
	time.Sleep(2 * time.Second)
}

// TestPoisonWindow measures the one gap that cannot be closed from inside the
// SDK's single flight: a leader without a token, while no request has been seen
// yet, fails at once; a caller who joins that flight between our last look for
// a token and the flight's end fails with it, although it has a good token.
// The test reports how often real threads hit it, and fails only if a good
// caller's next try fails too.
func TestPoisonWindow(t *testing.T) {
	isolate(t)
	good := mint(t, "good")
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	var hit atomic.Int64
	for range rounds {
		forgetRequests()
		s := judge(t, good)
		p := NewProvider(testRole, withClient(s))
		start := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { <-start; _, _ = p.Retrieve(context.Background()) })
		for range 4 {
			wg.Go(func() {
				<-start
				ctx := fromRequest(good)
				if _, err := p.Retrieve(ctx); err != nil {
					hit.Add(1)
					_, err = p.Retrieve(ctx)
					if err != nil && strings.Contains(err.Error(), "no token") {
						t.Errorf("the second try failed too: %v", err)
					}
				}
			})
		}
		close(start)
		wg.Wait()
	}
	t.Logf("%d of %d callers hit the window", hit.Load(), 4*rounds)
}
