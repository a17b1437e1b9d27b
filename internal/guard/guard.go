// Package guard calls code that a user wrote, so that whatever it does (it
// panics, ends its goroutine, ignores its context or never returns) becomes an
// error of that one call.
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

// MaxHung is how many calls may hang before no further one is made: calls whose
// context has ended and that have not returned.
const MaxHung = 4

// Calls are the calls that are under way of one piece of a user's code. The zero
// value has none. It is safe for concurrent use.
type Calls struct {
	mu      sync.Mutex        // guards running
	running []context.Context // of each call
}

// Do calls f on a goroutine of its own and returns what f returns. What names f
// in errors, such as "Options.TokenSource".
//
// When ctx ends, f has grace to return. After that the call is abandoned: Do
// returns an error that wraps the cause of ctx's end, and what f returns later is
// dropped. While [MaxHung] calls hang, Do returns an error at once.
func Do[T any](ctx context.Context, c *Calls, what string, grace time.Duration, f func(context.Context) (T, error)) (T, error) {
	var zero T
	if n := c.enter(ctx); n >= MaxHung {
		return zero, fmt.Errorf("%s has not returned from %d calls whose contexts have ended, so it is not called again until it does", what, n)
	}
	type result struct {
		value T
		err   error
	}
	returned := make(chan result, 1)
	go func() {
		var r result
		has := false // returned
		defer func() {
			switch v := recover(); {
			case v != nil:
				r = result{err: fmt.Errorf("%s panicked: %w", what, panicked(v))}
			case !has:
				r = result{err: fmt.Errorf("%s ended its goroutine", what)}
			}
			c.leave(ctx)
			returned <- r
		}()
		r.value, r.err = f(ctx)
		has = true
	}()
	select {
	case r := <-returned:
		return r.value, r.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case r := <-returned:
		return r.value, r.err
	case <-timer.C:
		return zero, fmt.Errorf("%s did not return when its context ended: %w", what, context.Cause(ctx))
	}
}

// enter returns how many calls hang. If that is fewer than MaxHung, it adds one
// that is under way.
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

// panicked says where a panic was. The value is left out: it may hold a secret.
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
