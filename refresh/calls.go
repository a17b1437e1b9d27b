package refresh

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// callLimit bounds one fetch. It is a little less than the ten seconds
	// that a caller is promised.
	callLimit = 9750 * time.Millisecond

	// callGrace is the end of a fetch's time that is left for a provider whose
	// context has ended to say why.
	callGrace = 250 * time.Millisecond

	// maxStanding is how many calls that do not return are left standing.
	maxStanding = 4

	// lookLimit is how long a caller's context may take to give a value.
	lookLimit = time.Second
)

// calls makes calls of a provider that end in time, whatever the provider does.
type calls struct {
	provider aws.CredentialsProvider
	looks    chan struct{} // has room for the looks at callers' contexts that may be under way

	mu       sync.Mutex // guards what follows
	standing int        // calls that were given up and have not returned
	culprit  string     // what the last of them was in
}

// outcome is what came of a call.
type outcome struct {
	creds aws.Credentials
	until time.Time // when what they were fetched with ends, or zero
	err   error
}

// make calls the provider under ctx, whose deadline is the limit, with the
// values of the context that carry returns.
func (c *calls) make(ctx context.Context, carry func() context.Context) outcome {
	c.mu.Lock()
	standing, culprit := c.standing, c.culprit
	c.mu.Unlock()
	if standing >= maxStanding {
		return outcome{err: fmt.Errorf("refresh: %s has not returned from %d calls that were given up; it must return when its context ends", culprit, standing)}
	}
	call := &callContext{Context: ctx, what: fmt.Sprintf("%T", c.provider)}
	returned := make(chan outcome, 1)
	go c.run(call, carry, returned)
	select {
	case out := <-returned:
		return out
	case <-ctx.Done():
	}
	grace := time.NewTimer(callGrace)
	defer grace.Stop()
	select {
	case out := <-returned:
		return out
	case <-grace.C:
		return outcome{err: c.giveUp(call)}
	}
}

// look finds the call that ctx, which a caller made, is within, if any. Its error
// says why nothing of ctx can be used: Value has not returned in time, within
// limited, or panicked. What does not return stands, as calls do, and makes no
// call fail.
func (c *calls) look(limited, ctx context.Context) (*callContext, error) {
	limited, cancel := context.WithTimeout(limited, lookLimit)
	defer cancel()
	select {
	case c.looks <- struct{}{}:
	case <-limited.Done():
		return nil, fmt.Errorf("refresh: Value of %d callers' contexts has not returned", maxStanding)
	}
	type answer struct {
		outer *callContext
		err   error
	}
	returned := make(chan answer, 1)
	go func() {
		a := answer{err: errors.New("refresh: Value ended its goroutine")} // unless it returns
		defer func() {
			if v := recover(); v != nil {
				a.err = panicked(v)
			}
			<-c.looks
			returned <- a
		}()
		outer, _ := ctx.Value(callKey{}).(*callContext)
		a = answer{outer: outer}
	}()
	select {
	case a := <-returned:
		return a.outer, a.err
	case <-limited.Done():
		return nil, errors.New("refresh: Value has not returned in time")
	}
}

// run makes the call on a goroutine of its own.
func (c *calls) run(call *callContext, carry func() context.Context, returned chan<- outcome) {
	out := outcome{err: errors.New("refresh: the call ended its goroutine")} // unless it returns
	defer func() {
		if v := recover(); v != nil {
			out = outcome{err: panicked(v)}
		}
		c.returned(call)
		returned <- out
	}()
	call.values = carry()
	creds, err := c.provider.Retrieve(call)
	if d, ok := c.provider.(Dependent); ok && err == nil {
		out = outcome{creds: creds, until: d.DependsUntil()}
		return
	}
	out = outcome{creds: creds, err: err}
}

// giveUp leaves call standing, unless it has returned meanwhile.
func (c *calls) giveUp(call *callContext) error {
	what := call.doing()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !call.over {
		call.left = true
		c.standing++
		c.culprit = what
	}
	return fmt.Errorf("refresh: %s did not return when its context ended: %w", what, context.Cause(call.Context))
}

func (c *calls) returned(call *callContext) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call.over = true
	if call.left {
		c.standing--
	}
}

// panicked says where a panic was. The value is left out: it may hold a secret.
func panicked(v any) error {
	where := "unknown"
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
	return fmt.Errorf("refresh: panic with a value of type %T in %s", v, where)
}
