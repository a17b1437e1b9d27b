package refresh

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws/internal/clock"
	"github.com/vercelaws/vercelaws/internal/guard"
)

const (
	// callLimit bounds one fetch. It is a little less than the ten seconds that are
	// promised to a caller.
	callLimit = 9750 * time.Millisecond

	// callGrace is the last part of a fetch's time. The provider's context ends
	// before it, so that the provider has time to return an error.
	callGrace = 250 * time.Millisecond

	// hookLeast is the least time that HandleFailToRefresh has, even if Retrieve has
	// used all of the fetch's time.
	hookLeast = 100 * time.Millisecond
	hookGrace = 50 * time.Millisecond
)

// caller calls a provider's methods. Each call ends in time, whatever the provider
// does.
type caller struct {
	provider aws.CredentialsProvider
	carry    func(context.Context) context.Context
	name     string        // of the provider, for errors
	window   time.Duration // Options.ExpiryWindow

	calls, hooks, retries guard.Calls // of Retrieve, HandleFailToRefresh and RetryNow
}

// outcome is the result of a fetch.
type outcome struct {
	creds  aws.Credentials // without keys if there are none
	window time.Duration   // their ExpiryWindow
	until  time.Time       // the provider's DependsUntil, or zero
	took   time.Duration
	err    error // of Retrieve, even if HandleFailToRefresh returned creds
}

var errEnded = errors.New("refresh: the new credentials have already expired; is the local clock right?")

// call makes a fetch within limited, for a caller whose context is ctx. It passes
// before to HandleFailToRefresh.
func (c *caller) call(limited, ctx context.Context, background bool, before aws.Credentials) outcome {
	began := time.Now()
	call := &callContext{}
	out, err := guard.Do(limited, &c.calls, c.name, callGrace, func(limited context.Context) (outcome, error) {
		call.values = c.valuesFor(ctx, background)
		if !background {
			var cancel context.CancelFunc
			limited, cancel = withinOuter(limited, ctx)
			defer cancel()
		}
		call.Context = limited
		call.asked.Store(int64(time.Since(began)))
		return c.retrieve(call), nil
	})
	values := context.Background()
	if err == nil { // otherwise the call may still be running, and write call.values
		values = call.values
	} else {
		out.err = fmt.Errorf("refresh: %w", err)
	}
	if hook, ok := c.provider.(aws.HandleFailRefreshCredentialsCacheStrategy); ok && out.err != nil {
		out = c.failed(limited, values, hook, before, out.err)
	}
	out.took = time.Since(began) - time.Duration(call.asked.Load())
	return out
}

// valuesFor returns the context whose values a fetch for a caller with the context
// ctx sees.
func (c *caller) valuesFor(ctx context.Context, background bool) context.Context {
	switch {
	case c.carry != nil:
		return c.carry(ctx)
	case background:
		return context.Background()
	}
	return ctx
}

// withinOuter returns limited, with an earlier deadline if the caller's context ctx is
// that of another cache's fetch: so the other fetch gets this one's error. It does not
// shorten the time if the other fetch is over, or nearly over, since others may wait
// for this one.
func withinOuter(limited, ctx context.Context) (context.Context, context.CancelFunc) {
	if outer, ok := ctx.Value(callKey{}).(*callContext); ok && outer.Err() == nil {
		deadline, _ := outer.Deadline()
		if left := time.Until(deadline) - callGrace; left > time.Second {
			return context.WithTimeout(limited, left)
		}
	}
	return limited, func() {}
}

// retrieve calls Retrieve, and makes sure that the result can be used.
func (c *caller) retrieve(ctx context.Context) outcome {
	creds, err := c.provider.Retrieve(ctx)
	if err == nil {
		err = c.unusable(creds)
	}
	out := outcome{creds: creds}
	if err == nil {
		out.window, err = c.windowOf(creds)
	}
	if err != nil {
		return outcome{err: err}
	}
	if d, ok := c.provider.(Dependent); ok {
		out.until = d.DependsUntil()
	}
	return out
}

// unusable returns an error if creds cannot sign a request.
func (c *caller) unusable(creds aws.Credentials) error {
	switch {
	case !creds.HasKeys():
		return fmt.Errorf("refresh: %s returned credentials without keys and no error", c.name)
	case creds.CanExpire && !clock.Wall().Before(creds.Expires):
		return errEnded
	}
	return nil
}

// windowOf returns the ExpiryWindow of new credentials, after the provider's
// AdjustExpiresBy.
func (c *caller) windowOf(creds aws.Credentials) (time.Duration, error) {
	if c.window <= 0 || !creds.CanExpire {
		return 0, nil
	}
	most := longest(creds.Expires.Sub(clock.Wall()))
	window := min(c.window, most)
	a, ok := c.provider.(aws.AdjustExpiresByCredentialsCacheStrategy)
	if !ok {
		return window, nil
	}
	adjusted, err := a.AdjustExpiresBy(creds, -window)
	if err != nil {
		return 0, fmt.Errorf("refresh: AdjustExpiresBy: %w", err)
	}
	return min(max(creds.Expires.Sub(adjusted.Expires), 0), most), nil
}

// failed calls HandleFailToRefresh after a Retrieve that failed with err.
func (c *caller) failed(limited, values context.Context, hook aws.HandleFailRefreshCredentialsCacheStrategy, before aws.Credentials, err error) outcome {
	deadline, _ := limited.Deadline()
	ctx, cancel := context.WithTimeout(context.Background(), max(time.Until(deadline), hookLeast))
	defer cancel()
	out, failed := guard.Do(ctx, &c.hooks, "HandleFailToRefresh of "+c.name, hookGrace, func(ctx context.Context) (outcome, error) {
		creds, failed := hook.HandleFailToRefresh(&callContext{Context: ctx, values: values}, before, err)
		if failed != nil {
			return outcome{err: failed}, nil
		}
		if c.unusable(creds) != nil {
			return outcome{err: err}, nil
		}
		window, failed := c.windowOf(creds)
		if failed != nil {
			return outcome{err: failed}, nil
		}
		return outcome{creds: creds, window: window, err: err}, nil
	})
	if failed != nil {
		return outcome{err: fmt.Errorf("%w; and %w", err, failed)}
	}
	return out
}

// callContext is the context of one call of a provider. It has the call's limit, and
// the values of another context.
type callContext struct {
	context.Context // the limit
	values          context.Context
	asked           atomic.Int64 // the time from the beginning of the fetch to the call, in nanoseconds
}

type callKey struct{}

// Value returns the callContext itself for callKey, and other values of the limit or
// of values.
func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
