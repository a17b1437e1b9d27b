//go:build go1.25

package allowance

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatGoesWrongIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Allowance{Burst: 4, Every: 500 * time.Millisecond}
		var mu sync.Mutex
		var taken []time.Time
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				_, err := a.Take(t.Context())
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				taken = append(taken, time.Now())
			})
		}
		wg.Wait()
		for i := range taken {
			for j := i; j < len(taken); j++ {
				w := taken[j].Sub(taken[i])
				assert.LessOrEqual(t, j-i+1, 4+int(w/(500*time.Millisecond)))
			}
		}
		assert.Equal(t, 13*time.Second, taken[29].Sub(taken[0]))
	})
}

func TestWhatGoesRightIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Allowance{Burst: 1, Every: time.Second}
		start := time.Now()
		for range 1000 {
			giveBack, err := a.Take(t.Context())
			require.NoError(t, err)
			giveBack()
			giveBack() // counts once
		}
		assert.Zero(t, time.Since(start))
	})
}

func TestWhoeverLeavesTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Allowance{Burst: 1, Every: time.Second}
		_, err := a.Take(t.Context())
		require.NoError(t, err)
		gone := errors.New("gone")
		for range 100 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, gone)
			_, err = a.Take(ctx)
			cancel()
			require.ErrorIs(t, err, gone)
		}
		start := time.Now()
		_, err = a.Take(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 900*time.Millisecond, time.Since(start))
	})
}

func TestWhatIsSpentCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Allowance{Burst: 1, Every: time.Second}
		giveBack, err := a.Take(t.Context())
		require.NoError(t, err)
		giveBack()
		a.Spend()
		start := time.Now()
		_, err = a.Take(t.Context())
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

// After an idle time nothing is owed, and what is spent then counts in full.
func TestWhatIsSpentAfterAnIdleTimeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Allowance{Burst: 1, Every: time.Second}
		time.Sleep(time.Hour)
		a.Spend()
		a.Spend()
		start := time.Now()
		_, err := a.Take(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

// What is allowed at once is not refused for a context that has ended.
func TestWhoeverNeedNotWaitIsNotHeldToTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // where both were ready, the choice would be random
		a := &Allowance{Burst: 2, Every: time.Hour}
		for range 2 {
			_, err := a.Take(ctx)
			require.NoError(t, err)
		}
		_, err := a.Take(ctx)
		require.ErrorIs(t, err, context.Canceled)
	}
}
