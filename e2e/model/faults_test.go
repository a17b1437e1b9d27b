//go:build go1.25

package model

import (
	"cmp"
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

// server is what STS and the exchange endpoint have in common. What it is asked
// it keeps.
type server struct {
	w     *world
	name  string
	apart bool   // its client runs on a goroutine that another waits for
	party string // whose tokens it may see, as [subject.party]

	mu       sync.Mutex // guards what follows
	fault    fault
	since    time.Duration // of the world: when it became so
	latency  time.Duration
	requests []*request
}

// request is what a server was asked.
type request struct {
	role         string        // that it is for, "" if that is not known
	began, ended time.Duration // of the world; ended is 0 until then
	outcome      outcome
}

type outcome int

const (
	faulted outcome = iota // also where it has not ended
	refused
	lapsed // it is not known how it counts
	served
)

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

// takes is how long a request takes where nothing is wrong, and ok whether that
// has been so for a while.
func (s *server) takes() (d time.Duration, ok bool) {
	switch f, since := s.is(); f {
	case healthy:
		return s.latency, since > 30*time.Second
	case slow:
		return slowness, since > 30*time.Second
	}
	return 0, false
}

const slowness = 2 * time.Second

// meet is what a request meets before it is answered. The fault that it returns
// is for the answer to show.
func (s *server) meet(ctx context.Context, role, raw string) (*request, fault, error) {
	r := &request{role: role, began: s.w.elapsed()}
	s.mu.Lock()
	f, latency := s.fault, s.latency
	s.requests = append(s.requests, r)
	s.mu.Unlock()
	if f == slow {
		latency = slowness
	}
	defer s.end(r, faulted) // also by a panic; who answers knows better
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-ctx.Done():
			return r, f, ctx.Err()
		}
	}
	switch f {
	case hangs:
		<-ctx.Done()
		return r, f, ctx.Err()
	case hangsForGood:
		if s.apart {
			s.w.stick(s.name, 2)
		} else {
			s.w.stick(s.name, 1)
		}
		return r, f, errors.New("it was given up")
	case resets:
		return r, f, errors.New("connection reset by peer")
	case panics:
		panic("a panic with " + raw)
	case exits:
		runtime.Goexit()
	}
	return r, f, nil
}

// end takes note of what became of r.
func (s *server) end(r *request, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ended, r.outcome = s.w.elapsed(), o
}

// begun returns the requests so far, in the order in which they began.
func (s *server) begun() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]request, len(s.requests))
	for i, r := range s.requests {
		all[i] = *r
	}
	return all
}

// outlast waits until the last refusal is older than d: for so long it is given
// again by design, whatever the token is where it was about the request.
func (s *server) outlast(d time.Duration) {
	last := -d
	for _, r := range s.begun() {
		if r.outcome == refused {
			last = max(last, r.ended)
		}
	}
	time.Sleep(last + d - s.w.elapsed())
}

// checkFaults is what is promised of an endpoint, whoever in the process asks it:
// while nothing but faults comes from it, at most three requests begin, and two
// more a second. A fault counts for a minute.
func (s *server) checkFaults() {
	all := s.begun()
	ends := slices.DeleteFunc(slices.Clone(all), func(r request) bool { return r.ended == 0 })
	slices.SortStableFunc(ends, func(a, b request) int { return cmp.Compare(a.ended, b.ended) })
	paced := bucket{most: 3}
	failing, since := false, time.Duration(0)
	for _, r := range all {
		// What ends as r begins may have done so before or after.
		for len(ends) > 0 && (ends[0].ended < r.began || ends[0].ended == r.began && ends[0].outcome != faulted) {
			failing, since = ends[0].outcome == faulted, ends[0].ended
			if !failing {
				paced.level = 0
			}
			ends = ends[1:]
		}
		if failing && r.began-since < time.Minute && !paced.add(r.began) {
			s.w.problem("%s: more requests than 3 and 2 a second after a fault, the last at %s", s.name, r.began)
			return
		}
	}
}

// checkRefusals is what is promised of a provider: that STS, or the exchange
// before it, refuses at most four of its operations, and two more a second. Each
// counts by itself, since both may refuse one.
func (s *server) checkRefusals(provider string) {
	paced := bucket{most: 4}
	for _, r := range s.begun() {
		if r.outcome == refused && r.role == provider && !paced.add(r.began) {
			s.w.problem("%s: more refused operations of %s than 4 and 2 a second, the last at %s", s.name, provider, r.began)
			return
		}
	}
}

func (s *subject) checkPace() {
	if s.source == nil { // its provider is not of vercelaws
		return
	}
	s.sts.checkFaults()
	s.sts.checkRefusals(s.name)
	if s.exchange != nil {
		s.exchange.checkFaults()
		s.exchange.checkRefusals(s.name)
	}
}

// bucket counts what is at most so many, and two more a second.
type bucket struct {
	most  float64
	level float64
	last  time.Duration
}

// add reports whether one more is within the bound.
func (b *bucket) add(at time.Duration) bool {
	b.level = max(0, b.level-2*(at-b.last).Seconds()) + 1
	b.last = at
	return b.level <= b.most+1e-6
}
