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
	// callLimit bounds one fetch. It is a little less than the ten seconds
	// that a caller is promised.
	callLimit = 9750 * time.Millisecond

	// callGrace is the end of a fetch's time that is left for a provider whose
	// context has ended to say why.
	callGrace = 250 * time.Millisecond

	// hookLeast is the time that HandleFailToRefresh has at least, also after a
	// Retrieve that has used up the fetch's.
	hookLeast = 100 * time.Millisecond
	hookGrace = 50 * time.Millisecond
)

// caller makes the calls of a provider. Each ends in time, whatever the provider
// does.
type caller struct {
	provider aws.CredentialsProvider
	carry    func(context.Context) context.Context
	name     string        // of the provider, for errors
	window   time.Duration // Options.ExpiryWindow

	calls, hooks, retries guard.Calls // of each method apart
}

// outcome is what came of a fetch.
type outcome struct {
	creds  aws.Credentials // none where there are no keys
	window time.Duration   // the ExpiryWindow that they get
	until  time.Time       // when what they were fetched with ends, or zero
	took   time.Duration
	err    error // why Retrieve failed, also where HandleFailToRefresh gave creds
}

var errEnded = errors.New("refresh: the credentials ended as they came; is the local clock right?")

// call fetches within limited, for a caller whose context is ctx. The credentials
// before are for HandleFailToRefresh.
func (c *caller) call(limited, ctx context.Context, background bool, before aws.Credentials) outcome {
	type answer struct {
		outcome
		values context.Context
	}
	began := time.Now()
	call := &callContext{}
	a, err := guard.Do(limited, &c.calls, c.name, callGrace, func(limited context.Context) (answer, error) {
		values := context.Background()
		if !background || c.carry != nil {
			values = ctx
			outer, _ := ctx.Value(callKey{}).(*callContext)
			if c.carry != nil {
				values = c.carry(ctx)
			}
			// Another cache's fetch waits for this one. It is to hear why it failed. A
			// context that was kept from a fetch that is over says nothing, and a fetch
			// that is nearly over does not end this one for others who wait.
			if !background && outer != nil && outer.Err() == nil {
				deadline, _ := outer.Deadline()
				if left := time.Until(deadline) - callGrace; left > time.Second {
					var cancel context.CancelFunc
					limited, cancel = context.WithTimeout(limited, left)
					defer cancel()
				}
			}
		}
		call.Context, call.values = limited, values
		call.asked.Store(int64(time.Since(began)))
		return answer{c.retrieve(call), values}, nil
	})
	out := a.outcome
	if err != nil {
		out.err, a.values = fmt.Errorf("refresh: %w", err), context.Background()
	}
	if hook, ok := c.provider.(aws.HandleFailRefreshCredentialsCacheStrategy); ok && out.err != nil {
		out = c.failed(limited, a.values, hook, before, out.err)
	}
	out.took = time.Since(began) - time.Duration(call.asked.Load())
	return out
}

// retrieve asks the provider.
func (c *caller) retrieve(ctx context.Context) outcome {
	creds, err := c.provider.Retrieve(ctx)
	out := outcome{creds: creds, err: err}
	if err == nil {
		out.err = c.unusable(creds)
	}
	if out.err == nil {
		out.window, out.err = c.windowOf(creds)
	}
	if out.err != nil {
		return outcome{err: out.err}
	}
	if d, ok := c.provider.(Dependent); ok {
		out.until = d.DependsUntil()
	}
	return out
}

// unusable says why nobody can sign with creds.
func (c *caller) unusable(creds aws.Credentials) error {
	switch {
	case !creds.HasKeys():
		return fmt.Errorf("refresh: %s returned credentials without keys and no error", c.name)
	case creds.CanExpire && !clock.Wall().Before(creds.Expires):
		return errEnded
	}
	return nil
}

// windowOf is the ExpiryWindow of credentials that have just come, as the
// provider's AdjustExpiresBy would have it.
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

// failed asks the provider what is to serve after a Retrieve that failed with
// err.
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

// callContext is the context of one call of a provider: the limit of the call,
// and values that were chosen.
type callContext struct {
	context.Context // the limit
	values          context.Context
	asked           atomic.Int64 // the time from the call's beginning until the provider was asked
}

type callKey struct{}

// Value finds the call itself, what belongs to the limit, and the chosen values.
func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
