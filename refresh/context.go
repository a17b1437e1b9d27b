package refresh

import (
	"context"
	"sync/atomic"
)

// callContext is the context of one call of a provider: the limit of the call,
// and values that were chosen.
type callContext struct {
	context.Context                 // the limit
	values          context.Context // chosen before the provider is called

	what string                 // the provider, for errors
	step atomic.Pointer[string] // where in it the call is, if it says so

	over, left bool // whether it has returned, and was left standing; guarded by calls.mu
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

func (c *callContext) doing() string {
	if step := c.step.Load(); step != nil {
		return *step
	}
	return c.what
}

// Doing is for a provider that calls what others wrote. It names what the
// provider is about to call, such as "Options.TokenSource", so that an error
// can say what did not return. Ctx is the one that Retrieve was given, or one
// made from it; with any other it has no effect.
func Doing(ctx context.Context, what string) {
	if c, ok := ctx.Value(callKey{}).(*callContext); ok {
		c.step.Store(&what)
	}
}
