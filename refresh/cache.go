package refresh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// lateWait is how long a caller waits for a refresh in the last minute. It
	// leaves a caller with half a second time to take the old credentials.
	lateWait = 400 * time.Millisecond

	// asleep is a time without a question after which the instance may have
	// been frozen. While someone asks for credentials that are due, there is a
	// question each second.
	asleep = 10 * time.Second
)

// cache is what NewCredentialsCache puts behind the SDK's cache, and the life of
// the credentials.
//
// The SDK's cache keeps each answer until the answer's Expires and then asks
// again, one question at a time. So it is steered by what it is given: the time
// at which credentials are due to be replaced while they are fresh, and a
// second from now once they are due.
type cache struct {
	calls  calls
	carry  func(context.Context) context.Context
	front  *aws.CredentialsCache // the SDK's cache, which asks
	jitter float64               // 0 to 1: when within a window this cache refreshes
	events queue
	log    queue

	mu       sync.Mutex // guards what follows
	lease    *lease     // nil: none yet, or invalidated
	given    bool       // the lease's credentials have been an answer
	fetch    *fetch     // under way, if any
	backOff  backOff
	failure  error     // what backOff is for
	asked    time.Time // when the last question came
	tried    bool      // a fetch has begun since the instance slept
	once     time.Time // the end of a dependence before which there was a refresh
	verdicts verdicts
	replaced bool // front was invalidated here, and has not had the replacement yet
}

// fetch is a call of the provider that any number of callers can wait for.
type fetch struct {
	background, ending, calledDead bool

	began  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed when the outcome is stored
	err    error         // to be read after done
}

// frozen reports whether f should have ended long ago. Its connection is dead.
func (f *fetch) frozen() bool { return elapsed(f.began) > callLimit+time.Second }

func newCache(provider aws.CredentialsProvider, o Options) *cache {
	c := &cache{
		calls:  calls{provider: provider, looks: make(chan struct{}, maxStanding)},
		carry:  o.Carry,
		jitter: rand.Float64(),
		events: queue{handle: o.OnEvent},
	}
	if o.Logger != nil {
		c.log.handle = (&logger{to: o.Logger}).record
	}
	c.front = aws.NewCredentialsCache(c)
	return c
}

// errAsk is how Retrieve has the SDK's cache go on to HandleFailToRefresh.
var errAsk = errors.New("refresh: ask through the cache")

// Retrieve does nothing but fail, which no caller sees: the SDK's cache then
// calls HandleFailToRefresh, and tells it what it had before. That is the only
// way to know whether someone called Invalidate.
func (c *cache) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errAsk
}

// HandleFailToRefresh answers the SDK's cache, which has detached ctx from the
// caller's cancellation and deadline and watches those itself. Before is what
// the cache had: nothing at first and after Invalidate, and otherwise its last
// answer.
func (c *cache) HandleFailToRefresh(ctx context.Context, before aws.Credentials, _ error) (aws.Credentials, error) {
	if c.calls.provider == nil {
		return aws.Credentials{}, errors.New("refresh: NewCredentialsCache was given no provider")
	}
	began := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	// A replacement that nobody has seen is not what Invalidate was called for.
	if !before.HasKeys() && !c.replaced {
		c.drop()
	}
	if elapsed(c.asked) > asleep {
		c.tried = false
	}
	c.asked = began
	if now := wall(); c.alive(now) {
		if c.lease.fresh(now) {
			return c.answer(now), nil
		}
		slept := !c.tried && c.lease.late(now)
		if f := c.refresh(ctx); f != nil && slept {
			c.wait(f, min(lateWait, c.lease.creds.Expires.Sub(now)/2))
		}
	}
	if now := wall(); c.alive(now) {
		return c.answer(now), nil
	}
	return c.fetchNow(ctx, began)
}

// alive needs mu.
func (c *cache) alive(now time.Time) bool { return c.lease != nil && c.lease.alive(now) }

// answer needs mu, and credentials that live.
func (c *cache) answer(now time.Time) aws.Credentials {
	c.given, c.replaced = true, false
	return c.lease.answer(now)
}

// drop needs mu. What there is, and what is on its way, will not be used.
func (c *cache) drop() {
	c.lease = nil
	c.abandon()
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
			f = c.start(ctx, false, callLimit-time.Since(began))
		}
		// What has ended lives again where the clock is set back meanwhile.
		for !c.wait(f, lateWait) && !c.alive(wall()) { // within f's limit
		}
		if now := wall(); c.alive(now) {
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

// refresh needs mu. It returns the fetch that is under way, or starts one in the
// background unless the last failure says to wait: then it returns nil.
func (c *cache) refresh(ctx context.Context) *fetch {
	c.thaw()
	if c.fetch == nil && (c.backOff.over() || c.worthAnother()) {
		c.start(ctx, true, callLimit)
	}
	return c.fetch
}

// worthAnother needs mu.
func (c *cache) worthAnother() bool {
	r, ok := c.calls.provider.(Retrier)
	return ok && c.failure != nil && r.RetryNow(c.failure)
}

// start needs mu. It starts a fetch that ends within limit. Nothing of ctx is
// touched here: a caller made it, and its methods may block or panic.
func (c *cache) start(ctx context.Context, background bool, limit time.Duration) *fetch {
	limited, cancel := context.WithTimeout(context.Background(), limit-callGrace)
	f := &fetch{background: background, ending: c.lease != nil && c.lease.ending, began: time.Now(), cancel: cancel, done: make(chan struct{})}
	c.fetch, c.tried = f, true
	go func() {
		defer close(f.done)
		defer cancel()
		c.finish(f, c.make(limited, ctx, background))
	}()
	return f
}

// make calls the provider within limited, for a caller whose context is ctx. One
// whose Value does not work is left out, since others wait for the outcome.
func (c *cache) make(limited, ctx context.Context, background bool) outcome {
	if background && c.carry == nil {
		return c.calls.make(limited, context.Background)
	}
	outer, unfit := c.calls.look(limited, ctx)
	if unfit != nil {
		ctx = context.Background()
	}
	if outer != nil && !background {
		// Another cache's fetch waits for this one. It is to hear why it failed.
		if deadline, ok := outer.Deadline(); ok {
			sooner, cancel := context.WithDeadline(limited, deadline.Add(-callGrace))
			defer cancel()
			limited = sooner
		}
	}
	out := c.calls.make(limited, func() context.Context {
		if c.carry != nil {
			return c.carry(ctx)
		}
		return ctx
	})
	if out.err != nil && unfit != nil {
		out.err = fmt.Errorf("%w (without the values of the caller's context: %w)", out.err, unfit)
	}
	return out
}

var errEnded = errors.New("refresh: the credentials ended as they came; is the local clock right?")

// finish takes the outcome of a fetch into account.
func (c *cache) finish(f *fetch, out outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := wall()
	e := Event{Background: f.background, BeforeEnd: f.ending, ReportRejected: f.calledDead, Took: time.Since(f.began)}
	switch {
	case out.err != nil:
	case !out.creds.HasKeys():
		out.err = fmt.Errorf("refresh: %T returned credentials without keys and no error", c.calls.provider)
	case out.creds.CanExpire && !now.Before(out.creds.Expires):
		out.err = errEnded
	}
	f.err, e.Err = out.err, out.err
	if c.fetch != f { // dropped, or frozen and given up
		return
	}
	c.fetch = nil
	if out.err == nil && c.store(out, now) {
		c.backOff = backOff{}
	} else {
		c.backOff.fail()
		c.failure = out.err
	}
	if c.alive(now) {
		e.NextTry = c.backOff.end()
		if c.lease.creds.CanExpire {
			e.Expires = c.lease.creds.Expires
		}
	}
	c.events.add(e)
	c.log.add(e)
}

// store needs mu. It takes the credentials, and reports true, if they are news: a
// provider with a cache of its own answers with the same ones for a while, and
// what lives longer serves. A key that was called dead gives way to any other.
func (c *cache) store(out outcome, now time.Time) bool {
	if old := c.lease; old != nil && old.alive(now) {
		same := old.creds.AccessKeyID == out.creds.AccessKeyID && old.creds.SessionToken == out.creds.SessionToken
		if old.dead && same || !old.dead && !later(out.creds, old.creds) {
			return false
		}
	}
	dead := c.lease != nil && c.lease.dead
	c.lease, c.given = newLease(out.creds, now, c.jitter), false
	if !out.until.IsZero() && !out.until.Round(0).Equal(c.once) && c.lease.before(out.until, now, c.jitter) {
		c.once = out.until.Round(0)
	}
	if dead {
		c.showReplacement()
	}
	return true
}

// later reports whether a ends after b.
func later(a, b aws.Credentials) bool {
	return !a.CanExpire || b.CanExpire && a.Expires.After(b.Expires)
}

// ProviderSources tells the SDK how the credentials were obtained, for its user
// agent.
func (c *cache) ProviderSources() []aws.CredentialSource {
	if s, ok := c.calls.provider.(aws.CredentialProviderSource); ok {
		return s.ProviderSources()
	}
	return nil
}
