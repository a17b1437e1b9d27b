package refresh

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws/internal/clock"
)

const (
	firstDoubt = time.Second
	lastDoubt  = 5 * time.Minute
	quiet      = 10 * time.Minute // without a report; the next one is then believed at once
)

// ReportRejected tells cache that a service refused a request because it rejected the
// credentials that signed it, whose access key ID is accessKeyID. That happens after
// a role was deleted and made again. ReportRejected returns false, and does nothing,
// if cache is not one that [NewCredentialsCache] returned, nor a cache of the SDK
// around one.
//
// A refresh starts in the background. Until it succeeds, callers get the old
// credentials while they have not expired, since the service may be mistaken. No
// caller waits or gets an error because of a report. Reports of keys that have been
// replaced are ignored. After a report that is believed, reports of the next key are
// ignored for a second. That time doubles up to five minutes while replacements are
// rejected too. After ten minutes without a report it is a second again.
//
// If the provider is an *aws.CredentialsCache, that is invalidated, since it would
// return the same credentials again.
//
// Ctx is the context of the request that was refused; see Options.Carry.
// ReportRejected returns at once. If Invalidate is called after it, the next
// Retrieve may still return the replacement.
func ReportRejected(ctx context.Context, cache *aws.CredentialsCache, accessKeyID string) bool {
	c := behind(cache)
	if c == nil {
		return false
	}
	if replaced := c.reportRejected(ctx, accessKeyID); replaced && cache != c.front {
		cache.Invalidate() // it is around ours, and still has the old key
	}
	return true
}

// reportRejected reports whether key has been replaced already.
func (c *cache) reportRejected(ctx context.Context, key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.held == nil || key == "":
		return false
	case key != c.held.creds.AccessKeyID:
		// It has been replaced. If the SDK's cache still returns it, that stored
		// an old answer after showReplacement was called.
		if !c.given {
			c.showReplacement()
		}
		return true
	case !c.held.rejected:
		if !c.reports.believe() {
			return false
		}
		c.held.rejected = true
		c.invalidateInner()
	}
	if c.alive(clock.Wall()) { // otherwise the next caller fetches
		c.refresh(ctx)
	}
	return false
}

// showReplacement needs mu. It makes the SDK's cache ask again, so that it gets the
// replacement.
func (c *cache) showReplacement() {
	c.replaced = true
	c.front.Invalidate()
}

// reports decides which reports are believed. Its zero value believes the first.
type reports struct {
	heard    time.Time     // time of the last report
	believed time.Time     // time of the last report that was believed
	doubt    time.Duration // after believed, in which reports are ignored
}

func (r *reports) believe() bool {
	if clock.Since(r.heard) >= quiet {
		r.doubt = 0
	}
	r.heard = time.Now()
	if clock.Since(r.believed) < r.doubt {
		return false
	}
	r.believed, r.doubt = r.heard, min(max(2*r.doubt, firstDoubt), lastDoubt)
	return true
}

// probe finds the cache inside a cache of the SDK, which passes calls of
// IsCredentialsProvider on to its provider.
type probe struct {
	aws.CredentialsProvider // nil: it is never asked
	found                   *cache
}

func behind(front *aws.CredentialsCache) *cache {
	if front == nil {
		return nil
	}
	p := &probe{}
	front.IsCredentialsProvider(p)
	return p.found
}

// IsCredentialsProvider answers a probe, and asks the provider about any other
// target.
func (c *cache) IsCredentialsProvider(target aws.CredentialsProvider) bool {
	if p, ok := target.(*probe); ok {
		p.found = c
		return true
	}
	return aws.IsCredentialsProvider(c.caller.provider, target)
}
