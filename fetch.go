package vercelaws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vercelaws/vercelaws/internal/guard"
	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/pace"
	"github.com/vercelaws/vercelaws/internal/refusals"
	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/refresh"
)

const (
	// fetchLimit bounds what is done in the background for nobody in
	// particular. A fetch is bounded by package refresh.
	fetchLimit = 10 * time.Second

	// userGrace is how long a user's code may take to return when its context
	// has ended. It is shorter than the time that package refresh gives a fetch.
	userGrace = 100 * time.Millisecond

	// exchangeShare is the time for the exchange of a token while the one that
	// was accepted last lives: it leaves that one time.
	exchangeShare = 5 * time.Second

	// refusalBurst is how many operations that STS refuses are made at once.
	refusalBurst = 4

	// maxUnclear is how many tokens are tried after answers that do not say
	// whether the token is to blame.
	maxUnclear = 4

	// maxAttempts is how often one token is tried in a fetch.
	maxAttempts = 3
)

// anyToken stands for every token where STS refuses whatever it is.
const anyToken = ""

// fetcher gets credentials of a role: token after token, in the order of
// candidates.go, until STS accepts one. Package refresh calls it, one call at a
// time, and says when.
type fetcher struct {
	roleARN string
	options Options
	invalid error // what is wrong with roleARN or options
	leaves  []tokenLeaf
	client  stscreds.AssumeRoleWithWebIdentityAPIClient

	failed      atomic.Int32    // operations that failed in a row
	known       refusals.Memory // tokens that STS, or an exchange, has refused
	refusals    pace.Pacer      // of refused operations
	sourceCalls guard.Calls
	stepCalls   guard.Calls
	clientCalls guard.Calls

	mu       sync.Mutex // guards what follows
	lastGood candidate  // the one that STS accepted last; until there is one, only the identity of what a caller gave
	until    time.Time  // when the token ends that got the last credentials
}

var (
	_ refresh.Dependent       = (*fetcher)(nil)
	_ refresh.Retrier         = (*fetcher)(nil)
	_ aws.CredentialsProvider = (*fetcher)(nil)
)

// Retrieve is one fetch. Each candidate is exchanged, where the source says so,
// and shown to STS. What is answered decides what is tried next.
//
// A fetch goes on while there is another token that might do, also one that
// comes meanwhile: whoever waits for it may have brought a good one, whatever
// the others did.
func (f *fetcher) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if err := f.configured(); err != nil {
		return aws.Credentials{}, err
	}
	failed := failures{fetcher: f}
	for c, err := range f.candidates(ctx) {
		if err != nil {
			failed.without(c, err)
			continue
		}
		creds, err := f.try(ctx, c)
		if err == nil {
			return creds, nil
		}
		failed.with(c, err)
		if ctx.Err() != nil { // a step can take all the time there is
			break
		}
		switch nextAfter(err) {
		case theLastAccepted:
			if last, ok := f.standIn(c); ok {
				if creds, err := f.try(ctx, last); err == nil {
					return creds, nil
				}
			}
			return aws.Credentials{}, failed.err(ctx)
		case nothing:
			return aws.Credentials{}, failed.err(ctx)
		case othersFirst:
			failed.unclear = append(failed.unclear, c)
		}
		if len(failed.unclear) == maxUnclear {
			break
		}
	}
	for attempt := 1; len(failed.unclear) > 0 && attempt < maxAttempts && pace.Pause(ctx, attempt); attempt++ {
		c := failed.unclear[0]
		creds, err := f.try(ctx, c)
		if err == nil {
			return creds, nil
		}
		failed.with(c, err)
		if nextAfter(err) != othersFirst {
			break
		}
	}
	return aws.Credentials{}, failed.err(ctx)
}

// next is what may still do after a candidate has failed.
type next int

const (
	another         next = iota // any other candidate
	othersFirst                 // any other candidate, and then this one again
	theLastAccepted             // the token accepted last, whose exchange is kept
	nothing
)

// nextAfter reads an error of [fetcher.try]. A refusal is about the token. An
// answer that says nothing, as a middlebox gives, may be about it. Where STS
// fails or does not answer, walking on would make its outage slower and heavier.
func nextAfter(err error) next {
	var exchange *oidc.ExchangeError
	var sts *AssumeRoleError
	switch {
	case errors.As(err, &exchange):
		switch {
		case exchange.Refused:
			return another
		case exchange.Status != 0:
			return othersFirst
		}
		return theLastAccepted
	case errors.As(err, &sts):
		switch {
		case sts.kind == tokenRefused:
			return another
		case sts.unclear:
			return othersFirst
		}
		return nothing
	}
	return another // a step of the user's own
}

// failures is what went wrong in a fetch, for the error of those who waited.
type failures struct {
	*fetcher
	own     error        // with the context's own token
	tried   error        // with the first of the others that were tried
	reasons leaf.Reasons // why sources have no token
	unclear []candidate  // after whose answer others come first
}

// without records that a source has no token that can be used.
func (f *failures) without(c candidate, err error) {
	if c.own && (c.token.Raw() != "" || !errors.Is(err, oidc.ErrNoToken)) {
		f.own = noToken(f.roleARN, err)
		return
	}
	f.reasons = append(f.reasons, err)
}

// with records that a candidate failed.
func (f *failures) with(c candidate, err error) {
	if c.own {
		f.own = err
	} else if f.tried == nil {
		f.tried = err
	}
}

// err returns the error of the fetch. It is the own token's where there is one, also
// if others were tried.
func (f *failures) err(ctx context.Context) error {
	switch {
	case f.own != nil:
		return f.own
	case f.tried != nil:
		return f.tried
	case len(f.reasons) == 0:
		return noToken(f.roleARN, context.Cause(ctx))
	case len(f.reasons) == 1:
		return noToken(f.roleARN, f.reasons[0])
	}
	return noToken(f.roleARN, f.reasons)
}

// try exchanges a candidate, if its source says so, and has STS accept or refuse it.
// What was refused a moment ago gets the same error without a request.
func (f *fetcher) try(ctx context.Context, c candidate) (aws.Credentials, error) {
	raw := c.token.Raw()
	if err := cmp.Or(f.known.Answer(anyToken), f.known.Answer(raw)); err != nil {
		return aws.Credentials{}, err
	}
	end, err := f.refusals.Begin(ctx, 0)
	if err != nil {
		return aws.Credentials{}, f.assumeError(c.token, err)
	}
	var creds aws.Credentials
	token, err := f.exchanged(ctx, c)
	if err == nil {
		creds, err = f.assume(ctx, token)
	}
	end(isRefusal(err))
	switch {
	case err == nil:
		f.known.Forget(raw)
		f.accepted(c)
	case isRefusal(err):
		f.known.Add(raw, err)
		if nextAfter(err) == nothing {
			f.known.Add(anyToken, err)
		}
	}
	return creds, err
}

// exchanged returns the token that STS is given for c.
func (f *fetcher) exchanged(ctx context.Context, c candidate) (oidc.Token, error) {
	if len(c.leaf.Steps) == 0 {
		return c.token, nil
	}
	if _, ok := f.standIn(c); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, exchangeShare)
		defer cancel()
	}
	token := c.token
	for _, step := range c.leaf.Steps {
		var err error
		from := token // the step may go on when it has been abandoned
		if token, err = guard.Do(ctx, &f.stepCalls, "a step of Options.TokenSource", userGrace, func(ctx context.Context) (oidc.Token, error) {
			return step(ctx, from)
		}); err != nil {
			return oidc.Token{}, noToken(f.roleARN, err)
		}
		if token.Raw() == "" {
			return oidc.Token{}, noToken(f.roleARN, fmt.Errorf("%w: a step of Options.TokenSource returned a zero Token and no error", oidc.ErrNoToken))
		}
	}
	return token, nil
}

// accepted records that STS has accepted a candidate. One that the caller gave does
// not stand in for others. But if no other has been accepted, only tokens of its
// identity are borrowed: the provider is that party's.
func (f *fetcher) accepted(c candidate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = c.token.Expiry
	switch {
	case !c.given:
		c.own = false
		f.lastGood = c
	case f.lastGood.leaf == nil:
		t := c.token
		f.lastGood = candidate{given: true, token: oidc.Token{Subject: t.Subject, ProjectID: t.ProjectID, Environment: t.Environment}}
	}
}

// last returns the candidate that STS accepted last. Its leaf is nil if there is
// none.
func (f *fetcher) last() candidate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastGood
}

// standIn returns the candidate that STS accepted last, and reports whether it can
// be tried in place of c.
func (f *fetcher) standIn(c candidate) (last candidate, ok bool) {
	last = f.last()
	return last, !c.given && last.lives() && last.token.Raw() != c.token.Raw()
}

// DependsUntil returns when the token ends that got the last credentials. A deployed
// function cannot renew one: the only fresh token is the one on the next request.
func (f *fetcher) DependsUntil() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.until
}

// ProviderSources lets the SDK say in its user agent how the credentials were
// obtained.
func (f *fetcher) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceSTSAssumeRoleWebID}
}

// assume makes one STS operation, through a web-identity role provider of
// stscreds. That gets its token without a context, so each operation has a provider
// of its own.
func (f *fetcher) assume(ctx context.Context, token oidc.Token) (aws.Credentials, error) {
	call := &stsCall{client: f.client, calls: &f.clientCalls, faults: turns{Pacer: f.faults(), failures: int(f.failed.Load())}}
	provider := stscreds.NewWebIdentityRoleProvider(call, f.roleARN, identityToken(token.Raw()), func(o *stscreds.WebIdentityRoleOptions) {
		o.RoleSessionName = cmp.Or(f.options.RoleSessionName, sessionNameFor(token))
		o.Duration = f.options.Duration
		o.Policy = f.options.Policy
		o.PolicyARNs = f.options.PolicyARNs
	})
	creds, err := provider.Retrieve(ctx)
	switch {
	case call.err != nil:
		err = call.err // without the words of stscreds around it
	case err == nil:
		creds, err = call.date(creds)
	}
	call.faults.judge(err)
	if err != nil {
		f.failed.Add(1)
		return aws.Credentials{}, f.assumeError(token, err)
	}
	f.failed.Store(0)
	call.faults.Clear()
	creds.Source = ProviderName
	return creds, nil
}

// identityToken is a JWT as stscreds asks for it.
type identityToken string

// GetIdentityToken implements [stscreds.IdentityTokenRetriever].
func (t identityToken) GetIdentityToken() ([]byte, error) { return []byte(t), nil }

// stsCall is the client that stscreds calls for one operation. It sets limits,
// checks that the answer is complete, and keeps its date, which stscreds drops.
type stsCall struct {
	client stscreds.AssumeRoleWithWebIdentityAPIClient
	calls  *guard.Calls // of client
	faults turns

	err      error     // why there is no answer that can be used
	answered time.Time // STS's clock, or zero
	received time.Time // the local one
}

// turns are the requests of one operation, as the pacer of its endpoint counts them.
// A request that was answered counts as under way until the answer has been looked
// at: what is a success to the client may hold no credentials that can be used.
type turns struct {
	*pace.Pacer
	failures int // of this provider, in a row

	mu     sync.Mutex           // guards what follows
	open   []func(failed bool)  // end those that were answered
	one    [1]func(failed bool) // the array of open; most operations need one request
	judged bool
	good   bool // the operation returned credentials
}

// Begin implements [stsclient.Pacer].
func (t *turns) Begin(ctx context.Context) (func(fault bool), error) {
	end, err := t.Pacer.Begin(ctx, t.failures)
	if err != nil {
		return nil, err
	}
	return func(fault bool) { t.answered(end, fault) }, nil
}

// answered ends a turn that failed, and keeps one that did not until judge. A turn
// that ends after the operation is of the slower one of two regions.
func (t *turns) answered(end func(failed bool), fault bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fault || t.judged {
		end(fault && !t.good)
		return
	}
	if t.open == nil {
		t.open = t.one[:0]
	}
	t.open = append(t.open, end)
}

// judge ends the turns that are kept. Err is the operation's.
func (t *turns) judge(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	unusable := err != nil && errors.As(err, new(unusableAnswer))
	for _, end := range t.open {
		end(unusable)
	}
	t.open, t.judged, t.good = nil, true, err == nil
}

// unusableAnswer is the error of an answer that is a success to the client, but has
// no credentials that can be used.
type unusableAnswer struct{ error }

// Unwrap returns what is wrong with it.
func (e unusableAnswer) Unwrap() error { return e.error }

// AssumeRoleWithWebIdentity implements
// [stscreds.AssumeRoleWithWebIdentityAPIClient]. The options of stscreds are
// left out: they would have a token that STS refuses as invalid tried twice
// more.
func (c *stsCall) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	out, err := c.ask(ctx, in)
	c.received = time.Now()
	if err == nil {
		if err = stsclient.Incomplete(out); err == nil {
			c.answered, _ = awsmiddleware.GetServerTime(out.ResultMetadata)
		} else {
			err = unusableAnswer{err}
		}
	}
	c.err = err
	return out, err
}

// ask makes the operation. With an SDK client, also one inside a client that wraps
// it, each HTTP request is paced and its faults are counted. With any other client
// an operation is one request. A user's own client may do anything, so its call is
// guarded.
func (c *stsCall) ask(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	if _, ours := c.client.(*stsclient.Client); ours {
		return c.client.AssumeRoleWithWebIdentity(ctx, in, stsclient.Limits(&c.faults, nil), onceIfUnclear)
	}
	end, err := c.faults.Pacer.Begin(ctx, c.faults.failures)
	if err != nil {
		return nil, err
	}
	begins := func() { end(false) } // once a request is made, the requests are counted
	out, err := guard.Do(ctx, c.calls, "Options.Client", userGrace, func(ctx context.Context) (*sts.AssumeRoleWithWebIdentityOutput, error) {
		return c.client.AssumeRoleWithWebIdentity(ctx, in, stsclient.Limits(&c.faults, begins), onceIfUnclear)
	})
	c.faults.answered(end, stsclient.IsFault(err))
	return out, err
}

// onceIfUnclear leaves an answer that may be about the token to the fetch, which
// tries other tokens before this one again.
func onceIfUnclear(o *sts.Options) { o.Retryer = clearRetryer{o.Retryer} }

type clearRetryer struct{ aws.Retryer }

// IsErrorRetryable implements [aws.Retryer].
func (r clearRetryer) IsErrorRetryable(err error) bool {
	return !isUnclear(err) && r.Retryer.IsErrorRetryable(err)
}

// faults returns the pacer of the endpoint. All providers of the process that ask
// the same endpoint share it.
func (f *fetcher) faults() *pace.Pacer {
	if c, ok := f.client.(*stsclient.Client); ok {
		if endpoint, err := c.EndpointKey(); err == nil {
			return pace.Of(endpoint)
		}
	}
	if !reflect.ValueOf(f.client).Comparable() { // such as a function: it cannot be known again elsewhere
		return pace.Of(f)
	}
	return pace.Of(f.client)
}

var errExpiredOnArrival = errors.New("the credentials expired on arrival")

// date compares the clocks. If the local one is behind STS's, it returns the
// credentials with an expiry that is earlier by as much. If they have expired by the
// local clock, it returns an error, since nearly always that clock is wrong.
func (c *stsCall) date(creds aws.Credentials) (aws.Credentials, error) {
	ahead := time.Duration(0)
	if !c.answered.IsZero() {
		ahead = c.received.Sub(c.answered)
	}
	said := creds.Expires
	creds.Expires = said.Add(min(ahead, 0))
	if c.received.Before(creds.Expires) {
		return creds, nil
	}
	err := fmt.Errorf("%w: they end at %s and the local clock says %s", errExpiredOnArrival,
		said.UTC().Format(time.RFC3339), c.received.UTC().Format(time.RFC3339))
	switch ahead := ahead.Round(time.Second); {
	case c.answered.IsZero():
	case ahead > 0:
		err = fmt.Errorf("%w, which is %s ahead of STS's; set the local clock right", err, ahead)
	case ahead < 0:
		err = fmt.Errorf("%w, which is %s behind STS's", err, -ahead)
	default:
		err = fmt.Errorf("%w, as does that of STS", err)
	}
	return aws.Credentials{}, unusableAnswer{err}
}
