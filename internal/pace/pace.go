// Package pace bounds how often something that keeps going wrong is done, and
// leaves alone what goes well.
package pace

import (
	"context"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"
)

// Every is how often something that keeps going wrong is done after the burst.
const Every = time.Second / 2

// Pacer counts what went wrong, after it went wrong. While nothing is owed,
// nobody waits. While something is owed, an operation begins only if what is
// owed and what is under way leave room for it: so from the first failure on, no
// more than Burst + w/Every operations begin in a time w. One failure is paid off
// each Every.
//
// It goes by the monotonic clock, so setting the wall clock does not touch it.
// Its methods are safe for concurrent use. Burst is not changed after the first
// use.
type Pacer struct {
	Burst int

	mu       sync.Mutex    // guards what follows
	paid     time.Time     // when nothing will be owed
	underWay int           // operations that have begun and not ended
	changed  chan struct{} // closed when those who wait should look again; nil: nobody waits
}

// Begin waits until an operation may begin, or until ctx ends: then its error is
// ctx's cause. Whoever began calls end once, and says whether the operation
// failed. One that panics or never returns has failed.
func (p *Pacer) Begin(ctx context.Context) (end func(failed bool), err error) {
	if err := p.wait(ctx, 1); err != nil {
		return nil, err
	}
	ended := false // guarded by mu
	return func(failed bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if ended {
			return
		}
		ended = true
		p.underWay--
		if failed {
			p.owe()
		}
		p.wake()
	}, nil
}

// Wait waits until an operation may begin, and begins none.
func (p *Pacer) Wait(ctx context.Context) error { return p.wait(ctx, 0) }

// Fail counts a failure of something that seemed to have gone well.
func (p *Pacer) Fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owe()
	p.wake()
}

// Clear forgets what is owed, since an operation has succeeded.
func (p *Pacer) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paid = time.Time{}
	p.wake()
}

// wait waits for room, and then has n more operations under way.
func (p *Pacer) wait(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		pause := p.pause()
		if pause <= 0 {
			p.underWay += n
			p.mu.Unlock()
			return nil
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()

		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		timer.Stop()
	}
}

// pause needs mu. It is how long the next operation has to wait, if nothing
// that is under way ends before.
func (p *Pacer) pause() time.Duration {
	owed := p.owed()
	if owed <= 0 {
		return 0
	}
	return owed + time.Duration(p.underWay+1-p.Burst)*Every
}

// owed needs mu. It is the time until nothing is owed. A date that is further
// ahead than what can be owed comes of another clock, such as a test's, and
// counts for nothing.
func (p *Pacer) owed() time.Duration {
	owed := time.Until(p.paid)
	if owed > p.most() {
		p.paid, owed = time.Time{}, 0
	}
	return owed
}

// most is what can be owed. Many operations that were under way when the first
// of them failed owe no more than a burst: the next may begin after Every.
func (p *Pacer) most() time.Duration { return time.Duration(p.Burst) * Every }

// owe needs mu.
func (p *Pacer) owe() {
	p.paid = time.Now().Add(min(max(p.owed(), 0)+Every, p.most()))
}

// wake needs mu. It has those who wait look again.
func (p *Pacer) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// idle reports whether p is as good as a new one.
func (p *Pacer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.underWay == 0 && p.owed() <= 0
}

// FaultBurst is how many requests an endpoint that fails gets at once.
const FaultBurst = 3

// ofEndpoints are the pacers that [Of] has given.
var ofEndpoints = struct {
	sync.Mutex
	pacers map[any]*shared
}{pacers: map[any]*shared{}}

type shared struct {
	Pacer
	asked time.Time // when Of gave it last
}

// Of returns the pacer of the faults of an endpoint, for all in the process who
// ask it. Key is the endpoint's address, or the client of the user's own that
// reaches it; one that cannot be compared gets a pacer of its own.
func Of(key any) *Pacer {
	if !reflect.ValueOf(key).Comparable() {
		return &Pacer{Burst: FaultBurst}
	}
	ofEndpoints.Lock()
	defer ofEndpoints.Unlock()
	s := ofEndpoints.pacers[key]
	if s == nil {
		forgetIdle()
		s = &shared{Pacer: Pacer{Burst: FaultBurst}}
		ofEndpoints.pacers[key] = s
	}
	s.asked = time.Now()
	return &s.Pacer
}

// forgetIdle needs the lock of ofEndpoints. It keeps programs that make ever new
// clients from being remembered. Whoever was given a pacer a minute ago has
// begun with it.
func forgetIdle() {
	const many = 64
	if len(ofEndpoints.pacers) < many {
		return
	}
	for key, s := range ofEndpoints.pacers {
		if time.Since(s.asked).Abs() > time.Minute && s.idle() {
			delete(ofEndpoints.pacers, key)
		}
	}
}

// Pause waits before an operation is tried again: 100 ms on average before the
// second attempt, and twice as long before each further one. It reports whether
// ctx has time left.
func Pause(ctx context.Context, attempt int) bool {
	whole := 100 * time.Millisecond << max(attempt-1, 0)
	timer := time.NewTimer(whole/2 + rand.N(whole))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
