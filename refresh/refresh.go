// Package refresh decides when credentials are replaced. It puts any
// [aws.CredentialsProvider] behind an [aws.CredentialsCache]. Until the credentials
// expire, no caller waits for a refresh, and no caller gets an error of the provider.
//
//	creds := refresh.NewCredentialsCache(stscreds.NewAssumeRoleProvider(client, role))
//
// The result can be used wherever the SDK takes credentials. A provider of package
// vercelaws is already such a cache.
//
// # Life of the credentials
//
//   - Before their refresh window the SDK's cache answers, and no code of this
//     package runs.
//   - The refresh window begins 15 minutes before their expiry, or 60 if they live
//     90 minutes or longer, but never more than a quarter of their life before it.
//     In it one refresh starts in the background. Callers get the old credentials at
//     once. Each instance has a random point of the window at which it refreshes. Its
//     first refresh is earlier, at a random time after a quarter of the life, so that
//     instances that start together do not refresh together.
//   - If a refresh fails, the old credentials are used until they expire. The refresh
//     is tried again after at most 1 second, then 2, and so on up to 30.
//   - With an [Options.ExpiryWindow] all this happens earlier by that time. If an
//     instance slept until less than the window is left, its first caller waits for
//     the refresh.
//   - If an instance slept until the last minute, its first caller waits for the
//     refresh, half a second at most.
//   - After the expiry one caller fetches, and all others wait for that fetch. It
//     takes 10 seconds at most, whatever the provider does.
//   - After Invalidate the next Retrieve fetches. For credentials that a service
//     rejects, see [ReportRejected].
//
// No timer starts a refresh: only a call of Retrieve or ReportRejected does.
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
// OnEvent and Logger's handler run on goroutines that no caller waits for. They may
// be slow, and they may use the credentials. But each failure is an event: a function
// that calls Retrieve at each failure, without a pause, never stops.
type Options struct {
	// ExpiryWindow is the least time that credentials have left when a caller gets
	// them, while the provider answers. It is for things that stop working when the
	// credentials expire: a presigned URL, an upload, a database login. If zero or
	// less, there is no such time; the refresh then begins in the first half of the
	// refresh window, so at least 7.5 minutes before credentials of an hour expire.
	//
	// The refresh starts in the background before the window, so nobody waits. If
	// the instance slept, a caller may find less time left. It then waits for the
	// refresh as at a first fetch, for as long as its context allows, and gets the
	// old credentials if the refresh fails. From then until a refresh succeeds,
	// such a caller waits half a second at most.
	//
	// The longest window is three fifths of the life of the credentials. A longer
	// one is cut to that; Event.ExpiryWindow has the result.
	//
	// The name and the meaning are those of [aws.CredentialsCacheOptions], whose own
	// field has no effect here: the SDK uses an *aws.CredentialsCache as it is.
	ExpiryWindow time.Duration

	// Logger receives a record for each event: at level Info when a fetch
	// succeeded, and Warn when it failed; the same failure again within ten
	// seconds is at level Debug, and so is one that is the fifth or more to differ
	// from the others in that time. If nil, nothing is logged.
	Logger *slog.Logger

	// OnEvent is called for each fetch that failed or that replaced the
	// credentials, in order, one at a time. At most 64 events wait for it. Dropped of
	// the next event counts events for which there was no room, and events for which
	// OnEvent panicked.
	OnEvent func(Event)

	// Carry returns the context whose values a fetch sees, given the context of the
	// caller for whom the fetch is made. The cancellation and the deadline of the
	// result have no effect. Carry runs on the fetch's goroutine and within its
	// time limit.
	//
	// If nil, a fetch that callers wait for sees the values of the first caller's
	// context, as with the SDK's cache, and a fetch in the background sees none. If
	// the Value method of a caller's context panics or does not return, the fetch
	// fails for all callers that wait for it.
	Carry func(ctx context.Context) context.Context
}

// Reason is why a fetch was made.
type Reason string

const (
	// ReasonMissing: there were no credentials yet, they had expired, or Invalidate
	// was called. Callers waited, and got the error if the fetch failed.
	ReasonMissing Reason = "missing"

	// ReasonExpiring: the credentials were in their refresh window, or it was time
	// for the first refresh. Callers got the old credentials meanwhile.
	ReasonExpiring Reason = "expiring"

	// ReasonDependency: the fetch that returned the credentials depended on
	// something that was about to end; see [Dependent]. Callers got the old
	// credentials meanwhile.
	ReasonDependency Reason = "dependency"

	// ReasonRejected: a service rejected the credentials; see [ReportRejected].
	// Callers got the old credentials meanwhile.
	ReasonRejected Reason = "rejected"
)

// Event tells how a fetch ended. There is no event for a fetch that returned the same
// credentials again, or ones that expire sooner: those do not replace valid ones.
type Event struct {
	// Reason is why the fetch was made.
	Reason Reason

	// Err is why the fetch failed, or nil. It is also set if the provider's
	// HandleFailToRefresh returned credentials after the failure.
	Err error

	// Took is the time from the call of the provider until it returned or was
	// abandoned.
	Took time.Duration

	// Expires is when the current credentials expire. It is zero if there are
	// none, or if they never expire.
	Expires time.Time

	// ExpiryWindow is the window of the current credentials. It is shorter than
	// Options.ExpiryWindow if that is more than three fifths of their life, or if the
	// provider's AdjustExpiresBy made it so.
	ExpiryWindow time.Duration

	// NextTry is the earliest time of the next refresh, if this fetch failed. It is
	// zero if it did not, or if the next caller fetches at once.
	NextTry time.Time

	// Dropped is how many events before this one were not delivered.
	Dropped int
}

// Dependent is a provider whose fetches depend on something that ends, such as a
// token that nobody can renew. DependsUntil is called after each successful Retrieve.
// It returns when the thing that this fetch used ends, or the zero time. Shortly
// before that time the credentials are refreshed once more, if that moves their
// expiry by more than a tenth of their life or five minutes.
type Dependent interface{ DependsUntil() time.Time }

// Retrier is a provider that knows when the reason for a failed refresh may be gone.
// If RetryNow reports true, the refresh is tried again before the back-off is over.
// Err is the error of that refresh. No caller waits for RetryNow. It is not called
// again before it has returned.
type Retrier interface{ RetryNow(err error) bool }

// NewCredentialsCache returns a cache of provider's credentials that replaces
// them in time. It is safe for concurrent use. Make it once and share it between all
// clients. After its Invalidate method the next Retrieve fetches. An Invalidate
// during a fetch can be lost, as with every cache of the SDK.
//
// The Expires of the credentials it returns is when the SDK should ask again,
// which is some minutes before they really expire. [StatusOf] returns the real time.
//
// Use it in place of [aws.NewCredentialsCache] for any provider that fetches at each
// Retrieve, such as those of stscreds, ec2rolecreds, endpointcreds and ssocreds. Two
// things differ: it is an error if new credentials have expired already, or have no
// keys. A provider's HandleFailToRefresh is called as by the SDK's cache, after every
// fetch that fails. It gets the last credentials, or none if they were rejected or
// invalidated. Only credentials that it returns may expire later than the provider
// said. AdjustExpiresBy is called if there is an ExpiryWindow.
//
// Give it the provider itself, and not a cache around it: a cache returns the same
// credentials until they expire, so callers would wait at each expiry. If provider is
// an *aws.CredentialsCache, as Credentials of an [aws.Config] is, Invalidate and
// [ReportRejected] invalidate it too. A refresh does not, since other users of that
// cache would lose credentials that have not expired.
//
// Provider may implement [Dependent] and [Retrier]. A Retrieve that panics, or that
// has not returned 10 seconds after it was called, is an error. If four calls of a
// provider hang, further fetches fail at once until one returns. If provider is a
// cache that this function returned (such as a provider of package vercelaws), it is
// returned unchanged and optFns have no effect.
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

// Status is the state of a cache at one moment.
type Status struct {
	// AccessKeyID is that of the current credentials. It is empty if there are none,
	// or if they have expired: then the next Retrieve waits for a fetch. After
	// Invalidate it stays until the next Retrieve, which learns of that.
	AccessKeyID string

	// Expires is when they really expire. It is zero if there are none, or if they
	// never expire.
	Expires time.Time

	// Err is why the last fetch failed. It is nil if that succeeded, or if there was
	// none. Even after a failure the current credentials can be valid.
	Err error

	// NextTry is the time from which on a Retrieve starts the next refresh. It may
	// have passed. It is zero if there are no credentials, or if they need no refresh.
	NextTry time.Time

	// Fetching is whether a fetch is under way.
	Fetching bool
}

// StatusOf returns the state of cache, for a health check or a person. It returns
// false if cache is not one that [NewCredentialsCache] returned, nor a cache of the
// SDK around one. It fetches nothing and waits for nothing.
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
