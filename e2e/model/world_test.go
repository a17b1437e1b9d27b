//go:build go1.25

package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

const limit = 10 * time.Second // of every call

// world is one process, with what it talks to.
type world struct {
	start        time.Time // of the history; STS's clock goes by it
	tokenLife    time.Duration
	sourceFirst  bool // whether a user's own source is asked before the default ones
	knownProject bool // whether VERCEL_PROJECT_ID is set
	subjects     []*subject
	released     chan struct{} // closed when what hangs for good may return

	mu        sync.Mutex        // guards what follows
	tokens    map[string]minted // by JWT
	recurs    map[string]string // see again
	set       time.Duration     // when the clock was set last
	forgeries [2]string
	turn      int
	secrets   []string
	said      []string                   // errors, records and events
	stuck     map[string][]time.Duration // by whose code hangs for good, since when
	hung      int                        // goroutines that this keeps
	handlers  int                        // goroutines of handlers that run
	problems  []string
}

// subject is a cache under test, and what is known of it.
type subject struct {
	w        *world
	name     string
	cache    *aws.CredentialsCache
	party    string // the project whose tokens it is given; "": it serves requests of the deployment
	sts      *stsServer
	source   *fakeSource   // nil: it has no token source
	exchange *fakeExchange // nil: tokens are not exchanged
	handler  *fakeHandler
	service  *service      // nil: not yet asked
	lasts    time.Duration // what a call began, beyond its end

	calls     int                 // in flight; guarded by w.mu like what follows
	asked     time.Duration       // when someone asked last, be it a handler
	fetches   int                 // that have begun, or gone on to another token
	rejection time.Duration       // when a service last rejected credentials
	left      time.Duration       // when a caller left last, whose fetch may go on
	era       int                 // number of Invalidates
	held      string              // the key that callers got last in this era
	seen      map[string]bool     // keys that callers got
	stale     map[string]struct{} // keys that an Invalidate has ended
}

func newWorld(h history) *world {
	requestLeaf().Request.Recent().Forget(func(string) bool { return true }) // it is one for the process
	w := &world{
		start: time.Now(), set: -time.Hour, tokenLife: h.TokenLife, sourceFirst: h.SourceFirst, knownProject: h.KnownProject, released: make(chan struct{}),
		tokens: map[string]minted{}, recurs: map[string]string{}, stuck: map[string][]time.Duration{},
	}
	_ = os.Setenv("VERCEL_PROJECT_ID", "")
	if h.KnownProject {
		_ = os.Setenv("VERCEL_PROJECT_ID", project)
	}
	_ = os.Setenv("VERCEL_OIDC_TOKEN", "")
	if h.Environment != missing && h.Environment != background {
		_ = os.Setenv("VERCEL_OIDC_TOKEN", w.token(h.Environment))
	}
	first := w.provider("a", h.Life, h.SDK)
	w.provider("b", h.Life, !h.SDK)
	w.chained("c", first, h.Life)
	w.exchanging("d", h.Life, h.SDK, h.ExchangedLife, h.Uncached)
	w.party(w.provider("e", h.Life, h.SDK))
	w.party(w.exchanging("f", h.Life, !h.SDK, h.ExchangedLife, h.Uncached))
	return w
}

// requestLeaf is oidc.FromRequest as a provider sees it.
func requestLeaf() leaf.Leaf[oidc.Token] {
	return oidc.FromRequest().(interface {
		Leaves(leaf.Seal) []leaf.Leaf[oidc.Token]
	}).Leaves(leaf.Seal{})[0]
}

func (w *world) provider(name string, life time.Duration, sdk bool) *subject {
	s := w.subject(name, life, sdk)
	s.source = &fakeSource{s: s}
	s.assume(s.source.tokens())
	return s
}

// party has s act for another party, by tokens that the program chooses.
func (w *world) party(s *subject) {
	s.party = "prj_of_" + s.name
	s.sts.party = s.party
	if s.exchange != nil {
		s.exchange.party = s.party
	}
}

func (s *subject) assume(source oidc.TokenSource) {
	s.cache = vercelaws.NewProvider(roleARN(s.name), func(o *vercelaws.Options) {
		o.Client, o.TokenSource = s.sts.client, source
		o.OnEvent, o.Logger = s.handler.event, slog.New(s.handler)
	})
}

func roleARN(name string) string { return "arn:aws:iam::123456789012:role/" + name }

// exchanging is a provider as Options.Audience makes it, whose role admits
// exchanged tokens alone.
func (w *world) exchanging(name string, life time.Duration, sdk bool, tokenLife time.Duration, uncached bool) *subject {
	s := w.subject(name, life, sdk)
	s.source = &fakeSource{s: s}
	s.sts.audience = exchangeAudience
	s.exchange = w.newExchange(name, tokenLife, uncached)
	// An exchange ends with none of its callers, and the last that a call has
	// begun may take as long as a call.
	s.lasts = 2 * limit
	s.assume(s.exchange.source(s.source.tokens(), name))
	return s
}

// chained is a second role, which is assumed with the first's credentials.
func (w *world) chained(name string, first *subject, life time.Duration) {
	s := w.subject(name, life, false)
	s.cache = refresh.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		s.fetch()
		if _, err := first.retrieve(ctx); err != nil {
			return aws.Credentials{}, err
		}
		a, err := s.sts.ask(ctx, roleARN(name), "")
		switch {
		case err != nil:
			return aws.Credentials{}, err
		case a.code != "" || a.garbage:
			return aws.Credentials{}, errors.New("STS says " + a.code)
		}
		return aws.Credentials{
			AccessKeyID: aws.ToString(a.creds.AccessKeyId), SecretAccessKey: aws.ToString(a.creds.SecretAccessKey), SessionToken: aws.ToString(a.creds.SessionToken),
			CanExpire: true, Expires: aws.ToTime(a.creds.Expiration),
		}, nil
	}), func(o *refresh.Options) {
		o.Carry = oidc.Detach
		o.OnEvent, o.Logger = s.handler.event, slog.New(s.handler)
	})
}

func (w *world) subject(name string, life time.Duration, sdk bool) *subject {
	s := &subject{w: w, name: name, lasts: limit, asked: -time.Hour, rejection: -time.Hour, left: -time.Hour, sts: w.newSTS(name, life, sdk), seen: map[string]bool{}, stale: map[string]struct{}{}}
	s.handler = &fakeHandler{s: s}
	w.subjects = append(w.subjects, s)
	return s
}

func (w *world) elapsed() time.Duration { return time.Since(w.start) }

// stsNow is STS's clock, which nobody sets.
func (w *world) stsNow() time.Time { return w.start.Round(0).Add(w.elapsed()) }

func wall() time.Time { return time.Now().Round(0) }

// fetch takes note of a fetch that begins.
func (s *subject) fetch() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.fetches++
}

func (s *subject) fetched() int {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.fetches
}

func (w *world) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf("at %s: ", w.elapsed())+fmt.Sprintf(format, args...))
}

// say keeps what a user would get to see, for the search for secrets.
func (w *world) say(texts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, texts...)
}

// stick hangs in the code of a subject, whatever its context says.
func (w *world) stick(name string, goroutines int) {
	w.mu.Lock()
	w.stuck[name] = append(w.stuck[name], w.elapsed())
	w.hung += goroutines
	w.mu.Unlock()
	<-w.released
}

// release lets all return that hangs for good.
func (w *world) release() {
	close(w.released)
	w.mu.Lock()
	w.stuck, w.hung = map[string][]time.Duration{}, 0
	w.mu.Unlock()
	synctest.Wait()
	w.released = make(chan struct{})
}

// retrieve is a call, and checks what it is promised.
func (s *subject) retrieve(ctx context.Context) (aws.Credentials, error) {
	w := s.w
	w.mu.Lock()
	s.calls++
	era, held, jumped := s.era, s.held, jumps
	start, startWall := w.elapsed(), wall()
	stale := make(map[string]struct{}, len(s.stale))
	for k := range s.stale {
		stale[k] = struct{}{}
	}
	w.mu.Unlock()

	lives, last := false, false // what it has a right to
	if c, ok := s.sts.credentials(held); ok {
		left := c.end.Sub(startWall)
		if offset() != c.offset || c.offset != 0 { // they may have been taken to end sooner
			left -= max(c.offset-offset(), offset()-c.offset) + max(0, -c.offset)
		}
		lives = left > 500*time.Millisecond
		last = left <= min(time.Minute, s.sts.life/16)+2*time.Second || offset() != c.offset || c.offset != 0 ||
			start-w.set <= limit // a fetch may have begun when they were dead by the clock
	}
	patient := true
	deadline, bounded := ctx.Deadline()
	if bounded {
		patient = time.Until(deadline) > 500*time.Millisecond
	}
	creds, err := s.cache.Retrieve(ctx)
	took := w.elapsed() - start

	w.mu.Lock()
	s.calls--
	s.asked = w.elapsed()
	if err != nil && ctx.Err() != nil {
		s.left = s.asked
	}
	undisturbed := era == s.era && jumped == jumps
	if err == nil && era == s.era {
		s.held = creds.AccessKeyID
	}
	if err == nil {
		s.seen[creds.AccessKeyID] = true
	}
	w.mu.Unlock()

	if took > limit || bounded && time.Until(deadline) < 0 && err == nil {
		w.problem("%s: a call took %s", s.name, took)
	}
	if lives && undisturbed && patient {
		switch {
		case err != nil:
			w.problem("%s: a call failed with living credentials: %v", s.name, err)
		case last && took > 500*time.Millisecond || !last && took > 0:
			w.problem("%s: a call waited %s with living credentials", s.name, took)
		}
	}
	if err != nil {
		w.say(err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), fmt.Sprintf("%q", errors.Unwrap(err)))
		return creds, err
	}
	switch c, known := s.sts.credentials(creds.AccessKeyID); {
	case !known || c.secret != creds.SecretAccessKey || !creds.CanExpire:
		w.problem("%s: credentials that STS did not give", s.name)
	case jumped == jumps && !wall().Before(c.end):
		w.problem("%s: credentials that ended %s ago", s.name, wall().Sub(c.end))
	case jumped == jumps && s.sts.sdk && offset() == c.offset && w.stsNow().After(c.end.Add(2*time.Second)):
		w.problem("%s: credentials that ended %s ago by STS's clock", s.name, w.stsNow().Sub(c.end))
	case creds.Expires.After(c.end):
		w.problem("%s: an expiry that was moved later, by %s", s.name, creds.Expires.Sub(c.end))
	}
	if _, old := stale[creds.AccessKeyID]; old {
		w.problem("%s: %s came back after Invalidate", s.name, creds.AccessKeyID)
	}
	return creds, err
}

// invalidate is the user's word. Where a call is in flight, also one whose
// callers have left, it may be lost.
func (s *subject) invalidate() {
	s.cache.Invalidate()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.era++
	s.held = ""
	if s.calls == 0 && s.w.elapsed()-s.left > limit {
		for k := range s.seen {
			s.stale[k] = struct{}{}
		}
	}
}

// fakeSource is the code of a user's own in a provider's token source: a source
// that has no token, beside the default ones, and a step of oidc.Map after all.
type fakeSource struct {
	s *subject

	mu   sync.Mutex // guards what follows
	mode trouble
	step bool // whether the step has it, and not the source
}

// tokens is the provider's token source.
func (s *fakeSource) tokens() oidc.TokenSource {
	sources := []oidc.TokenSource{oidc.DefaultSource(), oidc.TokenSourceFunc(s.token)}
	if s.s.w.sourceFirst {
		slices.Reverse(sources)
	}
	return oidc.Map(oidc.FirstOf(sources...), s.pass)
}

// trouble is what goes wrong in code that users write.
type trouble int

const (
	none trouble = iota
	fails
	waits // in a source until its context ends, in a handler three seconds
	blocks
	uses // the provider, in a handler; in a source it gives a zero token
	throws
	leaves // ends its goroutine
)

const troubles = int(leaves) + 1

func (t trouble) String() string {
	return [...]string{"good", "failing", "waiting", "blocking", "using the provider", "panicking", "exiting"}[t]
}

func (s *fakeSource) set(m trouble, step bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode, s.step = m, step
}

// token is the source.
func (s *fakeSource) token(ctx context.Context) (oidc.Token, error) {
	s.s.fetch()
	if mode := s.is(false); mode != none {
		return s.misbehave(ctx, mode, "")
	}
	return oidc.Token{}, fmt.Errorf("%w here", oidc.ErrNoToken)
}

// pass is the step.
func (s *fakeSource) pass(ctx context.Context, t oidc.Token) (oidc.Token, error) {
	s.s.fetch()
	if mode := s.is(true); mode != none {
		return s.misbehave(ctx, mode, t.Raw())
	}
	return t, nil
}

// is returns what is wrong with the step, or with the source.
func (s *fakeSource) is(step bool) trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	if step != s.step {
		return none
	}
	return s.mode
}

func (s *fakeSource) misbehave(ctx context.Context, mode trouble, raw string) (oidc.Token, error) {
	switch mode {
	case fails:
		return oidc.Token{}, errors.New("the source is out of order")
	case waits:
		<-ctx.Done()
		return oidc.Token{}, ctx.Err()
	case blocks:
		s.s.w.stick(s.s.name, 1)
		return oidc.Token{}, errors.New("the source was out of order")
	case throws:
		panic("with " + raw)
	case leaves:
		runtime.Goexit()
	}
	return oidc.Token{}, nil
}

// fakeHandler is the OnEvent and the slog handler of a subject.
type fakeHandler struct {
	s *subject

	mu     sync.Mutex // guards what follows
	mode   trouble
	asks   int // left: an event that asks may bring the next, without end
	events int // that run now
}

func (h *fakeHandler) set(m trouble) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mode, h.asks = m, 10
}

func (h *fakeHandler) event(e refresh.Event) {
	h.mu.Lock()
	h.events++
	if h.events > 1 {
		h.s.w.problem("%s: two events at once", h.s.name)
	}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.events--
	}()
	text, _ := json.Marshal(e)
	h.s.w.say(fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e), string(text))
	if e.Err != nil {
		h.s.w.say(e.Err.Error(), fmt.Sprintf("%#v", e.Err))
	}
	h.misbehave()
}

func (h *fakeHandler) misbehave() {
	runs := func(n int) {
		h.s.w.mu.Lock()
		defer h.s.w.mu.Unlock()
		h.s.w.handlers += n
	}
	runs(2) // with who waits for it
	defer runs(-2)
	h.mu.Lock()
	mode := h.mode
	if mode == uses {
		h.asks--
		if h.asks < 0 {
			mode = none
		}
	}
	h.mu.Unlock()
	switch mode {
	case waits:
		time.Sleep(3 * time.Second)
	case blocks:
		<-h.s.w.released
	case uses:
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = h.s.retrieve(ctx)
	case throws:
		panic("a handler")
	case leaves:
		runtime.Goexit()
	}
}

func (h *fakeHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *fakeHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *fakeHandler) WithGroup(string) slog.Handler            { return h }

// Handle implements [slog.Handler].
func (h *fakeHandler) Handle(ctx context.Context, r slog.Record) error {
	var text bytes.Buffer
	_ = slog.NewJSONHandler(&text, nil).Handle(ctx, r)
	_ = slog.NewTextHandler(&text, nil).Handle(ctx, r)
	h.s.w.say(text.String())
	h.misbehave()
	return nil
}

// check is what is looked at after each step: what is promised of a process
// and not of a call.
func (w *world) check(quiet bool, goroutines int) {
	for _, s := range w.subjects {
		s.checkPace()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, since := range w.stuck {
		n := 0
		for _, at := range since {
			if w.elapsed()-at > limit {
				n++
			}
		}
		if n > 4 {
			w.problems = append(w.problems, fmt.Sprintf("at %s: %s: %d calls stand", w.elapsed(), name, n))
		}
	}
	for _, text := range w.said {
		for _, secret := range w.secrets {
			if strings.Contains(text, secret) {
				w.problems = append(w.problems, fmt.Sprintf("at %s: %q stands in %q", w.elapsed(), secret, text))
			}
		}
	}
	w.said = w.said[:0]
	for _, s := range w.subjects {
		quiet = quiet && w.elapsed()-max(s.asked, s.rejection) > s.lasts
	}
	if quiet && !settles(goroutines+w.hung+w.handlers) {
		if left := ours(); len(left) > w.hung+w.handlers {
			w.problems = append(w.problems, fmt.Sprintf("at %s: goroutines run when nobody asks:\n%s", w.elapsed(), strings.Join(left, "\n\n")))
		}
	}
}

// settles reports whether there are no more than n goroutines. One that ends may
// be counted for a moment.
func settles(n int) bool {
	for range 1000 {
		if runtime.NumGoroutine() <= n {
			return true
		}
		runtime.Gosched()
	}
	return false
}

// ours is the stacks of the goroutines of the history but its own.
func ours() []string {
	buf := make([]byte, 1<<20)
	var left []string
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "synctest bubble") && !strings.Contains(stack, "internal/synctest.Run") &&
			!strings.Contains(stack, "testing/synctest.testingSynctestTest(") && !strings.Contains(stack, "(*world).play") {
			left = append(left, stack)
		}
	}
	return left
}
