// Package refresh decides when credentials are replaced. It puts any
// [aws.CredentialsProvider] behind an [aws.CredentialsCache] in such a way that
// no caller waits for a refresh while the credentials live, and that no failure
// of the provider reaches a caller before they end.
//
//	creds := refresh.NewCredentialsCache(stscreds.NewAssumeRoleProvider(client, role))
//
// What it returns goes wherever the SDK takes credentials. A provider of
// package vercelaws has this life already.
//
// # Life of the credentials
//
//   - While they are fresh, the SDK's cache answers, and nothing here runs.
//   - In their refresh window, some minutes before their end (15, or 60 where they
//     live 90 or more, and never more than a quarter of their life), one refresh
//     starts in the background. Callers get what there is, at once. Instances do
//     this at different times; the first refresh of each comes sooner, at a point
//     after a quarter of the life, so that instances that start together part.
//   - If it fails, they serve to their end. It is tried again after 1 second,
//     then 2, and so on to 30.
//   - With an [Options.ExpiryWindow] all this happens that much earlier. An
//     instance that slept until less than it is left has its first caller wait for
//     the refresh.
//   - An instance that slept until the last minute has its first caller wait
//     for the refresh, half a second at most.
//   - After the end one caller fetches, and all others wait for that fetch. It
//     takes 10 seconds at most, whatever the provider does.
//   - Invalidate has the next Retrieve fetch. See [ReportRejected] for what a
//     service says of credentials.
//
// Nothing runs while nobody asks.
package refresh

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws/internal/clock"
)

// Options are the choices of [NewCredentialsCache]. The zero value is right for
// most programs.
//
// The functions of an Options, Logger's handler among them, run on goroutines
// that no caller waits for. They may take their time, and use the credentials:
// but each failure is told, so one that asks again at a failure, and does not
// pause, asks without end.
type Options struct {
	// ExpiryWindow is how much of their life the credentials have left when a
	// caller gets them, at least, while the provider answers. It is for what must
	// outlive its making: a presigned URL, an upload, a database login. If zero or
	// less, there is none; the refresh then begins at least an eighth of the life
	// before the end, or 7.5 minutes for credentials of an hour.
	//
	// The refresh begins in the background before it, so nobody waits. A caller
	// who finds less left all the same, since the instance slept, waits for the
	// refresh as at a first fetch, for as long as its context allows, and gets the
	// old credentials if that fails. Then, until one succeeds, such a caller waits
	// half a second at most.
	//
	// It is three fifths of the life of the credentials at most. A longer one is
	// cut to that, and Event.ExpiryWindow tells.
	//
	// The word and its meaning are those of [aws.CredentialsCacheOptions]. That
	// one has no effect on what NewCredentialsCache returns, since the SDK passes
	// an *aws.CredentialsCache on as it is.
	ExpiryWindow time.Duration

	// Logger receives a record for each event: at level Info when a fetch
	// succeeded, and Warn when it failed; the same failure again within ten
	// seconds is at level Debug, and so is one that is the fifth or more to differ
	// from the others in that time. If nil, nothing is logged.
	Logger *slog.Logger

	// OnEvent is told of each fetch that failed or that brought new credentials,
	// in order, one at a time. At most 64 events wait for it; those that found no
	// room are counted in Dropped of the next one, as are those in which it
	// panicked. If nil, nobody is told.
	OnEvent func(Event)

	// Carry chooses what a fetch takes along of the context of the caller for
	// whom it is made: only the values of the context that it returns, whose
	// cancellation and deadline have no effect. It runs on the fetch's
	// goroutine and within its limit.
	//
	// If nil, a fetch that callers wait for sees the values of the first
	// caller's context, as with the SDK's cache, and one in the background
	// sees none. A caller's context must work: where its Value panics or does
	// not return, the fetch fails, for all who wait for it.
	Carry func(ctx context.Context) context.Context
}

// Reason is why a fetch was made.
type Reason string

const (
	// ReasonMissing: there were no credentials that live, at first, after their
	// end or after Invalidate. Callers waited, and got the error if it failed.
	ReasonMissing Reason = "missing"

	// ReasonExpiring: the credentials were in their refresh window, or it was
	// time for the first refresh. They served meanwhile.
	ReasonExpiring Reason = "expiring"

	// ReasonDependency: what the credentials were fetched with was about to end;
	// see [Dependent]. They served meanwhile.
	ReasonDependency Reason = "dependency"

	// ReasonRejected: a service rejected the credentials; see [ReportRejected].
	// They served meanwhile.
	ReasonRejected Reason = "rejected"
)

// Event is the end of one fetch. There is none for a fetch that brought nothing
// new: no error, and the same credentials again.
type Event struct {
	// Reason is why the fetch was made.
	Reason Reason

	// Err is why the fetch failed, or nil. Where the provider's own
	// HandleFailToRefresh has the old credentials serve on, it is set too.
	Err error

	// Took is the time from the call of the provider to its answer, or until
	// it was given up.
	Took time.Duration

	// Expires is when the credentials that serve now end. It is zero if there
	// are none, or if they never do.
	Expires time.Time

	// ExpiryWindow is the one that the credentials have: shorter than
	// Options.ExpiryWindow where that is more than three fifths of their life, or
	// where the provider's own AdjustExpiresBy says so.
	ExpiryWindow time.Duration

	// NextTry is the earliest time of the next refresh, where this one failed.
	// It is zero where none failed, and where the next caller fetches at once.
	NextTry time.Time

	// Dropped is how many events before this one were not delivered.
	Dropped int
}

// Dependent is a provider whose fetches depend on something that ends, such as
// a token that nobody can renew. DependsUntil is called after each successful
// Retrieve, and returns when the last of it ends, or the zero time. Credentials
// are then refreshed once more shortly before, if that moves their end by more
// than a tenth of their life or five minutes.
type Dependent interface{ DependsUntil() time.Time }

// Retrier is a provider that can tell when a failed refresh is worth another
// try before the back-off is over, since what err was about has changed. No
// caller waits for RetryNow. It is not called again before it has returned.
type Retrier interface{ RetryNow(err error) bool }

// NewCredentialsCache returns a cache of provider's credentials that replaces
// them in time. It is safe for concurrent use and meant to be made once and
// shared by all clients. Its Invalidate method makes the next Retrieve fetch;
// one that comes during a fetch can be lost, as with every cache of the SDK.
//
// The Expires of the credentials it returns is when the SDK should ask again,
// which is some minutes before their real end; [StatusOf] tells that.
//
// It takes the place of [aws.NewCredentialsCache] for any provider that fetches
// when it is asked, such as those of stscreds, ec2rolecreds, endpointcreds and
// ssocreds. What it adds is the life above. Two things differ: credentials that
// have ended as they come are an error, and so are those without keys. A
// provider's HandleFailToRefresh is called as by the SDK's cache, after every
// fetch that fails: with the last credentials, or with none where they were
// rejected or invalidated. Only what it returns may end later than the provider
// said. AdjustExpiresBy is called where there is an ExpiryWindow.
//
// Give it the provider itself, and not a cache around it: a cache answers with
// what it has until that ends, and so callers wait at each end. Where provider is
// an *aws.CredentialsCache all the same, as Credentials of an [aws.Config] is,
// Invalidate and [ReportRejected] reach it. A refresh does not, since that would
// take living credentials from those who share it.
//
// Provider may implement [Dependent] and [Retrier]. A Retrieve that panics, or
// that has not returned 10 seconds after it was called, is an error. At most
// four calls of a provider hang; until one returns, further fetches fail at
// once. If provider is a cache that this function returned (such as a provider
// of package vercelaws), it is returned unchanged and optFns have no effect.
func NewCredentialsCache(provider aws.CredentialsProvider, optFns ...func(*Options)) *aws.CredentialsCache {
	if c, ok := provider.(*aws.CredentialsCache); ok && behind(c) != nil {
		return c
	}
	var o Options
	for _, fn := range optFns {
		fn(&o)
	}
	return newCache(provider, o).front
}

// Status is what a cache has at one moment.
type Status struct {
	// AccessKeyID is that of the credentials that serve now. It is empty if there
	// are none that live: then the next Retrieve fetches, and waits.
	AccessKeyID string

	// Expires is when they really end. It is zero if there are none, or if they
	// never do.
	Expires time.Time

	// Err is why the last fetch failed, or nil if it did not, or if there was
	// none. Credentials may serve all the same.
	Err error

	// NextTry is the time from which on a Retrieve starts the next refresh. If it
	// has passed, the next Retrieve does. It is zero if there are no credentials,
	// or if they need no refresh.
	NextTry time.Time

	// Fetching is whether a fetch is under way.
	Fetching bool
}

// StatusOf tells what cache has, for a health check or a person. It reports
// false if cache is none of [NewCredentialsCache], nor one of the SDK's around
// one. It fetches nothing and waits for nobody.
func StatusOf(cache *aws.CredentialsCache) (Status, bool) {
	c := behind(cache)
	if c == nil {
		return Status{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Err: c.failure, Fetching: c.fetch != nil}
	if now := clock.Wall(); c.alive(now) {
		s.AccessKeyID, s.Expires, s.NextTry = c.held.creds.AccessKeyID, c.held.end(), c.nextTry()
	}
	return s, true
}
