//go:build go1.25

package guard

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const grace = 100 * time.Millisecond

func hang(block chan struct{}) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { <-block; return 1, nil }
}

func TestReturnsWhatTheCallReturns(t *testing.T) {
	var c Calls
	n, err := Do(t.Context(), &c, "it", grace, func(context.Context) (int, error) { return 7, nil })
	require.NoError(t, err)
	assert.Equal(t, 7, n)
	failed := errors.New("failed")
	_, err = Do(t.Context(), &c, "it", grace, func(context.Context) (int, error) { return 7, failed })
	assert.Equal(t, failed, err)
}

func TestContainsAPanic(t *testing.T) {
	_, err := Do(t.Context(), new(Calls), "the source", grace, func(context.Context) (int, error) { panic("secret") })
	require.ErrorContains(t, err, "the source panicked: a value of type string in ")
	assert.ErrorContains(t, err, "TestContainsAPanic")
	assert.NotContains(t, err.Error(), "secret")
}

func TestContainsAGoexit(t *testing.T) {
	_, err := Do(t.Context(), new(Calls), "the source", grace, func(context.Context) (int, error) { runtime.Goexit(); return 0, nil })
	assert.EqualError(t, err, "the source ended its goroutine")
}

func TestManyHealthyCallsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Calls
		var wg sync.WaitGroup
		began := time.Now()
		for range 500 {
			wg.Go(func() {
				_, err := Do(t.Context(), &c, "it", grace, func(context.Context) (int, error) { time.Sleep(time.Second); return 0, nil })
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestACallThatHangsIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Calls
		block := make(chan struct{})
		for range MaxHung {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			began := time.Now()
			_, err := Do(ctx, &c, "the client", grace, hang(block))
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "the client did not return when its context ended")
			assert.Equal(t, time.Second+grace, time.Since(began))
		}
		_, err := Do(t.Context(), &c, "the client", grace, hang(block))
		assert.EqualError(t, err, "the client has not returned from 4 calls whose contexts have ended, so it is not called again until it does")

		close(block)
		synctest.Wait()
		_, err = Do(t.Context(), &c, "the client", grace, func(context.Context) (int, error) { return 0, nil })
		assert.NoError(t, err, "they have returned")
	})
}

// A call counts as hanging once its context is canceled, even before its grace is
// over, so that no fifth call begins in that time.
func TestNoMoreThanTheBoundHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Calls
		block := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		for range MaxHung {
			go func() { _, _ = Do(ctx, &c, "it", grace, hang(block)) }()
		}
		synctest.Wait()
		cancel()
		_, err := Do(t.Context(), &c, "it", grace, hang(block))
		assert.ErrorContains(t, err, "has not returned from 4 calls")
		close(block)
	})
}

func TestGraceIsForSayingWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		why := errors.New("why")
		_, err := Do(ctx, new(Calls), "it", grace, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			time.Sleep(grace / 2)
			return 0, why
		})
		assert.Equal(t, why, err)
	})
}
