// Package pace bounds how often operations begin while they keep failing. While they
// succeed, none waits.
package pace

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"
)

const (
	// Every is the time between two operations that keep failing, after the burst.
	Every = time.Second / 2

	// memory is how long after the last failure operations count as failing.
	memory = time.Minute
)

// Pacer counts operations that fail. Until one has failed, none waits. From then
// until [Pacer.Clear], or until none has failed for a minute, no more than
// Burst + w/Every operations begin in a time w.
//
// Each failure adds the time Every to what is owed, which passing time pays off.
// While operations fail, Every is added when one begins, since it may hang before
// it fails. It is taken off again if the operation does not fail.
//
// The Pacer uses the monotonic clock, so setting the wall clock has no effect. Its
// methods are safe for concurrent use. Burst must not be changed after the first
// use.
type Pacer struct {
	Burst int

	mu       sync.Mutex    // guards what follows
	failing  bool          // an operation has failed in the last minute, and Clear was not called since
	paid     time.Time     // when nothing will be owed
	underWay int           // operations that have not ended, and were not counted when they began
	waiting  []int         // how often each of those who wait has failed
	changed  chan struct{} // closed when waiting callers should look again; nil if there are none
}

// Begin waits until an operation may begin. If ctx ends before, the error is its
// cause. Failures is how often the caller has failed in a row: who has failed less
// often goes first, so that callers who always fail do not keep others out. Each
// second of waiting counts as a failure, so that many who come at once, and fail, do
// not keep out who comes after them.
//
// The caller calls end when the operation has ended, and says whether it failed. An
// operation that panics or never returns has failed. Further calls of end have no
// effect.
func (p *Pacer) Begin(ctx context.Context, failures int) (end func(failed bool), err error) {
	if err := p.waitAndLock(ctx, failures); err != nil {
		return nil, err
	}
	defer p.mu.Unlock()
	counted := p.failing
	if counted {
		p.owe(Every)
		p.wake() // others may have let this one go first
	} else {
		p.underWay++
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
			p.owe(max(Every-p.owed(), 0)) // what was added at its beginning may have been paid off
		default:
			p.paid = p.paid.Add(-Every)
		}
		ended = true
		p.wake()
	}, nil
}

// Wait waits until an operation may begin, and begins none.
func (p *Pacer) Wait(ctx context.Context) error {
	err := p.waitAndLock(ctx, 0)
	if err == nil {
		p.mu.Unlock()
	}
	return err
}

// Clear is called when an operation has succeeded. Nothing is owed then.
func (p *Pacer) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing, p.paid = false, time.Time{}
	p.wake()
}

// waitAndLock waits until an operation may begin, and nobody waits who has failed
// less often. It returns with mu locked, unless ctx ends before: then it returns
// ctx's cause.
func (p *Pacer) waitAndLock(ctx context.Context, failed int) error {
	began := time.Now()
	p.mu.Lock()
	for {
		failures := failed + int(time.Since(began)/time.Second)
		pause := p.pause()
		if first := slices.IndexFunc(p.waiting, func(other int) bool { return other < failures }) < 0; pause <= 0 && first {
			return nil
		}
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.waiting = append(p.waiting, failures)
		p.mu.Unlock()
		var err error
		select {
		case <-time.After(max(pause, Every/100)):
		case <-changed:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		p.mu.Lock()
		at := slices.Index(p.waiting, failures)
		p.waiting = slices.Delete(p.waiting, at, at+1)
		if err != nil {
			p.mu.Unlock()
			return err
		}
	}
}

// pause needs mu. It returns how long the next operation has to wait. While something
// is owed, the operations under way count as owed too, since they are likely to
// fail.
func (p *Pacer) pause() time.Duration {
	owed := p.owed()
	room := p.most() - owed - Every
	return max(-room, min(owed, time.Duration(p.underWay)*Every-room))
}

// owed needs mu. It returns the time until nothing is owed. If that is more than can
// be owed, the date comes from another clock, such as a test's, and is ignored.
func (p *Pacer) owed() time.Duration {
	owed := time.Until(p.paid)
	if owed > p.most() || owed < -memory {
		p.failing, p.paid, owed = false, time.Time{}, 0
	}
	return max(owed, 0)
}

// most returns the most that can be owed: a burst. So if many operations that were
// under way together fail, the next may still begin after Every.
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

// wake needs mu. It makes the waiting callers look again.
func (p *Pacer) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// idle reports whether p is in the state of a new Pacer.
func (p *Pacer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.owed() == 0 && !p.failing && p.underWay == 0
}

// FaultBurst is the Burst of the pacers of endpoints.
const FaultBurst = 3

// ofEndpoints holds the pacers that [Of] has returned.
var ofEndpoints = struct {
	sync.Mutex
	pacers map[any]*shared
}{pacers: map[any]*shared{}}

type shared struct {
	Pacer
	asked time.Time // when Of last returned it
}

// Of returns the pacer of an endpoint's faults. All callers in the process who give
// the same key share it. Key is the endpoint's address, or the user's client that
// calls it. For a key that cannot be compared, the pacer is a new one.
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

// forgetIdle needs the lock of ofEndpoints. It bounds the memory for a program that
// makes new clients all the time. A pacer that was returned less than a minute ago
// stays, since the caller may not have begun to use it.
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
	select {
	case <-time.After(whole/2 + rand.N(whole)):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
