//go:build go1.25

package stsclient

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/pace"
)

// twoRegions runs f with a Client for two regions, under fake time. Synctest.Test fails
// if a goroutine is left.
func twoRegions(t *testing.T, first, second http.HandlerFunc, f func(t *testing.T, c *Client, first, second *region)) {
	t.Helper()
	setenv(t, nil)
	synctest.Test(t, func(t *testing.T) {
		a, b := newRegion(here, first), newRegion(there, second)
		defer a.close()
		defer b.close()
		c := New(Options{RoleARN: role, FallbackRegion: there, Override: override(a, b)})
		f(t, c, a, b)
		// The slower calls end, and their connections are closed.
		synctest.Wait()
		for _, client := range c.regions {
			client.Options().HTTPClient.(*http.Client).CloseIdleConnections()
		}
	})
}

func TestFirstRegionIsEnough(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"at once":         succeeds,
		"within a second": after(time.Second-time.Millisecond, succeeds),
	} {
		t.Run(name, func(t *testing.T) {
			twoRegions(t, answer, succeeds, func(t *testing.T, c *Client, first, second *region) {
				key, err := assume(t.Context(), c)
				require.NoError(t, err)
				assert.Equal(t, here, key)
				requireNotReached(t, second)
			})
		})
	}
}

func TestRefusalGoesToNoSecondRegion(t *testing.T) {
	for _, code := range []string{"AccessDenied", "InvalidIdentityToken", "ExpiredTokenException", "IDPRejectedClaim", "ValidationError", "SomethingNew"} {
		t.Run(code, func(t *testing.T) {
			twoRegions(t, says(400, code), succeeds, func(t *testing.T, c *Client, first, second *region) {
				_, err := assume(t.Context(), c)
				var api smithy.APIError
				require.ErrorAs(t, err, &api)
				assert.Equal(t, code, api.ErrorCode())
				assert.EqualValues(t, 1, first.requests.Load())
				requireNotReached(t, second)
			})
		})
	}
}

func TestSecondRegionStandsInForASilentOne(t *testing.T) {
	twoRegions(t, hangs, after(100*time.Millisecond, succeeds), func(t *testing.T, c *Client, first, second *region) {
		start := time.Now()
		key, err := assume(t.Context(), c)
		require.NoError(t, err)
		assert.Equal(t, there, key)
		assert.Equal(t, time.Second+100*time.Millisecond, time.Since(start))
	})
}

func TestSecondRegionStandsInForAFaultingOne(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			twoRegions(t, fault, succeeds, func(t *testing.T, c *Client, first, second *region) {
				start := time.Now()
				key, err := assume(t.Context(), c)
				require.NoError(t, err)
				assert.Equal(t, there, key)
				assert.LessOrEqual(t, time.Since(start), time.Second, "the first region's retries do not hold the second up")

				start = time.Now()
				key, err = assume(t.Context(), c, once)
				require.NoError(t, err)
				assert.Equal(t, there, key)
				assert.Zero(t, time.Since(start))
			})
		})
	}
}

func TestFirstSuccessOrRefusalEndsBoth(t *testing.T) {
	for name, test := range map[string]struct {
		first, second http.HandlerFunc
		after         time.Duration
		key, code     string
	}{
		"slow first, silent second":       {after(1500*time.Millisecond, succeeds), hangs, 1500 * time.Millisecond, here, ""},
		"slow first, faulting second":     {after(1500*time.Millisecond, succeeds), answers(200, ""), 1500 * time.Millisecond, here, ""},
		"slow first, forbidden second":    {after(1500*time.Millisecond, succeeds), says(403, "RegionDisabledException"), 1500 * time.Millisecond, here, ""},
		"slow refusal, silent second":     {after(1500*time.Millisecond, says(403, "AccessDenied")), hangs, 1500 * time.Millisecond, "", "AccessDenied"},
		"silent first, refusing second":   {hangs, says(403, "AccessDenied"), time.Second, "", "AccessDenied"},
		"faulting first, refusing second": {answers(200, "<"), says(403, "AccessDenied"), 0, "", "AccessDenied"},
		"slow fault, slower success":      {after(1500*time.Millisecond, answers(200, "<")), after(time.Second, succeeds), 2 * time.Second, there, ""},
	} {
		t.Run(name, func(t *testing.T) {
			twoRegions(t, test.first, test.second, func(t *testing.T, c *Client, _, _ *region) {
				start := time.Now()
				key, err := assume(t.Context(), c, once)
				assert.Equal(t, test.after, time.Since(start))
				assert.Equal(t, test.key, key)
				if test.code == "" {
					require.NoError(t, err)
					return
				}
				var api smithy.APIError
				require.ErrorAs(t, err, &api)
				assert.Equal(t, test.code, api.ErrorCode())
			})
		})
	}
}

func TestBothFaultsAreShown(t *testing.T) {
	for name, second := range map[string]http.HandlerFunc{"second later": after(2*time.Second, says(503, "Second")), "second sooner": says(503, "Second")} {
		t.Run(name, func(t *testing.T) {
			twoRegions(t, after(1500*time.Millisecond, says(500, "First")), second, func(t *testing.T, c *Client, _, _ *region) {
				_, err := assume(t.Context(), c, once)
				require.ErrorContains(t, err, "us-east-1: ")
				assert.Regexp(t, "(?s)^us-east-1: .*First: so it is; us-west-2: .*Second: so it is$", err.Error())
				var api smithy.APIError
				require.ErrorAs(t, err, &api)
				assert.Equal(t, "First", api.ErrorCode())
			})
		})
	}
}

// An error about the second region does not look like the reason for the first one's
// fault.
func TestTheFirstFaultIsTheOneThatCounts(t *testing.T) {
	twoRegions(t, resets, says(403, "RegionDisabledException"), func(t *testing.T, c *Client, _, _ *region) {
		_, err := assume(t.Context(), c, once)
		require.ErrorContains(t, err, "; us-west-2: ")
		require.ErrorContains(t, err, "RegionDisabledException")
		var api smithy.APIError
		assert.NotErrorAs(t, err, &api)
		assert.True(t, IsFault(err))
	})
}

func TestNoRegionAnswers(t *testing.T) {
	const limit = 10 * time.Second
	timedOut := func(t *testing.T, err error, took time.Duration) {
		t.Helper()
		assert.LessOrEqual(t, took, limit)
		var timeout interface{ Timeout() bool }
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
	}
	twoRegions(t, hangs, hangs, func(t *testing.T, c *Client, _, _ *region) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		start := time.Now()
		_, err := assume(ctx, c)
		timedOut(t, err, time.Since(start))
		assert.ErrorContains(t, err, "us-west-2")
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(here, hangs)
		defer r.close()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		start := time.Now()
		_, err := assume(ctx, New(Options{RoleARN: role, Override: override(r)}))
		timedOut(t, err, time.Since(start))
		assert.EqualValues(t, 2, r.requests.Load(), "a silent connection is no reason to give up")
	})
}

func TestTheEndOfTheContextEndsBothCalls(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, time.Second + time.Millisecond} {
		twoRegions(t, hangs, hangs, func(t *testing.T, c *Client, _, _ *region) {
			gone := errors.New("gone")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(d, func() { cancel(gone) })
			start := time.Now()
			_, err := assume(ctx, c)
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, d, time.Since(start))
		})
	}
}

// Five HTTP requests a second while STS fails, whatever the number of calls
// and of regions.
func TestFaultsOfBothRegionsAreBounded(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			setenv(t, nil)
			synctest.Test(t, func(t *testing.T) {
				a, b := newRegion(here, fault), newRegion(there, fault)
				defer a.close()
				defer b.close()
				c := New(Options{RoleARN: role, FallbackRegion: there, Override: override(a, b)})
				limits := Limits(paced{&pace.Pacer{Burst: 1}}, nil)
				const while = 10 * time.Second
				start := time.Now()
				for calls := 0; time.Since(start) < while; calls++ {
					require.Less(t, calls, 1000, "calls that cost no time")
					ctx, cancel := context.WithDeadline(t.Context(), start.Add(while))
					_, err := assume(ctx, c, limits, func(o *sts.Options) { o.RetryMaxAttempts = 5 })
					cancel()
					require.Error(t, err)
				}
				made := a.requests.Load() + b.requests.Load()
				assert.LessOrEqual(t, made, int64(while/(200*time.Millisecond))+1)
				assert.NotZero(t, a.requests.Load())
				assert.NotZero(t, b.requests.Load())

				answer := http.HandlerFunc(succeeds)
				a.answer.Store(&answer)
				start = time.Now()
				for range 100 {
					_, err := assume(t.Context(), c, limits)
					require.NoError(t, err)
				}
				assert.LessOrEqual(t, time.Since(start), time.Second, "what goes well is not counted")
				for _, client := range c.regions {
					client.Options().HTTPClient.(*http.Client).CloseIdleConnections()
				}
			})
		})
	}
}

// paced is a pacer as Limits takes it.
type paced struct{ *pace.Pacer }

func (p paced) Begin(ctx context.Context) (func(bool), error) { return p.Pacer.Begin(ctx, 0) }
