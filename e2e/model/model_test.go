//go:build go1.25

package model

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"pgregory.net/rapid"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.seed": "1"} { // the command line has the last word
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	for k, v := range map[string]string{"VERCEL": "1", "VERCEL_ENV": "production", "VERCEL_TARGET_ENV": "", "VERCEL_OIDC_TOKEN_FILE": ""} {
		_ = os.Setenv(k, v)
	}
	os.Exit(m.Run())
}

// history is what happens in one process. It is drawn as a whole before it is
// played, so that a failure shrinks to a short one.
type history struct {
	Life, TokenLife time.Duration
	SDK             bool // how provider a reaches STS; b does it the other way
	KnownProject    bool
	Environment     tokenKind     // VERCEL_OIDC_TOKEN
	ExchangedLife   time.Duration // 0: that of the source token
	Uncached        bool          // whether exchanged tokens must not be kept
	SourceFirst     bool          // whether a user's own source comes before the default ones
	Steps           []step
}

// String is a history as a failure shows it.
func (h history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "credentials of %s, tokens of %s, SDK %t, project known %t, environment %s, exchanged tokens of %s, uncached %t, own source first %t", h.Life, h.TokenLife, h.SDK, h.KnownProject, h.Environment, h.ExchangedLife, h.Uncached, h.SourceFirst)
	for _, s := range h.Steps {
		fmt.Fprintf(&b, "\n  %s", s)
	}
	return b.String()
}

type action int

const (
	ask action = iota // some callers at once, whose end is not waited for
	keepAsking
	sleep
	breakSTS
	breakExchange
	breakSource
	breakHandler
	mend
	invalidate
	rejection
	hear // of a service, through the middleware
	flood
	crowd
	jump
	setRight
)

// step is one thing that happens. What the fields mean depends on the action.
type step struct {
	Action action
	Who    int // the subject
	N      int
	Token  tokenKind
	Limit  time.Duration // of a caller's context; 0: none
	For    time.Duration
	Fault  fault
	Mode   trouble
}

func (s step) String() string {
	who := string(rune('a' + s.Who))
	switch s.Action {
	case ask:
		return fmt.Sprintf("%d ask %s, token %s, limit %s", s.N, who, s.Token, s.Limit)
	case keepAsking:
		return fmt.Sprintf("%s is asked %d times in %s, token %s, limit %s", who, s.N, s.For, s.Token, s.Limit)
	case sleep:
		return "nobody asks for " + s.For.String()
	case breakSTS:
		return fmt.Sprintf("STS of %s is %s", who, s.Fault)
	case breakExchange:
		return fmt.Sprintf("exchange of %s is %s", who, s.Fault)
	case breakSource:
		return fmt.Sprintf("%s of %s is %s", []string{"source", "step"}[s.N], who, s.Mode)
	case breakHandler:
		return fmt.Sprintf("handlers of %s are %s", who, s.Mode)
	case mend:
		return "all is mended"
	case invalidate:
		return "Invalidate " + who
	case rejection:
		return who + " has its credentials rejected"
	case hear:
		return fmt.Sprintf("a client of %s hears %q, %q, token %s, limit %s", who, words[s.N].code, words[s.N].message, s.Token, s.Limit)
	case flood:
		return fmt.Sprintf("%d forged tokens a second come with a good one, cold, like %s", s.N, who)
	case crowd:
		return fmt.Sprintf("%d %s ask at once, like %s, token %s", s.N, []string{"providers", "callers of the exchange"}[s.Mode], who, s.Token)
	case jump:
		return "clock is set to " + s.For.String()
	case setRight:
		return "clock is set right"
	}
	return "?"
}

func drawStep(t *rapid.T) step {
	weighted := []action{
		ask, ask, ask, ask, keepAsking, keepAsking, keepAsking, sleep, sleep, sleep, breakSTS, breakSTS, breakSTS,
		breakExchange, breakExchange, breakSource, breakHandler, mend, invalidate, invalidate, rejection, rejection, hear, hear,
	}
	if canJump {
		weighted = append(weighted, jump, jump, jump, setRight, setRight)
	}
	s := step{Action: rapid.SampledFrom(weighted).Draw(t, "action")}
	who := rapid.IntRange(0, 5)
	token := rapid.SampledFrom([]tokenKind{good, good, good, fresh, forged, recurring, foreign, preview, expired, explicit, rejected, garbage, missing, background})
	callerLimit := rapid.SampledFrom([]time.Duration{0, 600 * time.Millisecond, time.Second, 30 * time.Second, 100 * time.Millisecond})
	switch s.Action {
	case ask:
		s.Who, s.N, s.Token, s.Limit = who.Draw(t, "who"), rapid.SampledFrom([]int{1, 1, 2, 5}).Draw(t, "callers"), token.Draw(t, "token"), callerLimit.Draw(t, "limit")
		if rapid.IntRange(0, 49).Draw(t, "flood") == 49 {
			s.Action, s.N = flood, rapid.SampledFrom([]int{5, 20, 50}).Draw(t, "rate")
			s.Who = rapid.SampledFrom([]int{0, 3}).Draw(t, "like")
		} else if rapid.IntRange(0, 29).Draw(t, "crowd") == 29 {
			s.Action, s.N = crowd, 20
			s.Who = rapid.SampledFrom([]int{0, 1, 3, 3, 4, 5}).Draw(t, "like")
			s.Token = rapid.SampledFrom([]tokenKind{fresh, explicit, forged}).Draw(t, "tokens")
			if s.Token == explicit { // which are not remembered, so that what follows is no slower
				s.N = 100
			}
			if s.Who == 3 || s.Who == 5 {
				s.Mode = trouble(rapid.IntRange(0, 1).Draw(t, "exchange alone"))
			}
		}
	case keepAsking:
		s.Who, s.N, s.Token, s.Limit = who.Draw(t, "who"), rapid.SampledFrom([]int{3, 10, 25}).Draw(t, "times"), token.Draw(t, "token"), callerLimit.Draw(t, "limit")
		s.For = rapid.SampledFrom([]time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 5 * time.Minute, time.Hour}).Draw(t, "for")
	case sleep:
		s.For = rapid.SampledFrom([]time.Duration{0, time.Millisecond, 300 * time.Millisecond, time.Second, 9 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 13 * time.Minute, 14*time.Minute + 30*time.Second, 45 * time.Minute, 59*time.Minute + 10*time.Second, 2 * time.Hour}).Draw(t, "for")
	case breakSTS:
		s.Who, s.Fault = who.Draw(t, "who"), fault(rapid.IntRange(0, faults-1).Draw(t, "fault"))
	case breakExchange:
		s.Who, s.Fault = rapid.SampledFrom([]int{3, 5}).Draw(t, "who"), fault(rapid.IntRange(0, faults-1).Draw(t, "fault"))
	case breakSource:
		s.Who, s.Mode = rapid.SampledFrom([]int{0, 1, 3, 4, 5}).Draw(t, "who"), trouble(rapid.IntRange(0, troubles-1).Draw(t, "mode"))
		s.N = rapid.IntRange(0, 1).Draw(t, "step")
	case breakHandler:
		s.Who, s.Mode = who.Draw(t, "who"), trouble(rapid.IntRange(0, troubles-1).Draw(t, "mode"))
	case invalidate, rejection:
		s.Who = who.Draw(t, "who")
		s.N = rapid.IntRange(0, 3).Draw(t, "which") // 0: a key that is not known
	case hear:
		s.Who, s.N, s.Token, s.Limit = who.Draw(t, "who"), rapid.IntRange(0, len(words)-1).Draw(t, "words"), token.Draw(t, "token"), callerLimit.Draw(t, "limit")
	case jump:
		s.For = rapid.SampledFrom([]time.Duration{time.Minute, -time.Minute, 14 * time.Minute, -14 * time.Minute, 50 * time.Minute, -50 * time.Minute, 2 * time.Hour, -2 * time.Hour, 24 * time.Hour}).Draw(t, "to")
	}
	return s
}

func drawHistory(t *rapid.T) history {
	return history{
		Life:          rapid.SampledFrom([]time.Duration{15 * time.Minute, time.Hour, 12 * time.Hour}).Draw(t, "life"),
		TokenLife:     rapid.SampledFrom([]time.Duration{2 * time.Hour, 40 * time.Minute}).Draw(t, "token life"),
		SDK:           rapid.Bool().Draw(t, "SDK"),
		KnownProject:  rapid.Bool().Draw(t, "project known"),
		Environment:   rapid.SampledFrom([]tokenKind{missing, good, forged, expired}).Draw(t, "environment"),
		ExchangedLife: rapid.SampledFrom([]time.Duration{0, 20 * time.Minute}).Draw(t, "exchanged life"),
		Uncached:      rapid.Bool().Draw(t, "uncached"),
		SourceFirst:   rapid.Bool().Draw(t, "own source first"),
		Steps: slices.Concat( // nine on average, two for each subject
			rapid.SliceOfN(rapid.Custom(drawStep), 1, 30).Draw(t, "steps"),
			rapid.SliceOfN(rapid.Custom(drawStep), 0, 6).Draw(t, "more steps")),
	}
}

func TestHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		if problems := play(t, h); len(problems) > 0 {
			rt.Fatalf("%s\n\n%s", h, strings.Join(problems, "\n"))
		}
	})
}

// play plays a history under fake time. A goroutine that is left in the end is
// a problem too: synctest.Test panics.
func play(t *testing.T, h history) (problems []string) {
	defer func() {
		if v := recover(); v != nil {
			problems = append(problems, fmt.Sprint(v))
		}
	}()
	setOffset(0)
	synctest.Test(t, func(*testing.T) {
		w := newWorld(h)
		w.play(h.Steps)
		problems = w.problems
	})
	return problems
}

func (w *world) play(steps []step) {
	goroutines := runtime.NumGoroutine()
	for _, s := range steps {
		w.do(s)
		synctest.Wait()
		w.check(s.Action == sleep && s.For > limit, goroutines)
		if len(w.problems) > 0 {
			break
		}
	}
	if len(w.problems) == 0 {
		w.end()
		w.check(true, goroutines)
	}
	w.mend()
	time.Sleep(time.Minute) // so that what still runs ends
}

// end mends all, and sees that all is as it was in the beginning: a request
// with a new token gets credentials.
func (w *world) end() {
	w.setClock(0)
	w.mend()
	time.Sleep(15 * time.Second)
	for _, s := range w.subjects {
		s.recovers("in the end", 2*time.Second)
	}
	time.Sleep(2*limit + time.Second) // a refresh may have begun
}

// recovers has a request with a new token ask.
func (s *subject) recovers(when string, most time.Duration) {
	start := s.w.elapsed()
	if _, err := s.retrieve(s.context(fresh)); err != nil {
		s.w.problem("%s: no credentials %s: %v", s.name, when, err)
	}
	if took := s.w.elapsed() - start; took > most {
		s.w.problem("%s: credentials %s after %s", s.name, when, took)
	}
}

func (w *world) mend() {
	for _, s := range w.subjects {
		s.sts.set(healthy)
		if s.exchange != nil {
			s.exchange.set(healthy)
		}
		s.handler.set(none)
		if s.source != nil {
			s.source.set(none, false)
		}
	}
	w.release()
}

func (w *world) do(s step) {
	who := w.subjects[s.Who]
	switch s.Action {
	case ask:
		for range s.N {
			go w.call(who, s)
		}
	case keepAsking:
		for range s.N {
			go w.call(who, s)
			time.Sleep(s.For / time.Duration(s.N))
		}
	case sleep:
		time.Sleep(s.For)
	case breakSTS:
		who.sts.set(s.Fault)
	case breakExchange:
		who.exchange.set(s.Fault)
	case breakSource:
		who.source.set(s.Mode, s.N == 1)
	case breakHandler:
		who.handler.set(s.Mode)
	case mend:
		w.mend()
	case invalidate:
		who.invalidate()
	case rejection:
		w.mu.Lock()
		key := who.held
		w.mu.Unlock()
		if s.N == 0 {
			key = "ASIAUNKNOWN"
		}
		start := w.elapsed()
		refresh.ReportRejected(who.context(s.Token), who.cache, key)
		who.credentialsRejected()
		if w.elapsed() != start {
			w.problem("%s: ReportRejected took %s", who.name, w.elapsed()-start)
		}
	case hear:
		ctx, cancel := who.limited(s)
		defer cancel()
		who.hear(ctx, s.N)
	case flood:
		if offset() == 0 { // good tokens may look expired to a wrong clock
			w.flood(s.N, who.exchange != nil)
		}
	case crowd:
		w.crowd(who, s)
	case jump:
		w.setClock(s.For)
	case setRight:
		if offset() != 0 {
			w.setClock(0)
			w.checkSetRight()
		}
	}
}

func (w *world) setClock(ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set = w.elapsed()
	setOffset(ahead)
}

// checkSetRight is what is promised where nothing but the clock was wrong.
func (w *world) checkSetRight() {
	for _, s := range w.subjects {
		w.mu.Lock()
		idle := s.calls == 0 && w.elapsed()-s.left > limit && len(w.stuck[s.name]) == 0
		if s.exchange != nil {
			idle = idle && len(w.stuck[s.exchange.name]) == 0
		}
		w.mu.Unlock()
		if f, _ := s.sts.is(); s.source == nil || f != healthy || !idle {
			continue
		}
		if s.exchange != nil {
			// A request that hung before it was mended holds up whoever joins the
			// fetch: its attempts have three seconds each, with no caller too.
			if f, d := s.exchange.is(); f != healthy || d <= limit {
				continue
			}
		}
		s.source.mu.Lock()
		mode := s.source.mode
		s.source.mu.Unlock()
		if mode != none {
			continue
		}
		s.sts.outlast(time.Second)
		w.mu.Lock()
		left := w.elapsed()-s.left <= limit
		w.mu.Unlock()
		if left {
			// Callers have left a fetch that may be about to end. If refused tokens
			// have used up its turns, whoever joins it in the last half second
			// shares its failure: it cannot ask again within their ten seconds. The
			// next one is not to.
			start := w.elapsed()
			_, err := s.retrieve(s.context(fresh))
			if took := w.elapsed() - start; took > 2*time.Second || err != nil && took > time.Second/2 {
				w.problem("%s: after %s of a clock that was set right: %v", s.name, took, err)
			}
		}
		s.recovers("after the clock was set right", 2*time.Second)
	}
}

func (w *world) call(who *subject, s step) {
	ctx, cancel := who.limited(s)
	defer cancel()
	_, _ = who.retrieve(ctx)
}

// limited is the context of a step.
func (who *subject) limited(s step) (context.Context, context.CancelFunc) {
	if s.Limit > 0 {
		return context.WithTimeout(who.context(s.Token), s.Limit)
	}
	return context.WithCancel(who.context(s.Token))
}

// flood is a cold start under a flood of forged tokens, each new, among which a
// good one comes twice a second.
func (w *world) flood(rate int, exchanged bool) {
	const latency = 50 * time.Millisecond
	name := fmt.Sprintf("flooded%d", len(w.subjects))
	var s *subject
	if exchanged {
		s = w.exchanging(name, time.Hour, false, 0, false)
		s.exchange.latency = latency
	} else {
		s = w.provider(name, time.Hour, false)
	}
	s.sts.latency = latency
	w.token(fresh)
	var wg sync.WaitGroup
	var got aws.Credentials
	start := w.elapsed()
	for n := 0; w.elapsed()-start < 5*time.Second; n++ {
		kind := forged
		if n%max(rate/2, 1) == 1 {
			kind = good
		}
		wg.Go(func() {
			creds, err := s.retrieve(s.context(kind))
			w.mu.Lock()
			defer w.mu.Unlock()
			if kind == good && err == nil {
				got = creds
			}
		})
		time.Sleep(time.Second / time.Duration(rate))
		if w.mu.Lock(); got.HasKeys() {
			w.mu.Unlock()
			break
		}
		w.mu.Unlock()
	}
	w.mu.Lock()
	missed := !got.HasKeys()
	w.mu.Unlock()
	if missed {
		w.problem("no credentials in 5 s under a flood of %d forged tokens a second", rate)
	}
	wg.Wait()
}

// crowd has many providers, or callers of an exchange, ask at once, each with a
// token of its own and at the endpoints of who. Where those are well, none is to
// wait for another.
func (w *world) crowd(who *subject, s step) {
	if f, _ := who.sts.is(); f == hangsForGood {
		return
	}
	takes, well := who.sts.takes()
	source := oidc.DefaultSource()
	if who.exchange != nil {
		if f, _ := who.exchange.is(); f == hangsForGood {
			return
		}
		source = who.exchange.source(source, "a crowd")
		d, ok := who.exchange.takes()
		takes, well = takes+d, well && ok
		if s.Mode == 1 {
			takes, well = d, ok
		}
	}
	well = well && s.Token != forged && offset() == 0
	start := w.elapsed()
	var wg sync.WaitGroup
	for range s.N {
		if s.Token == explicit {
			w.renew()
		}
		ctx := who.context(s.Token)
		wg.Go(func() {
			var err error
			if s.Mode == 1 {
				_, err = source.Token(ctx)
			} else {
				_, err = vercelaws.NewProvider(roleARN("crowd"), func(o *vercelaws.Options) {
					o.Client, o.TokenSource = who.sts.client, source
				}).Retrieve(ctx)
			}
			took := w.elapsed() - start
			switch {
			case took > limit:
				w.problem("%s: one of a crowd waited %s", who.name, took)
			case well && (err != nil || took > takes):
				w.problem("%s: one of a healthy crowd waited %s: %v", who.name, took, err)
			}
		})
	}
	wg.Wait()
	time.Sleep(limit) // so that what the crowd has left returns
}
