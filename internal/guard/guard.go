// Package guard calls code that a user wrote. If that code panics, ends its
// goroutine, ignores its context or never returns, the call returns an error.
package guard

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// MaxHung is how many calls may hang before no further call is made. A call hangs
// if its context has ended and it has not returned.
const MaxHung = 4

// Calls counts the calls of one piece of a user's code that have not returned. The
// zero value is ready to use. It is safe for concurrent use.
type Calls struct {
	mu      sync.Mutex        // guards running
	running []context.Context // of each call
}

// Do calls f on a goroutine of its own and returns f's result. Name names f in
// errors, such as "Options.TokenSource".
//
// After ctx has ended, f has the time grace to return. Then the call is abandoned:
// Do returns an error that wraps the cause of ctx's end, and a later result of f is
// dropped. While [MaxHung] calls hang, Do returns an error at once.
func Do[T any](ctx context.Context, c *Calls, name string, grace time.Duration, f func(context.Context) (T, error)) (T, error) {
	var zero T
	if n := c.enter(ctx); n >= MaxHung {
		return zero, fmt.Errorf("%s has not returned from %d calls whose contexts have ended, so it is not called again until it does", name, n)
	}
	type result struct {
		value T
		err   error
	}
	returned := make(chan result, 1)
	go func() {
		var r result
		hasReturned := false
		defer func() {
			switch v := recover(); {
			case v != nil:
				r = result{err: fmt.Errorf("%s panicked: %w", name, panicked(v))}
			case !hasReturned:
				r = result{err: fmt.Errorf("%s ended its goroutine", name)}
			}
			c.leave(ctx)
			returned <- r
		}()
		r.value, r.err = f(ctx)
		hasReturned = true
	}()
	select {
	case r := <-returned:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-returned:
		return r.value, r.err
	case <-time.After(grace):
		return zero, fmt.Errorf("%s did not return when its context ended: %w", name, context.Cause(ctx))
	}
}

// enter returns how many calls hang. If that is fewer than MaxHung, it adds the call
// with the context ctx.
func (c *Calls) enter(ctx context.Context) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	hung := 0
	for _, other := range c.running {
		if other.Err() != nil {
			hung++
		}
	}
	if hung < MaxHung {
		c.running = append(c.running, ctx)
	}
	return hung
}

func (c *Calls) leave(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.Index(c.running, ctx)
	c.running = slices.Delete(c.running, at, at+1)
}

// panicked returns an error that says where a panic began. It leaves out the panic's
// value, which may hold a secret.
func panicked(v any) error {
	where := "an unknown place"
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]) // from the panic on
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			where = fmt.Sprintf("%s, line %d", f.Function, f.Line)
			break
		}
	}
	return fmt.Errorf("a value of type %T in %s", v, where)
}
