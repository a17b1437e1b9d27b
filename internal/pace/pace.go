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

const (
	// Every is how often something that keeps going wrong is done after the burst.
	Every = time.Second / 2

	// memory is for how long after the last of it something is taken to go wrong.
	memory = time.Minute
)

// Pacer counts what goes wrong. Nobody waits until an operation has failed. From
// then until [Pacer.Clear], or until none has failed for a minute, no more than
// Burst + w/Every operations begin in a time w. Each of them is counted when it
// begins, since it may hang before it fails; one that does not fail is taken off
// the count when it ends. One is paid off each Every.
//
// It goes by the monotonic clock, so setting the wall clock does not touch it.
// Its methods are safe for concurrent use. Burst is not changed after the first
// use.
type Pacer struct {
	Burst int

	mu       sync.Mutex    // guards what follows
	failing  bool          // an operation has failed in the last minute, and none has cleared that
	paid     time.Time     // when nothing will be owed
	underWay int           // operations that have not ended, and were not counted when they began
	changed  chan struct{} // closed when those who wait should look again; nil: nobody waits
}

// Begin waits until an operation may begin, or until ctx ends: then its error is
// ctx's cause. Whoever began calls end once, and says whether the operation
// failed. One that panics or never returns has failed.
func (p *Pacer) Begin(ctx context.Context) (end func(failed bool), err error) {
	counted, err := p.wait(ctx, true)
	if err != nil {
		return nil, err
	}
	ended := false // guarded by mu
	return func(failed bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case ended:
			return
		case !counted:
			p.underWay--
			if failed {
				p.fail()
			}
		case failed:
			p.owe(max(Every-p.owed(), 0)) // it may have been paid off meanwhile
		default:
			p.paid = p.paid.Add(-Every)
		}
		ended = true
		p.wake()
	}, nil
}

// Wait waits until an operation may begin, and begins none.
func (p *Pacer) Wait(ctx context.Context) error {
	_, err := p.wait(ctx, false)
	return err
}

// Clear forgets what is owed, since an operation has succeeded.
func (p *Pacer) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing, p.paid = false, time.Time{}
	p.wake()
}

// wait waits for room, and then begins an operation, if it is to. It reports
// whether that was counted.
func (p *Pacer) wait(ctx context.Context, begins bool) (counted bool, err error) {
	for {
		p.mu.Lock()
		pause := p.pause()
		if pause <= 0 {
			defer p.mu.Unlock()
			switch {
			case !begins:
			case p.failing:
				p.owe(Every)
				return true, nil
			default:
				p.underWay++
			}
			return false, nil
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
			return false, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// pause needs mu. It is how long the next operation has to wait. What is under way
// is likely to fail too, so while something is owed it takes up room.
func (p *Pacer) pause() time.Duration {
	owed := p.owed()
	room := p.most() - owed - Every
	return max(-room, min(owed, time.Duration(p.underWay)*Every-room))
}

// owed needs mu. It is the time until nothing is owed. A date that is further
// ahead than what can be owed comes of another clock, such as a test's, and
// counts for nothing.
func (p *Pacer) owed() time.Duration {
	owed := time.Until(p.paid)
	if owed > p.most() || owed < -memory {
		p.failing, p.paid, owed = false, time.Time{}, 0
	}
	return max(owed, 0)
}

// most is what can be owed. Many operations that were under way when the first
// of them failed owe no more than a burst: the next may begin after Every.
func (p *Pacer) most() time.Duration { return time.Duration(p.Burst) * Every }

// fail needs mu.
func (p *Pacer) fail() {
	p.owe(Every)
	p.failing = true
}

// owe needs mu.
func (p *Pacer) owe(more time.Duration) {
	p.paid = time.Now().Add(min(p.owed()+more, p.most()))
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
	return p.owed() == 0 && !p.failing && p.underWay == 0
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
