package refresh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws/internal/clock"
	"github.com/vercelaws/vercelaws/internal/guard"
)

const (
	// lateWait is how long a caller waits for a refresh in the last minute. It is
	// short enough for a caller whose context has half a second left: that still gets
	// the old credentials.
	lateWait = 400 * time.Millisecond

	// asleep is the time without a question from the SDK's cache after which the
	// instance may have been frozen. In the refresh window that cache asks each
	// second while callers come.
	asleep = 10 * time.Second
)

// cache is the provider that NewCredentialsCache puts behind the SDK's cache. It
// decides when credentials are fetched.
//
// The SDK's cache keeps each answer until the answer's Expires, and then asks again,
// one question at a time. So the Expires of an answer decides when it asks again. It
// is the time of the refresh, and after that a second from now.
//
// Each cache has one random jitter for all its refreshes. Two instances that started
// together then refresh further apart each time, by a constant amount. With a new
// random number each time they would part more slowly: with the square root of the
// number of refreshes.
type cache struct {
	caller caller
	front  *aws.CredentialsCache // the SDK's cache, which asks
	first  float64               // 0 to 1: the time of the first refresh
	jitter float64               // 0 to 1: the point of the refresh window at which later ones start
	events queue
	log    queue

	mu       sync.Mutex // guards what follows; no code of others runs under it
	held     *held      // nil: none yet, or invalidated
	filled   bool       // a fetch has returned credentials before
	given    bool       // held's credentials have been returned to front
	fetch    *fetch     // the one under way, or nil
	backOff  backOff
	failure  error     // of the last fetch; nil if it succeeded
	retrying bool      // RetryNow has not returned
	asked    time.Time // when front last asked
	tried    bool      // a fetch has begun since the instance slept
	once     time.Time // the last DependsUntil for which there was a refresh
	reports  reports
	replaced bool // showReplacement was called, and front has not asked since
}

// fetch is a call of the provider that any number of callers can wait for.
type fetch struct {
	reason Reason
	began  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed when the outcome is stored
	err    error         // is set before done is closed
}

// frozen reports whether f should have ended long ago. Then the instance was frozen,
// and f's connection is dead.
func (f *fetch) frozen() bool { return clock.Since(f.began) > callLimit+time.Second }

func newCache(provider aws.CredentialsProvider, o Options) *cache {
	c := &cache{
		caller: caller{provider: provider, name: fmt.Sprintf("%T", provider), carry: o.Carry, window: o.ExpiryWindow},
		first:  rand.Float64(),
		jitter: rand.Float64(),
		events: queue{handle: o.OnEvent},
	}
	if o.Logger != nil {
		c.log.handle = (&logger{to: o.Logger, window: o.ExpiryWindow}).record
	}
	c.front = aws.NewCredentialsCache(c)
	return c
}

// errAsk makes the SDK's cache call HandleFailToRefresh.
var errAsk = errors.New("refresh: ask through the cache")

// Retrieve always fails, so that the SDK's cache calls HandleFailToRefresh with the
// previous credentials. Only from those can this package know whether Invalidate was
// called. No caller sees the failure.
func (c *cache) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errAsk
}

// HandleFailToRefresh returns credentials to the SDK's cache. That has detached ctx
// from the caller's cancellation and deadline, and watches those itself. Before has
// no keys at first and after Invalidate. Otherwise it is the last answer.
func (c *cache) HandleFailToRefresh(ctx context.Context, before aws.Credentials, _ error) (aws.Credentials, error) {
	if c.caller.provider == nil {
		return aws.Credentials{}, errors.New("refresh: NewCredentialsCache was given no provider")
	}
	began := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	// After showReplacement before is empty too, though nobody called Invalidate.
	if !before.HasKeys() && !c.replaced {
		c.drop()
	}
	if clock.Since(c.asked) > asleep {
		c.tried = false
	}
	c.asked = began
	if now := clock.Wall(); c.alive(now) {
		if c.held.fresh(now) {
			return c.answer(now), nil
		}
		patience := c.patience(now)
		if f := c.refresh(ctx); f != nil && patience > 0 {
			c.wait(f, patience)
			c.asked = time.Now() // the instance was awake meanwhile
		}
	}
	if now := clock.Wall(); c.alive(now) {
		return c.answer(now), nil
	}
	return c.fetchNow(ctx, began)
}

// patience needs mu, and credentials that have not expired. It returns how long a
// caller waits for their refresh. In the ExpiryWindow that is until the refresh ends,
// as long as the provider has not failed. After a failure, and in the last minute, it
// is lateWait for the first caller after a sleep, and nothing for later ones.
func (c *cache) patience(now time.Time) time.Duration {
	left := c.held.creds.Expires.Sub(now)
	switch short := c.held.short(now); {
	case short && c.backOff.failures == 0:
		return min(callLimit, left)
	case (short || c.held.late(now)) && !c.tried:
		return min(lateWait, left/2)
	}
	return 0
}

// alive needs mu.
func (c *cache) alive(now time.Time) bool { return c.held != nil && c.held.alive(now) }

// answer needs mu, and credentials that have not expired.
func (c *cache) answer(now time.Time) aws.Credentials {
	c.given, c.replaced = true, false
	return c.held.answer(now)
}

// drop needs mu. It drops the credentials, and the fetch under way.
func (c *cache) drop() {
	if c.held != nil {
		c.invalidateInner()
	}
	c.held = nil
	c.abandon()
}

// invalidateInner invalidates the provider, if that is a cache of the SDK.
func (c *cache) invalidateInner() {
	if inner, ok := c.caller.provider.(*aws.CredentialsCache); ok {
		inner.Invalidate()
	}
}

// abandon needs mu. It ends the fetch under way, whose outcome is dropped.
func (c *cache) abandon() {
	if c.fetch != nil {
		c.fetch.cancel()
		c.fetch = nil
	}
}

// fetchNow needs mu, which it unlocks while it waits. It fetches credentials for
// callers who have been waiting since began. If a refresh is under way, it waits for
// that first, and fetches if that fails and enough time is left.
func (c *cache) fetchNow(ctx context.Context, began time.Time) (aws.Credentials, error) {
	for {
		c.thaw()
		f := c.fetch
		joined := f != nil
		if !joined {
			f = c.start(ctx, callLimit-time.Since(began))
		}
		// Expired credentials are valid again if the clock is set back meanwhile. So
		// look at them again and again until f ends, which it does within its limit.
		for !c.wait(f, lateWait) && !c.alive(clock.Wall()) {
		}
		if now := clock.Wall(); c.alive(now) {
			return c.answer(now), nil
		}
		if joined && callLimit-time.Since(began) > time.Second {
			continue
		}
		if f.err == nil {
			return aws.Credentials{}, errEnded
		}
		return aws.Credentials{}, f.err
	}
}

// wait needs mu, which it unlocks while it waits for f to end. It reports whether f
// has ended.
func (c *cache) wait(f *fetch, limit time.Duration) bool {
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-f.done:
		return true
	case <-time.After(limit):
		return false
	}
}

// thaw needs mu. It abandons a fetch from before the instance was frozen.
func (c *cache) thaw() {
	if c.fetch != nil && c.fetch.frozen() {
		c.abandon()
	}
}

// refresh needs mu, and credentials that have not expired. It returns the fetch that is under way,
// or starts one in the background. During a back-off it returns nil.
func (c *cache) refresh(ctx context.Context) *fetch {
	c.thaw()
	if c.fetch == nil && c.backOff.over() {
		c.start(ctx, callLimit)
	}
	if r, ok := c.caller.provider.(Retrier); ok && c.fetch == nil && c.failure != nil && !c.retrying {
		c.retrying = true
		go c.retryNow(ctx, r, c.failure, c.backOff)
	}
	return c.fetch
}

// retryNow asks r, and starts a refresh before the end of the back-off if r reports
// true. No caller waits for it.
func (c *cache) retryNow(ctx context.Context, r Retrier, failure error, after backOff) {
	limited, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	now, err := guard.Do(limited, &c.caller.retries, "RetryNow", callGrace, func(context.Context) (bool, error) { return r.RetryNow(failure), nil })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retrying = false
	if now && err == nil && c.fetch == nil && c.backOff == after && c.alive(clock.Wall()) {
		c.start(ctx, callLimit)
	}
}

// start needs mu. It starts a fetch that ends within limit. It calls no method of ctx:
// that is a caller's, and its methods may block or panic.
func (c *cache) start(ctx context.Context, limit time.Duration) *fetch {
	limited, cancel := context.WithTimeout(context.Background(), limit-callGrace)
	f := &fetch{reason: c.reason(), began: time.Now(), cancel: cancel, done: make(chan struct{})}
	var before aws.Credentials
	if c.held != nil && !c.held.rejected {
		before = c.held.creds
	}
	c.fetch, c.tried = f, true
	go func() {
		defer close(f.done)
		defer cancel()
		c.finish(f, c.caller.call(limited, ctx, f.reason != ReasonMissing, before))
	}()
	return f
}

// reason needs mu.
func (c *cache) reason() Reason {
	switch {
	case !c.alive(clock.Wall()):
		return ReasonMissing
	case c.held.rejected:
		return ReasonRejected
	case c.held.dependent:
		return ReasonDependency
	}
	return ReasonExpiring
}

// finish stores the outcome of a fetch and adds its event.
func (c *cache) finish(f *fetch, out outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.err = out.err
	if c.fetch != f { // it was abandoned
		return
	}
	c.fetch = nil
	now := clock.Wall()
	failed, old := c.failure != nil, c.held
	stored := out.creds.HasKeys() && c.store(out, now)
	if out.err == nil && (stored || c.alive(now) && c.held.postpone(now)) {
		c.backOff = backOff{}
	} else {
		c.backOff.fail()
	}
	c.failure = out.err
	news := stored && (failed || old == nil || !sameKeys(old.creds, c.held.creds))
	if out.err == nil && !news {
		return
	}
	e := Event{Reason: f.reason, Err: out.err, Took: out.took}
	if c.alive(now) {
		e.Expires, e.ExpiryWindow = c.held.end(), c.held.window
		if out.err != nil {
			e.NextTry = c.nextTry()
		}
	}
	c.events.add(e)
	c.log.add(e)
}

// nextTry needs mu, and credentials that have not expired. It returns the earliest time of the
// next refresh, or zero if there will be none.
func (c *cache) nextTry() time.Time {
	next := c.backOff.end()
	if !c.held.rejected && c.held.refresh.After(next) {
		next = c.held.refresh
	}
	return next
}

// store needs mu. It stores the credentials, and reports true, if they replace those
// that there are.
func (c *cache) store(out outcome, now time.Time) bool {
	urgent := c.held != nil && (c.held.rejected || c.held.short(now))
	if c.alive(now) && !c.held.replacedBy(out.creds) {
		return false
	}
	x := c.jitter
	if !c.filled {
		x = c.first
	}
	c.held = hold(out.creds, now, out.window, x, !c.filled)
	c.filled, c.given = true, false
	if !out.until.IsZero() && !out.until.Round(0).Equal(c.once) && c.held.before(out.until, now, c.jitter) {
		c.once = out.until.Round(0)
	}
	if urgent {
		c.showReplacement()
	}
	return true
}

// ProviderSources tells the SDK how the credentials were obtained, for its user
// agent.
func (c *cache) ProviderSources() []aws.CredentialSource {
	if s, ok := c.caller.provider.(aws.CredentialProviderSource); ok {
		return s.ProviderSources()
	}
	return nil
}
