//go:build go1.25

package refresh

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oddContext is a caller's context with a Value of its own making.
type oddContext struct {
	context.Context
	value func()

	within *atomic.Int64 // calls of Value that have not returned
}

func (c *oddContext) Value(any) any {
	c.within.Add(1)
	defer c.within.Add(-1)
	c.value()
	return nil
}

// odd is contexts that do not work, by what Value does. Those that block do so
// until the end of the test.
func odd(t *testing.T) (contexts map[string]context.Context, within *atomic.Int64) {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	within = &atomic.Int64{}
	contexts = map[string]context.Context{"nil": nil}
	for name, value := range map[string]func(){
		"blocks": func() { <-over },
		"panics": func() { panic("no") },
		"exits":  runtime.Goexit,
	} {
		contexts[name] = &oddContext{Context: context.Background(), value: value, within: within}
	}
	return contexts, within
}

// askOddly asks with a context that may not work, on a goroutine of its own. The
// SDK's cache asks a nil context for Done, which is the caller's own panic.
func askOddly(c *aws.CredentialsCache, ctx context.Context) {
	go func() {
		defer func() { _ = recover() }()
		_, _ = c.Retrieve(ctx)
	}()
	synctest.Wait() // it leads, where there is something to lead
}

// oddStories runs f for each such context, with and without Carry.
func oddStories(t *testing.T, f func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, bad context.Context, within *atomic.Int64)) {
	t.Helper()
	for _, name := range []string{"nil", "blocks", "panics", "exits"} {
		for how, carry := range map[string]func(context.Context) context.Context{
			"without Carry": nil,
			"with Carry": func(ctx context.Context) context.Context {
				return context.WithValue(context.Background(), valueKey{}, ctx.Value(valueKey{}))
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
					contexts, within := odd(t)
					p.slow(100 * time.Millisecond)
					f(t, p, c, contexts[name], within)
				}, func(o *Options) { o.Carry = carry })
			})
		}
	}
}

func TestACallersContextHoldsUpNobody(t *testing.T) {
	for _, at := range []struct {
		name  string
		after time.Duration // since the credentials came
		most  time.Duration // that another caller waits
	}{
		{"a cold start", 0, lookLimit + 100*time.Millisecond},
		{"a refresh", 50 * time.Minute, 0},
		{"an awakening in the last minute", 59*time.Minute + 30*time.Second, lateWait},
		{"after the end", 61 * time.Minute, lookLimit + 100*time.Millisecond},
	} {
		t.Run(at.name, func(t *testing.T) {
			oddStories(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, bad context.Context, within *atomic.Int64) {
				before := "none"
				behind(c).jitter = 0 // due after 45 minutes
				if at.after > 0 {
					before = p.key(t, c)
					time.Sleep(at.after)
				}
				askOddly(c, bad)
				var others sync.WaitGroup
				for i := range 10 {
					others.Add(1)
					go func() {
						defer others.Done()
						time.Sleep(time.Duration(i) * 50 * time.Millisecond)
						began := time.Now()
						p.key(t, c)
						assert.LessOrEqual(t, time.Since(began), at.most)
					}()
				}
				others.Wait()
				time.Sleep(3 * time.Second)
				assert.NotEqual(t, before, p.key(t, c), "the fetch was made")
				assert.LessOrEqual(t, within.Load(), int64(1))
			})
		})
	}
}

// TestCallersContextsForADay has one ask each half minute, and lead each fetch.
func TestCallersContextsForADay(t *testing.T) {
	oddStories(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, bad context.Context, within *atomic.Int64) {
		began, keys := time.Now(), map[string]bool{}
		for time.Since(began) < 24*time.Hour {
			askOddly(c, bad)
			if time.Since(began) < time.Second {
				time.Sleep(2 * time.Second) // the cold start
			}
			asked := time.Now()
			keys[p.key(t, c)] = true
			require.Zero(t, time.Since(asked), "nobody waits for a refresh")
			require.LessOrEqual(t, within.Load(), int64(maxStanding))
			time.Sleep(30 * time.Second)
		}
		assert.GreaterOrEqual(t, len(keys), 24)
	})
}

// TestACallersContextIsToldOf has the error of a fetch say what it went without.
func TestACallersContextIsToldOf(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		contexts, _ := odd(t)
		p.fails(errDown)
		ask := func(name string) error {
			_, err := c.Retrieve(contexts[name])
			require.ErrorIs(t, err, errDown)
			return err
		}
		assert.ErrorContains(t, ask("panics"), "down (without the values of the caller's context: refresh: panic with a value of type string in ")
		assert.ErrorContains(t, ask("exits"), "Value ended its goroutine")
		for range maxStanding {
			assert.ErrorContains(t, ask("blocks"), "Value has not returned in time")
		}
		assert.ErrorContains(t, ask("blocks"), "Value of 4 callers' contexts has not returned")
		_, err := c.Retrieve(t.Context())
		assert.ErrorContains(t, err, "Value of 4 callers' contexts has not returned")
	})
}

// TestCallersContextsAreSeenAgain has those that blocked return.
func TestCallersContextsAreSeenAgain(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		slow := &oddContext{Context: context.Background(), within: &atomic.Int64{}, value: func() { time.Sleep(time.Minute) }}
		var seen []any
		p.set(func(ctx context.Context, _ int) error {
			seen = append(seen, ctx.Value(valueKey{}))
			return nil
		})
		ask := func(ctx context.Context) {
			c.Invalidate()
			_, err := c.Retrieve(ctx)
			require.NoError(t, err)
		}
		good := context.WithValue(t.Context(), valueKey{}, "here")
		for i := range maxStanding {
			ask(slow)
			if i < maxStanding-1 {
				ask(good)
			}
		}
		ask(good) // in want of room
		time.Sleep(time.Minute)
		ask(good)
		assert.Equal(t, fmt.Sprint([]any{nil, "here", nil, "here", nil, "here", nil, nil, "here"}), fmt.Sprint(seen))
	})
}

// TestALookWithinTheFetch has a caller join a refresh that takes its whole time
// but for little more than a second, and lead another with a context that blocks.
func TestALookWithinTheFetch(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		contexts, _ := odd(t)
		p.lives(time.Minute)
		p.key(t, c)
		time.Sleep(59*time.Second + 700*time.Millisecond) // the refresh outlasts them
		p.set(hang(time.Hour))
		_, err := c.Retrieve(t.Context())
		require.NoError(t, err)
		time.Sleep(900 * time.Millisecond)
		began := time.Now()
		_, err = c.Retrieve(contexts["blocks"])
		require.Error(t, err)
		assert.LessOrEqual(t, time.Since(began), callLimit)
	})
}

// A context that gives what is looked for first, and blocks at the provider's own
// question, is bounded like a provider that blocks.
func TestACallersContextThatBlocksLater(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		var asked atomic.Int64
		later := &oddContext{Context: context.Background(), within: &atomic.Int64{}, value: func() {
			if asked.Add(1) > 1 {
				time.Sleep(time.Hour)
			}
		}}
		p.set(func(ctx context.Context, _ int) error { ctx.Value(valueKey{}); return nil })
		began := time.Now()
		askOddly(c, later)
		_, err := c.Retrieve(t.Context())
		require.Error(t, err)
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)
		p.key(t, c)
	})
}
