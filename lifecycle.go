package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws/internal/recent"
	"github.com/vercelaws/vercelaws/oidc"
)

// fetchLimit bounds one fetch of credentials in all, whatever the caller's
// context allows: a function on Vercel gets a context without a deadline.
const fetchLimit = 10 * time.Second

// tokenGrace is how long a fetch without any token waits for a request that
// brings one. In that time the requests that came together with the first have
// all been seen.
const tokenGrace = 10 * time.Millisecond

// provider is what NewProvider puts behind the SDK's cache. This file is the
// life of the credentials; fetch.go is how new ones are got.
//
// The SDK's cache keeps each answer until the answer's Expires and then asks
// again, one question at a time. So a provider steers it by what it puts
// there: the soft expiry while credentials are fresh, and a second from now
// once they are due to be replaced.
type provider struct {
	roleARN string
	options Options
	invalid error // what is wrong with roleARN or options
	source  oidc.TokenSource
	client  *lazyClient
	log     *slog.Logger
	jitter  float64 // 0 to 1: when within the window a refresh is due

	refusals refusals

	mu          sync.Mutex // guards what follows
	lease       *lease     // nil: none yet, or invalidated
	answerUntil time.Time  // the Expires of the last answer
	refresh     *refresh   // the background fetch in flight, if any
	tried       bool       // a refresh has ended since soft expiry
	failures    int        // refreshes that STS failed, in a row
	nextTry     time.Time  // no refresh before this time
	proven      oidc.Token // the token STS accepted last
	started     time.Time  // when the last fetch with a caller waiting began
	seen        int64      // recent.Arrivals then
}

// refresh is a fetch in the background.
type refresh struct {
	started time.Time
	cancel  context.CancelFunc
	done    chan struct{} // closed when the outcome is stored

	succeeded bool // to be read after done
}

// frozen reports whether r should have ended long ago.
func (r *refresh) frozen(now time.Time) bool {
	return now.Sub(r.started).Abs() > fetchLimit+time.Second
}

// Retrieve answers the SDK's cache, which has detached ctx from the caller's
// cancellation and deadline and watches those itself.
func (p *provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if p.invalid != nil {
		return aws.Credentials{}, p.invalid
	}
	p.mu.Lock()
	now := wall()
	if now.Before(p.answerUntil) {
		// The cache asks before our last answer has run out, so someone called
		// Invalidate. What we have, and what is on its way, is suspect.
		p.lease = nil
		p.dropRefresh()
	}
	alive := p.lease != nil && p.lease.alive(now)
	// An instance that slept through the advisory window has credentials so
	// old that a request signed with them can reach the service after their
	// end. Its caller waits for a refresh, once.
	late := alive && !now.Before(p.lease.last) && !p.tried && p.refresh == nil
	if alive && !late {
		defer p.mu.Unlock()
		if !p.lease.fresh(now) {
			p.refreshInBackground(ctx, now)
		}
		return p.answer(now), nil
	}
	p.answerUntil = time.Time{}
	p.mu.Unlock()

	err := p.fetchNow(ctx)

	p.mu.Lock()
	defer p.mu.Unlock()
	now = wall()
	switch {
	case p.lease != nil && p.lease.alive(now):
		return p.answer(now), nil
	case err == nil:
		err = fmt.Errorf("vercelaws: the credentials of %s ended as they came", p.roleARN)
	}
	return aws.Credentials{}, err
}

// HandleFailToRefresh is the SDK's last question before it gives err to every
// caller that waits for this fetch. Where the first of them had no good token,
// another may have brought one in the meantime, or be about to: so the failure
// waits a moment for one.
//
// A caller who joins between the last look here and the end of the SDK's single
// flight shares the failure all the same. That gap cannot be closed from
// inside; TestPoisonWindow measures it.
func (p *provider) HandleFailToRefresh(ctx context.Context, _ aws.Credentials, err error) (aws.Credentials, error) {
	p.mu.Lock()
	left := fetchLimit - wall().Sub(p.started).Abs() - tokenGrace
	seen := p.seen
	p.mu.Unlock()
	var asked *AssumeRoleError
	if p.invalid != nil || left <= 0 || errors.As(err, &asked) {
		return aws.Credentials{}, err
	}
	time.Sleep(tokenGrace)
	if recent.Arrivals() == seen {
		return aws.Credentials{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	return p.Retrieve(ctx)
}

// answer needs mu, and credentials that live. It gives them to the cache until
// they are due to be replaced, or until a second from now if they already are.
func (p *provider) answer(now time.Time) aws.Credentials {
	until := p.lease.soft
	if !p.lease.fresh(now) {
		until = now.Add(askAgain)
	}
	creds := p.lease.until(until)
	p.answerUntil = creds.Expires
	return creds
}

// dropRefresh needs mu. The refresh's outcome will not be used.
func (p *provider) dropRefresh() {
	if p.refresh != nil {
		p.refresh.cancel()
		p.refresh = nil
	}
}

// fetchNow fetches while its caller waits. On success the lease lives.
func (p *provider) fetchNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	if p.joinRefresh(ctx) {
		return nil
	}
	p.mu.Lock()
	proven := p.proven
	p.started, p.seen = wall(), recent.Arrivals()
	p.mu.Unlock()

	got, err := p.fetch(ctx, proven, refusalMemory)

	p.mu.Lock()
	p.store(got, err)
	p.mu.Unlock()
	p.report(got, err)
	return err
}

// joinRefresh waits for a background fetch that is on its way, and reports
// whether it brought new credentials. A fetch from before the instance froze is
// not waited for: its connection is dead.
func (p *provider) joinRefresh(ctx context.Context) bool {
	p.mu.Lock()
	r := p.refresh
	if r != nil && r.frozen(wall()) {
		p.dropRefresh()
		r = nil
	}
	p.mu.Unlock()
	if r == nil {
		return false
	}
	select {
	case <-r.done:
		return r.succeeded
	case <-ctx.Done():
		return false
	}
}

// refreshInBackground needs mu. It starts a fetch unless one is under way or
// the last failure says to wait.
func (p *provider) refreshInBackground(ctx context.Context, now time.Time) {
	if p.refresh != nil {
		if !p.refresh.frozen(now) {
			return
		}
		p.dropRefresh()
	}
	if pause := p.nextTry.Sub(now); pause > 0 && pause <= lastBackOff { // longer: the clock was set back
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchLimit)
	r := &refresh{started: now, cancel: cancel, done: make(chan struct{})}
	p.refresh = r
	proven, remember := p.proven, backOff(p.failures)
	go func() {
		defer close(r.done)
		defer cancel()
		got, err := p.fetch(ctx, proven, remember)
		p.mu.Lock()
		current := p.refresh == r // else invalidated or given up meanwhile
		if current {
			p.refresh = nil
			p.store(got, err)
			r.succeeded = err == nil
		}
		p.mu.Unlock()
		if current {
			p.report(got, err)
		}
	}()
}

// store needs mu. It takes the outcome of a fetch into account.
func (p *provider) store(got fetched, err error) {
	now := wall()
	p.tried = true
	switch {
	case err == nil:
		l := newLease(got.creds, now, p.jitter)
		p.lease, p.proven = &l, got.token
		p.tried, p.failures, p.nextTry = false, 0, time.Time{}
	case got.operations == 0:
		// STS was not asked: no token, or only refused ones. The next request
		// may bring another token, so there is no pause.
		p.nextTry = time.Time{}
	default:
		p.failures++
		p.nextTry = now.Add(backOff(p.failures))
		if isTokenRefusal(err) {
			// The fault is the token's, and fetch remembers that token.
			p.nextTry = time.Time{}
		}
	}
}

// report logs the outcome of a fetch. It does not need mu: a log handler may
// take its time, or use credentials itself.
func (p *provider) report(got fetched, err error) {
	if err == nil {
		p.log.Info("AWS credentials refreshed", "role", p.roleARN,
			"expires", got.creds.Expires, "took", got.took, "source", got.token.Source())
		return
	}
	p.mu.Lock()
	l, nextTry := p.lease, p.nextTry
	p.mu.Unlock()
	level := slog.LevelWarn
	if got.operations == 0 {
		level = slog.LevelDebug // the same news once a second is no news
	}
	if l != nil && l.alive(wall()) {
		p.log.Log(context.Background(), level, "AWS credentials not refreshed; the old ones serve", "role", p.roleARN,
			"expires", l.creds.Expires, "next_try", nextTry, "took", got.took, "error", err)
		return
	}
	p.log.Log(context.Background(), level, "AWS credentials could not be fetched", "role", p.roleARN,
		"took", got.took, "error", err)
}
