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
	quiet      = 10 * time.Minute // after which a report is believed at once again
)

// ReportRejected says that a service refused a request because it rejected the
// credentials with the access key accessKeyID that signed it, as after a role was
// deleted and made again. It reports whether cache is one of
// [NewCredentialsCache]; any other is left alone.
//
// A refresh starts in the background. The old credentials serve while they live
// until the replacement is there, since the service may be mistaken: no caller
// waits or fails for it. Keys that have been replaced are no news. The time
// until the next key is believed to be rejected is a second, and doubles to five
// minutes while replacements are rejected too; after ten minutes without a report
// it is a second again.
//
// If the provider is an *aws.CredentialsCache, that one is invalidated: it would
// give the same credentials again.
//
// Ctx is the context of the request that was refused; see Options.Carry.
// ReportRejected returns at once. An Invalidate after it, before the next answer,
// may be answered by the replacement.
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
		// It has been replaced. If the SDK's cache still has it, then it stored
		// an answer after showReplacement.
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
	if c.alive(clock.Wall()) { // or the next caller fetches
		c.refresh(ctx)
	}
	return false
}

// showReplacement needs mu. It makes the SDK's cache ask for credentials that it
// has not had.
func (c *cache) showReplacement() {
	c.replaced = true
	c.front.Invalidate()
}

// reports tells which reports are believed. Its zero value believes the first.
type reports struct {
	heard    time.Time // the last one
	believed time.Time // the last one that was
	doubt    time.Duration
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

// probe finds the cache behind an SDK's cache, through the one question that
// the SDK passes on to what it wraps.
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
