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
//   - Some minutes before their end (15, or 60 where they live 90 or more, and never
//     more than a quarter of it) one refresh starts in the background. Callers
//     get what there is, at once. Instances do this at different times.
//   - If it fails, they serve to their end. It is tried again after 1 second,
//     then 2, and so on to 30.
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
)

// Options are the choices of [NewCredentialsCache]. The zero value is right for
// most programs.
//
// The functions of an Options, Logger's handler among them, run on goroutines
// that no caller waits for. They may take their time, and use the credentials:
// but each failure is told, so one that asks again at a failure, and does not
// pause, asks without end.
type Options struct {
	// Logger receives a record for each fetch: at level Info when it
	// succeeded, and Warn when it failed; the same failure again within ten
	// seconds is at level Debug. If nil, nothing is logged.
	Logger *slog.Logger

	// OnEvent is told of each fetch, in order, one at a time. At most 64
	// events wait for it; those that found no room are counted in Dropped of
	// the next one, as are those in which it panicked. If nil, nobody is told.
	OnEvent func(Event)

	// Carry chooses what a fetch takes along of the context of the caller for
	// whom it is made: only the values of the context that it returns, whose
	// cancellation and deadline have no effect. It runs on the fetch's
	// goroutine and within its limit.
	//
	// If nil, a fetch that callers wait for sees the values of the first
	// caller's context, as with the SDK's cache, and one in the background
	// sees none. A context whose Value panics, or takes longer than a second,
	// is left out of the fetch: it goes on as for context.Background().
	Carry func(ctx context.Context) context.Context
}

// Event is the end of one fetch.
type Event struct {
	// Err is why the fetch failed, or nil.
	Err error

	// Background is whether the fetch was a refresh, with credentials that
	// lived and no caller that waited.
	Background bool

	// BeforeEnd is whether the fetch was made because what the credentials
	// before were fetched with is about to end; see [Dependent].
	BeforeEnd bool

	// ReportRejected is whether the fetch was made because a service called the
	// credentials dead; see [ReportRejected].
	ReportRejected bool

	// Took is the time from the call of the provider to its answer, or until
	// it was given up.
	Took time.Duration

	// Expires is when the credentials that serve now end. It is zero if there
	// are none, or if they never do.
	Expires time.Time

	// NextTry is the earliest time of the next refresh, where this one failed
	// or brought nothing new. It is zero where the schedule is the ordinary
	// one, and where the next caller fetches at once.
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
// try before the back-off is over, since what err was about has changed. RetryNow
// is called while callers wait: it must return at once.
type Retrier interface{ RetryNow(err error) bool }

// NewCredentialsCache returns a cache of provider's credentials that replaces
// them in time. It is safe for concurrent use and meant to be made once and
// shared by all clients. Its Invalidate method makes the next Retrieve fetch;
// one that comes during a fetch can be lost, as with every cache of the SDK.
//
// The Expires of the credentials it returns is when the SDK should ask again,
// which is some minutes before their real end.
//
// Provider may implement [Dependent] and [Retrier]. A Retrieve that panics, or
// that has not returned 10 seconds after it was called, is an error. At most
// four such calls are left standing; until one returns, further fetches fail at
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
