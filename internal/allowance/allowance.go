// Package allowance bounds how often something that keeps going wrong is done.
package allowance

import (
	"context"
	"sync"
	"time"
)

// Allowance is for Burst operations at once, and one more each Every after
// that: in a time w no more than Burst + w/Every. Only what goes wrong counts,
// since whoever takes gives back where it went right. It runs on the monotonic
// clock, so setting the wall clock does not touch it.
//
// Its methods are safe for concurrent use. Burst and Every are not changed
// after the first use.
type Allowance struct {
	Burst int
	Every time.Duration

	mu    sync.Mutex
	whole time.Time // when nothing will be owed; guarded by mu
}

// Take waits until an operation is allowed, or until ctx ends, with ctx's
// cause as the error. What was taken counts until giveBack is called.
func (a *Allowance) Take(ctx context.Context) (giveBack func(), err error) {
	a.mu.Lock()
	now := time.Now()
	if a.whole.Before(now) {
		a.whole = now
	}
	a.whole = a.whole.Add(a.Every)
	pause := a.whole.Sub(now) - time.Duration(a.Burst)*a.Every
	a.mu.Unlock()

	var once sync.Once
	giveBack = func() {
		once.Do(func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.whole = a.whole.Add(-a.Every)
		})
	}
	if pause <= 0 {
		return giveBack, nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return giveBack, nil
	case <-ctx.Done():
		giveBack()
		return nil, context.Cause(ctx)
	}
}

// Begin is Take for those who know at the end how it went: what ends without a
// fault is given back.
func (a *Allowance) Begin(ctx context.Context) (end func(fault bool), err error) {
	giveBack, err := a.Take(ctx)
	return func(fault bool) {
		if !fault {
			giveBack()
		}
	}, err
}

// Spend counts an operation that was given back, or never taken, and went wrong
// after all.
func (a *Allowance) Spend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); a.whole.Before(now) {
		a.whole = now
	}
	a.whole = a.whole.Add(a.Every)
}
