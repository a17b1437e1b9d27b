//go:build go1.25

package refresh

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/clock"
)

func TestOldCredentialsServeUntilTheReplacementIsThere(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
		key := p.key(t, c)
		time.Sleep(time.Minute)
		p.slow(2 * time.Second)
		require.True(t, ReportRejected(t.Context(), c, key))
		for range 19 {
			start := time.Now()
			require.Equal(t, key, p.key(t, c))
			require.Zero(t, time.Since(start))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		start := time.Now()
		assert.Equal(t, "AKIA2", p.key(t, c))
		assert.Zero(t, time.Since(start))
		last := events.all()[1]
		assert.Equal(t, ReasonRejected, last.Reason)
		assert.NoError(t, last.Err)

		// Reports of requests that were sent with the old key have no effect on the new one.
		ReportRejected(t.Context(), c, key)
		synctest.Wait()
		assert.Equal(t, "AKIA2", p.key(t, c))
		assert.Equal(t, 2, p.calls())
	})
}

func TestARejectionWhileTheProviderIsDown(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, events *recorder) {
		key := p.key(t, c)
		p.fails(errDown)
		for range 300 {
			ReportRejected(t.Context(), c, key)
			require.Equal(t, key, p.key(t, c))
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, p.calls(), 8, "the back-off holds")
		assert.Greater(t, p.calls(), 3)
		p.fails(nil)
		for range 350 {
			ReportRejected(t.Context(), c, key)
			p.key(t, c)
			time.Sleep(100 * time.Millisecond)
		}
		assert.NotEqual(t, key, p.key(t, c), "no report is lost")
	})
}

// A service that rejects each new key is believed less and less often. After ten minutes
// without a report it is believed at once again.
func TestReportsAreIgnoredForLongerEachTime(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.lives(12 * time.Hour)
		insist := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				ReportRejected(t.Context(), c, p.key(t, c))
			}
		}
		p.key(t, c)
		insist(time.Hour)
		var pauses []time.Duration
		for i := 2; i < len(p.starts()); i++ {
			pauses = append(pauses, p.starts()[i].Sub(p.starts()[i-1]).Round(time.Second))
		}
		for i, pause := range pauses {
			assert.Equal(t, min(time.Second<<i, 5*time.Minute), pause)
		}
		assert.Greater(t, len(pauses), 15)

		calls := p.calls()
		time.Sleep(10*time.Minute - time.Second)
		ReportRejected(t.Context(), c, p.key(t, c)) // heard, and believed: it was five minutes
		synctest.Wait()
		require.Equal(t, calls+1, p.calls())
		time.Sleep(time.Second)
		ReportRejected(t.Context(), c, p.key(t, c))
		synctest.Wait()
		require.Equal(t, calls+1, p.calls(), "the doubt is five minutes still")
		time.Sleep(10 * time.Minute)
		for range 2 {
			ReportRejected(t.Context(), c, p.key(t, c))
			synctest.Wait()
			time.Sleep(time.Second)
		}
		require.Equal(t, calls+3, p.calls())
	})
}

// The SDK's cache can store the old answer after the replacement came. Then the next
// report of the old key makes it ask again.
func TestALostReplacementIsShownAgain(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		key := p.key(t, c)
		inner := behind(c)
		inner.mu.Lock()
		inner.store(outcome{creds: aws.Credentials{AccessKeyID: "new", SecretAccessKey: "s", CanExpire: true, Expires: time.Now().Add(2 * time.Hour)}}, clock.Wall())
		inner.mu.Unlock()
		require.Equal(t, key, p.key(t, c))
		ReportRejected(t.Context(), c, key)
		got, err := c.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "new", got.AccessKeyID)
		assert.Equal(t, 1, p.calls())
	})
}

func TestACacheAroundOurs(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		outer := aws.NewCredentialsCache(c)
		key := p.key(t, outer)
		p.slow(300 * time.Millisecond)
		ReportRejected(t.Context(), outer, key)
		require.Equal(t, key, p.key(t, outer), "until the replacement is there")
		time.Sleep(500 * time.Millisecond)
		ReportRejected(t.Context(), outer, key)
		assert.Equal(t, "AKIA2", p.key(t, outer))
	})
}

// A cache around ours is invalidated only when there is a replacement.
func TestWhenACacheAroundOursAsksAgain(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		asked := &counted{CredentialsCache: c}
		outer := aws.NewCredentialsCache(asked)
		key := p.key(t, outer)
		p.fails(errDown)
		report := func(key string) {
			ReportRejected(t.Context(), outer, key)
			synctest.Wait()
			p.key(t, outer)
		}
		report("")
		report(key) // there is no replacement
		c.Invalidate()
		_, err := c.Retrieve(t.Context())
		require.Error(t, err)
		report(key) // there are none at all
		assert.EqualValues(t, 1, asked.n.Load())

		p.fails(nil)
		p.key(t, c)
		report(key)
		report(p.key(t, outer)) // too early to be believed
		assert.EqualValues(t, 2, asked.n.Load())
	})
}

// counted counts how often a cache is asked.
type counted struct {
	*aws.CredentialsCache
	n atomic.Int64
}

func (c *counted) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c.n.Add(1)
	return c.CredentialsCache.Retrieve(ctx)
}

func TestOtherCachesAreLeftAlone(t *testing.T) {
	p := newFake()
	plain := aws.NewCredentialsCache(p)
	key := p.key(t, plain)
	assert.False(t, ReportRejected(t.Context(), plain, key))
	assert.False(t, ReportRejected(t.Context(), nil, key))
	assert.Equal(t, key, p.key(t, plain))
	assert.True(t, ReportRejected(t.Context(), NewCredentialsCache(p), key), "nothing there to be rejected")
}

// After a rejection and an Invalidate the rejected key is not returned again, whether
// the replacement has come or not.
func TestInvalidateAfterARejection(t *testing.T) {
	for _, there := range []bool{false, true} {
		t.Run(fmt.Sprint(there), func(t *testing.T) {
			story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
				key := p.key(t, c)
				p.slow(time.Second)
				ReportRejected(t.Context(), c, key)
				if there {
					time.Sleep(2 * time.Second)
				}
				c.Invalidate()
				got := p.key(t, c)
				assert.NotEqual(t, key, got)
				c.Invalidate()
				assert.NotEqual(t, got, p.key(t, c))
			})
		})
	}
}

// After a report of a key that was replaced long ago, Invalidate still has its effect.
func TestInvalidateAfterALateReport(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		old := p.key(t, c)
		ReportRejected(t.Context(), c, old)
		synctest.Wait()
		require.Equal(t, "AKIA2", p.key(t, c))
		ReportRejected(t.Context(), c, old)
		c.Invalidate()
		assert.Equal(t, "AKIA3", p.key(t, c))
	})
}

// Further reports of a key that counts as rejected do not lengthen the time in which
// reports of the next key are ignored. They start a refresh once the back-off is over.
func TestFurtherReportsOfARejectedKey(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		old := p.key(t, c)
		p.fails(errDown)
		for range 60 {
			ReportRejected(t.Context(), c, old)
			time.Sleep(time.Second)
		}
		assert.Greater(t, p.calls(), 4, "nobody but the reports asks")
		p.fails(nil)
		time.Sleep(30 * time.Second)
		ReportRejected(t.Context(), c, old)
		synctest.Wait()
		key := p.key(t, c)
		require.NotEqual(t, old, key)
		ReportRejected(t.Context(), c, key)
		synctest.Wait()
		assert.NotEqual(t, key, p.key(t, c), "believed: there was one rejected key, a minute ago")
	})
}

// If a provider returns the rejected key again, that replaces nothing, and the provider
// is called again after a back-off. Another session of the same key replaces it.
func TestARejectedKeyThatComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events, session, life := &recorder{}, "one", time.Hour
		end := time.Now().Add(life)
		c := NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "s", SessionToken: session, CanExpire: true, Expires: end}, nil
		}), events.on)
		retrieve := func() aws.Credentials {
			t.Helper()
			got, err := c.Retrieve(t.Context())
			require.NoError(t, err)
			return got
		}
		retrieve()
		ReportRejected(t.Context(), c, "AKIA")
		synctest.Wait()
		assert.Len(t, events.all(), 1, "no news")
		status, _ := StatusOf(c)
		assert.True(t, status.NextTry.After(time.Now()))

		time.Sleep(time.Minute)
		session = "two"
		ReportRejected(t.Context(), c, "AKIA")
		synctest.Wait()
		assert.True(t, events.all()[1].NextTry.IsZero())
		assert.Equal(t, "two", retrieve().SessionToken)

		ReportRejected(t.Context(), c, "AKIA")
		synctest.Wait()
		time.Sleep(time.Until(end))
		end = end.Add(life)
		retrieve() // there is nothing else
	})
}

func TestAReportOfAnotherKeyFetchesNothing(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		require.True(t, ReportRejected(t.Context(), c, "AKIA1"), "before the first fetch")
		synctest.Wait()
		require.Zero(t, p.calls())

		old := p.key(t, c)
		for _, key := range []string{"", "AKIA0"} {
			ReportRejected(t.Context(), c, key)
			synctest.Wait()
			assert.Equal(t, 1, p.calls(), "%q", key)
		}
		ReportRejected(t.Context(), c, old)
		synctest.Wait()
		require.Equal(t, 2, p.calls())
		time.Sleep(time.Minute)
		ReportRejected(t.Context(), c, old)
		synctest.Wait()
		assert.Equal(t, 2, p.calls(), "it has been replaced")
		assert.Equal(t, "AKIA2", p.key(t, c))
		assert.False(t, ReportRejected(t.Context(), aws.NewCredentialsCache(p), old))
		assert.False(t, ReportRejected(t.Context(), nil, old))
	})
}

// A caller who waits in the last minute gets the replacement. An Invalidate after that
// is for the replacement.
func TestInvalidateOfAReplacementThatAWaitingCallerGot(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		old := p.key(t, c)
		time.Sleep(time.Hour - 50*time.Second)
		p.slow(300 * time.Millisecond)
		got := make(chan string)
		go func() { got <- p.key(t, c) }()
		time.Sleep(100 * time.Millisecond)
		ReportRejected(t.Context(), c, old)
		require.Equal(t, "AKIA2", <-got)
		c.Invalidate()
		assert.Equal(t, "AKIA3", p.key(t, c))
	})
}
