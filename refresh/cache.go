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
	// lateWait is how long a caller waits for a refresh in the last minute. It
	// leaves a caller who has half a second time to take the old credentials.
	lateWait = 400 * time.Millisecond

	// asleep is a time without a question after which the instance may have
	// been frozen. While someone asks in the refresh window, there is a question
	// each second.
	asleep = 10 * time.Second
)

// cache is what NewCredentialsCache puts behind the SDK's cache, and the life of
// the credentials.
//
// The SDK's cache keeps each answer until the answer's Expires and then asks
// again, one question at a time. So it is steered by what it is given: the
// beginning of the refresh while the credentials are fresh, and a second from
// now after that.
//
// Each cache keeps one random jitter for life. Instances that started together
// then drift apart by a constant amount with each refresh; with a new random
// number each time they would part only with its square root.
type cache struct {
	caller caller
	front  *aws.CredentialsCache // the SDK's cache, which asks
	first  float64               // 0 to 1: when the first refresh is
	jitter float64               // 0 to 1: when within their window the later ones are
	events queue
	log    queue

	mu       sync.Mutex // guards what follows; no code of others runs under it
	held     *held      // nil: none yet, or invalidated
	filled   bool       // there have been credentials
	given    bool       // held's credentials have been an answer
	fetch    *fetch     // under way, if any
	backOff  backOff
	failure  error     // what backOff is for; nil where a fetch brought nothing new
	retrying bool      // RetryNow has not returned
	asked    time.Time // when the last question came
	tried    bool      // a fetch has begun since the instance slept
	once     time.Time // the end of a dependence before which there was a refresh
	reports  reports
	replaced bool // front was invalidated here, and has not had the replacement yet
}

// fetch is a call of the provider that any number of callers can wait for.
type fetch struct {
	reason Reason
	began  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed when the outcome is stored
	err    error         // to be read after done
}

// frozen reports whether f should have ended long ago. Its connection is dead.
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

// errAsk is how Retrieve has the SDK's cache go on to HandleFailToRefresh.
var errAsk = errors.New("refresh: ask through the cache")

// Retrieve always fails, so that the SDK's cache calls HandleFailToRefresh, which
// is told the previous credentials. That is the only way to know whether someone
// called Invalidate. No caller sees the failure.
func (c *cache) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errAsk
}

// HandleFailToRefresh answers the SDK's cache, which has detached ctx from the
// caller's cancellation and deadline and watches those itself. Before is what
// the cache had: nothing at first and after Invalidate, and otherwise its last
// answer.
func (c *cache) HandleFailToRefresh(ctx context.Context, before aws.Credentials, _ error) (aws.Credentials, error) {
	if c.caller.provider == nil {
		return aws.Credentials{}, errors.New("refresh: NewCredentialsCache was given no provider")
	}
	began := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	// A replacement that nobody has seen is not what Invalidate was called for.
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
			c.asked = time.Now() // it was awake meanwhile
		}
	}
	if now := clock.Wall(); c.alive(now) {
		return c.answer(now), nil
	}
	return c.fetchNow(ctx, began)
}

// patience needs mu, and credentials that live. It is how long a caller waits for
// their refresh: in the ExpiryWindow for its end, as long as the provider has not
// failed; after that, and in the last minute, for a moment and once for each
// waking.
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

// answer needs mu, and credentials that live.
func (c *cache) answer(now time.Time) aws.Credentials {
	c.given, c.replaced = true, false
	return c.held.answer(now)
}

// drop needs mu. What there is, and what is on its way, will not be used.
func (c *cache) drop() {
	if c.held != nil {
		c.invalidateInner()
	}
	c.held = nil
	c.abandon()
}

// invalidateInner has a cache of the SDK's that is the provider fetch anew.
func (c *cache) invalidateInner() {
	if inner, ok := c.caller.provider.(*aws.CredentialsCache); ok {
		inner.Invalidate()
	}
}

// abandon needs mu.
func (c *cache) abandon() {
	if c.fetch != nil {
		c.fetch.cancel()
		c.fetch = nil
	}
}

// fetchNow needs mu, which it gives up while it waits. It fetches for callers
// who have been waiting since began, or joins the refresh that is under way. If
// that one fails, there is time for another.
func (c *cache) fetchNow(ctx context.Context, began time.Time) (aws.Credentials, error) {
	for {
		c.thaw()
		f := c.fetch
		joined := f != nil
		if !joined {
			f = c.start(ctx, callLimit-time.Since(began))
		}
		// What has ended lives again where the clock is set back meanwhile.
		for !c.wait(f, lateWait) && !c.alive(clock.Wall()) { // within f's limit
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

// wait needs mu, which it gives up while it waits for f's outcome. It reports
// whether that has come.
func (c *cache) wait(f *fetch, limit time.Duration) bool {
	c.mu.Unlock()
	defer c.mu.Lock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.done:
		return true
	case <-timer.C:
		return false
	}
}

// thaw needs mu. A fetch from before the instance froze is not waited for.
func (c *cache) thaw() {
	if c.fetch != nil && c.fetch.frozen() {
		c.abandon()
	}
}

// refresh needs mu, and credentials that live. It returns the fetch that is under
// way, or starts one in the background unless the last failure says to wait: then
// it returns nil.
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

// retryNow starts a refresh in spite of a back-off, if r says so. No caller waits
// for it.
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

// start needs mu. It starts a fetch that ends within limit: in the background
// while credentials live. Nothing of ctx is touched here: a caller made it, and
// its methods may block or panic.
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

// finish takes the outcome of a fetch into account.
func (c *cache) finish(f *fetch, out outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.err = out.err
	if c.fetch != f { // dropped, or frozen and given up
		return
	}
	c.fetch = nil
	now := clock.Wall()
	failed, old := c.failure != nil, c.held
	stored := out.creds.HasKeys() && c.store(out, now)
	if stored && out.err == nil {
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

// nextTry needs mu, and credentials that live. It is the earliest time of the
// next refresh, zero where there will be none.
func (c *cache) nextTry() time.Time {
	next := c.backOff.end()
	if !c.held.rejected && c.held.refresh.After(next) {
		next = c.held.refresh
	}
	return next
}

// store needs mu. It takes the credentials, and reports true, if they are news: a
// provider with a cache of its own answers with the same ones for a while, and
// what lives longer serves. A key that was rejected gives way to any other.
func (c *cache) store(out outcome, now time.Time) bool {
	rejected := c.held != nil && c.held.rejected
	if c.alive(now) && (rejected && sameKeys(c.held.creds, out.creds) || !rejected && !later(out.creds, c.held.creds)) {
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
	if rejected {
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
