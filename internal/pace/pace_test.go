//go:build go1.25

package pace

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func begin(t *testing.T, p *Pacer) func(bool) {
	t.Helper()
	end, err := p.Begin(t.Context(), 0)
	require.NoError(t, err)
	return end
}

// Fail has an operation fail that nobody had to wait for.
func (p *Pacer) Fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail()
	p.wake()
}

func TestHealthyOperationsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		began := time.Now()
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				end := begin(t, p)
				time.Sleep(20 * time.Millisecond)
				end(false)
			})
		}
		wg.Wait()
		assert.Equal(t, 20*time.Millisecond, time.Since(began))
	})
}

// After the first failure the number of operations that begin is bounded until one
// succeeds. It does not matter how many were under way, whether many callers wake
// at once, whether operations hang before they fail, or whether there were none for
// a while.
func TestOperationsAfterTheFirstFailureAreBounded(t *testing.T) {
	for _, herd := range []int{1, 3, 40, 500} {
		for _, takes := range []time.Duration{10 * time.Millisecond, 3 * time.Second} {
			synctest.Test(t, func(t *testing.T) { afterTheFirstFailure(t, herd, takes) })
		}
	}
}

func afterTheFirstFailure(t *testing.T, herd int, takes time.Duration) {
	p := &Pacer{Burst: 3}
	var mu sync.Mutex
	var begun []time.Duration // after the first failure
	var first time.Time
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var wg sync.WaitGroup
		for i := range herd {
			wg.Go(func() {
				for ctx.Err() == nil {
					end, err := p.Begin(ctx, 0)
					if err != nil {
						return
					}
					mu.Lock()
					if !first.IsZero() {
						begun = append(begun, time.Since(first))
					}
					mu.Unlock()
					time.Sleep(takes + time.Duration(i%7)*time.Millisecond)
					mu.Lock()
					if first.IsZero() {
						first = time.Now()
					}
					mu.Unlock()
					end(true)
				}
			})
		}
		wg.Wait()
		cancel()
		time.Sleep(memory - 10*time.Second)
	}
	for i := range begun {
		for j := i; j < len(begun); j++ {
			most := p.Burst + int((begun[j]-begun[i])/Every)
			require.LessOrEqual(t, j-i+1, most, "%d at once that take %s: from %s to %s", herd, takes, begun[i], begun[j])
		}
	}
	assert.GreaterOrEqual(t, len(begun), 2*min(herd, 30)*int(10*time.Second/max(takes, Every))/20, "it goes on")
}

func TestASuccessEndsAllWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		for range 10 {
			p.Fail()
		}
		began := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				end := begin(t, p)
				p.Clear()
				end(false)
			})
		}
		wg.Wait()
		assert.Equal(t, Every, time.Since(began), "the first waits its turn, and the others go with its success")
	})
}

// Whoever waits is woken by a success, and by an operation that did not fail.
func TestWhoWaitsIsWoken(t *testing.T) {
	for name, wake := range map[string]func(p *Pacer, end func(bool)){
		"by a success":          func(p *Pacer, _ func(bool)) { p.Clear() },
		"by one that goes well": func(_ *Pacer, end func(bool)) { end(false) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Pacer{Burst: 2}
				p.Fail()
				end := begin(t, p)
				began := time.Now()
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() {
						assert.NoError(t, p.Wait(t.Context()))
						assert.Equal(t, 100*time.Millisecond, time.Since(began))
					})
					synctest.Wait()
				}
				time.Sleep(100 * time.Millisecond)
				wake(p, end)
				wg.Wait()
			})
		})
	}
}

// Callers who always fail do not keep out one who has not.
func TestWhoHasFailedLessGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for failures := 1; ; failures++ {
					end, err := p.Begin(ctx, failures)
					if err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
					end(true)
				}
			})
		}
		for range 20 {
			time.Sleep(3 * time.Second)
			began := time.Now()
			end := begin(t, p)
			assert.LessOrEqual(t, time.Since(began), 2*Every)
			end(false)
		}
		cancel()
		wg.Wait()
	})
}

// Many whose turn has not come yet, and who will fail, do not keep out who comes later.
func TestWhoWaitedLongGoesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		p.Fail()
		ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		var served atomic.Int32
		for range 300 {
			wg.Go(func() {
				if end, err := p.Begin(ctx, 0); err == nil {
					served.Add(1)
					time.Sleep(20 * time.Millisecond)
					end(true)
				}
			})
		}
		for range 4 {
			time.Sleep(1500 * time.Millisecond)
			began := time.Now()
			end := begin(t, p)
			assert.LessOrEqual(t, time.Since(began), 2*Every)
			end(false)
		}
		wg.Wait()
		assert.GreaterOrEqual(t, served.Load(), int32(17), "two a second go on")
	})
}

func TestOneFailureAmongManyHealthyDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		var wg sync.WaitGroup
		began := time.Now()
		for i := range 200 {
			wg.Go(func() {
				end := begin(t, p)
				time.Sleep(time.Duration(i%20+1) * time.Millisecond)
				if i == 0 {
					end(true)
					end = begin(t, p) // its second attempt
					time.Sleep(20 * time.Millisecond)
				}
				p.Clear()
				end(false)
			})
		}
		wg.Wait()
		assert.Less(t, time.Since(began), 30*time.Millisecond)
	})
}

func TestManyFailuresAtOnceOweNoMoreThanABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		var ends []func(bool)
		for range 100 {
			ends = append(ends, begin(t, p))
		}
		for _, end := range ends {
			end(true)
		}
		began := time.Now()
		begin(t, p)(true)
		assert.Equal(t, Every, time.Since(began))
	})
}

func TestOperationsUnderWayCountWhileSomethingIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		begin(t, p)
		begin(t, p)
		p.Fail()
		ctx, cancel := context.WithTimeoutCause(t.Context(), Every-1, errors.New("the cause"))
		defer cancel()
		_, err := p.Begin(ctx, 0)
		assert.EqualError(t, err, "the cause")
		assert.Equal(t, 2, p.underWay)
	})
}

// A failure counts when it is known. While an operation hangs before it fails, it
// leaves no room for a burst.
func TestALateFailureIsOwedWhenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		p.Fail()
		end := begin(t, p)
		time.Sleep(3 * time.Second)
		end(true)
		began := time.Now()
		for range 3 {
			begin(t, p)
		}
		assert.Equal(t, Every, time.Since(began))
	})
}

// A failure of more than a minute ago delays no operation.
func TestAFailureIsForgottenAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 3}
		p.Fail()
		time.Sleep(memory + Every + 1)
		began := time.Now()
		for range 100 {
			begin(t, p)
		}
		assert.Zero(t, time.Since(began))
	})
}

func TestEndCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Burst: 1}
		end := begin(t, p)
		end(false)
		end(true)
		assert.NoError(t, p.Wait(canceled(t)), "nothing is owed")
		p.Fail()
		assert.ErrorIs(t, p.Wait(canceled(t)), context.Canceled)
	})
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A failure by the real clock must not delay a test with a clock of its own.
func TestADebtOfAnotherClockIsIgnored(t *testing.T) {
	p := &Pacer{Burst: 3}
	for range 5 {
		p.Fail()
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		begin(t, p)(true)
		assert.Zero(t, time.Since(began))
		begin(t, p)(false)
	})
	begin(t, p)(false)
}

type client struct{ name string }

func TestOnePacerForAnEndpoint(t *testing.T) {
	a, b := &client{"a"}, &client{"a"}
	assert.Same(t, Of("sts.example"), Of("sts.example"))
	assert.Same(t, Of(a), Of(a))
	assert.NotSame(t, Of(a), Of(b))
	incomparable := struct{ f func() }{}
	assert.NotSame(t, Of(incomparable), Of(incomparable))
}

func TestIdlePacersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owes := &client{}
		count := func() int {
			ofEndpoints.Lock()
			defer ofEndpoints.Unlock()
			return len(ofEndpoints.pacers)
		}
		for range 1000 {
			Of(&client{"new"})
		}
		end := begin(t, Of(owes))
		time.Sleep(2 * time.Minute)
		Of(&client{"one more"})
		assert.Less(t, count(), 100)
		assert.Equal(t, 1, Of(owes).underWay, "what is under way is not forgotten")
		end(false)

		key := &client{"failing"}
		failing := Of(key)
		time.Sleep(50 * time.Second)
		failing.Fail()
		for range 100 {
			Of(&client{"new"})
		}
		time.Sleep(20 * time.Second)
		Of(&client{"one more"})
		assert.Same(t, failing, Of(key), "nor is a failure")

		key = &client{"young"}
		young := Of(key)
		for range 100 {
			Of(&client{"new"})
		}
		assert.Same(t, young, Of(key), "its caller may not have begun to use it")
	})
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for attempt, least := range map[int]time.Duration{1: 50 * time.Millisecond, 2: 100 * time.Millisecond, 3: 200 * time.Millisecond} {
			began := time.Now()
			assert.True(t, Pause(t.Context(), attempt))
			assert.GreaterOrEqual(t, time.Since(began), least)
			assert.Less(t, time.Since(began), 3*least)
		}
		assert.False(t, Pause(canceled(t), 1))
	})
}

// While it goes wrong, an operation is counted when it begins: once if it fails
// at once, and not if it does not fail, however often its end is told.
func TestWhatACountedOperationCosts(t *testing.T) {
	for name, c := range map[string]struct {
		ends []bool
		wait time.Duration // of the second operation after it
	}{
		"fails":               {[]bool{true}, Every},
		"fails, told twice":   {[]bool{true, true}, Every},
		"does not":            {[]bool{false}, 0},
		"does not, twice":     {[]bool{false, false}, 0},
		"does not, and fails": {[]bool{false, true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Pacer{Burst: 3}
				p.Fail()
				end := begin(t, p)
				for _, failed := range c.ends {
					end(failed)
				}
				began := time.Now()
				begin(t, p)
				assert.Zero(t, time.Since(began), "there is room for one")
				began = time.Now()
				begin(t, p)
				assert.Equal(t, c.wait, time.Since(began))
				began = time.Now()
				begin(t, p)
				assert.Equal(t, Every, time.Since(began))
			})
		})
	}
}
