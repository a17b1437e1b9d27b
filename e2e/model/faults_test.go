//go:build go1.25

package model

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"
)

// fault is what goes wrong at a server, on the way to it or in its client.
type fault int

const (
	healthy fault = iota
	slow          // takes two seconds
	unavailable
	throttles
	hangs
	resets
	answersGarbage
	refuses   // access denied, whatever the token is
	badPolicy // refuses what comes with the token
	echoes    // refuses, with the token in its message
	expiredOnArrival
	empty
	hangsForGood // and does not heed its context
	panics
	exits // ends the goroutine
)

const faults = int(exits) + 1

func (f fault) String() string {
	return [...]string{"healthy", "slow", "503", "throttling", "hanging", "reset", "garbage", "refusing", "bad policy", "echoing the token", "expired on arrival", "empty", "hanging for good", "panicking", "exiting"}[f]
}

// answers reports whether there is an answer that says yes or no.
func (f fault) answers() bool {
	switch f {
	case healthy, slow, refuses, badPolicy, echoes:
		return true
	}
	return false
}

// server is what STS and the exchange endpoint have in common. What it is asked
// it keeps.
type server struct {
	w     *world
	name  string
	apart bool // its client runs on a goroutine that another waits for

	mu      sync.Mutex // guards what follows
	fault   fault
	since   time.Duration // of the world: when it became so
	latency time.Duration
	refused []time.Duration // of the world: when it said no
	faulted []time.Duration // when it was asked and did not answer as it should
}

func (s *server) set(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f != s.fault {
		s.fault, s.since = f, s.w.elapsed()
	}
}

// is returns the fault, and for how long it has been there.
func (s *server) is() (fault, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault, s.w.elapsed() - s.since
}

// meet is what a request meets before it is answered. The fault that it returns
// is for the answer to show.
func (s *server) meet(ctx context.Context, raw string) (fault, error) {
	s.mu.Lock()
	f, latency := s.fault, s.latency
	s.mu.Unlock()
	if f == slow {
		latency = 2 * time.Second
	}
	began := s.w.elapsed()
	answered := false
	defer func() {
		if !answered { // also by a panic
			s.note(&s.faulted, began)
		}
	}()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-ctx.Done():
			return f, ctx.Err()
		}
	}
	switch f {
	case hangs:
		<-ctx.Done()
		return f, ctx.Err()
	case hangsForGood:
		if s.apart {
			s.w.stick(s.name, 2)
		} else {
			s.w.stick(s.name, 1)
		}
		return f, errors.New("it was given up")
	case resets:
		return f, errors.New("connection reset by peer")
	case panics:
		panic("a panic with " + raw)
	case exits:
		runtime.Goexit()
	}
	answered = f.answers()
	return f, nil
}

func (s *server) note(list *[]time.Duration, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, at)
}

// outlast waits until the last refusal is older than d: for so long it is given
// again by design, whatever the token is where it was about the request.
func (s *server) outlast(d time.Duration) {
	s.mu.Lock()
	refused := -d
	if len(s.refused) > 0 {
		refused = slices.Max(s.refused)
	}
	s.mu.Unlock()
	time.Sleep(refused + d - s.w.elapsed())
}

// checkPace is what is promised of a provider's refused and faulted requests.
func (s *server) checkPace() {
	s.mu.Lock()
	refused, faulted := slices.Sorted(slices.Values(s.refused)), slices.Sorted(slices.Values(s.faulted)) // what hung is noted late
	s.mu.Unlock()
	if n, over := most(refused, 4*time.Second); n > 4+2*4+1 {
		s.w.problem("%s: %d refused operations in %s", s.name, n, over)
	}
	if n, over := most(faulted, time.Second); n > 5 {
		s.w.problem("%s: %d faulted requests in %s", s.name, n, over)
	}
}
