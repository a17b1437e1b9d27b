//go:build go1.25

package stsclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// userClient runs f with a client that a user made with sts.New.
func userClient(t *testing.T, answer http.HandlerFunc, f func(t *testing.T, c *sts.Client, r *region)) {
	t.Helper()
	setenv(t, nil)
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(here, answer)
		defer r.close()
		c := sts.New(sts.Options{Region: here}, override(r), func(o *sts.Options) { o.HTTPClient = r.listener.Client() })
		f(t, c, r)
		c.Options().HTTPClient.(*http.Client).CloseIdleConnections()
	})
}

func TestAttemptIsLimitedInTime(t *testing.T) {
	begins := func(w http.ResponseWriter, r *http.Request) {
		synctest.Wait() // until the client has done all it does to send
		_, _ = w.Write([]byte("<a>"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, answer := range map[string]http.HandlerFunc{"silence": hangs, "half an answer": begins} {
		t.Run(name, func(t *testing.T) {
			userClient(t, answer, func(t *testing.T, c *sts.Client, r *region) {
				start := time.Now()
				_, err := assume(t.Context(), c, Limits(nil, nil), once)
				require.ErrorIs(t, err, attemptTimeoutError{attemptLimit})
				assert.Equal(t, attemptLimit, time.Since(start))
			})
		})
	}
}

func TestAttemptThatTimedOutIsMadeAgain(t *testing.T) {
	userClient(t, hangs, func(t *testing.T, c *sts.Client, r *region) {
		time.AfterFunc(time.Second, func() {
			answer := http.HandlerFunc(succeeds)
			r.answer.Store(&answer)
		})
		_, err := assume(t.Context(), c, Limits(nil, nil))
		require.NoError(t, err)
		assert.EqualValues(t, 2, r.requests.Load())
	})
}

// A slow STS answers the second attempt, which has all the time that is left.
func TestASlowSTSSucceeds(t *testing.T) {
	for _, latency := range []time.Duration{3500 * time.Millisecond, 4500 * time.Millisecond} {
		userClient(t, after(latency, succeeds), func(t *testing.T, c *sts.Client, r *region) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := assume(ctx, c, Limits(nil, nil))
			require.NoError(t, err)
			assert.EqualValues(t, 2, r.requests.Load())

			ours := New(Options{RoleARN: role, Override: override(r)})
			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err = assume(ctx, ours)
			require.NoError(t, err)
			assert.EqualValues(t, 4, r.requests.Load())
			ours.regions[0].Options().HTTPClient.(*http.Client).CloseIdleConnections()
		})
	}
}

// If STS does not answer, there are two attempts, within the fetch's time.
func TestASilentSTSHasTwoAttempts(t *testing.T) {
	userClient(t, hangs, func(t *testing.T, c *sts.Client, r *region) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, err := assume(ctx, c, Limits(nil, nil))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 10*time.Second, time.Since(start))
		assert.EqualValues(t, 2, r.requests.Load())
	})
}

// STS could not fetch the issuer's keys, twice.
func TestKeysThatSTSCouldNotFetch(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{"a code": says(400, "IDPCommunicationError"), "words": noKey} {
		t.Run(name, func(t *testing.T) {
			userClient(t, nil, func(t *testing.T, c *sts.Client, r *region) {
				var third http.HandlerFunc = func(w http.ResponseWriter, request *http.Request) {
					if r.requests.Load() < 3 {
						fault(w, request)
						return
					}
					succeeds(w, request)
				}
				r.answer.Store(&third)
				_, err := assume(t.Context(), c, Limits(nil, nil))
				require.NoError(t, err)
				assert.EqualValues(t, 3, r.requests.Load())
			})
		})
	}
}

func TestAnswerIsLimitedInSize(t *testing.T) {
	var sent int
	endless := func(w http.ResponseWriter, _ *http.Request) {
		synctest.Wait() // until the client has done all it does to send
		sent = 0
		for chunk := make([]byte, 32<<10); ; sent += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	userClient(t, endless, func(t *testing.T, c *sts.Client, r *region) {
		_, err := assume(t.Context(), c, Limits(nil, nil), once)
		var tooLarge *http.MaxBytesError
		require.ErrorAs(t, err, &tooLarge)
		assert.EqualValues(t, answerLimit, tooLarge.Limit)
		r.close()
		synctest.Wait()
		assert.Less(t, sent, 2*answerLimit)
	})
}

func TestLimitsCountOnce(t *testing.T) {
	userClient(t, answers(500, ""), func(t *testing.T, c *sts.Client, r *region) {
		faults := &few{left: 2}
		_, err := assume(t.Context(), c, Limits(faults, nil), Limits(faults, nil), once)
		require.Error(t, err)
		_, err = assume(t.Context(), c, Limits(faults, nil), once)
		require.Error(t, err)
		assert.EqualValues(t, 2, r.requests.Load())

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = assume(ctx, c, Limits(faults, nil))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "STS keeps failing")
		assert.EqualValues(t, 2, r.requests.Load(), "none beyond the allowance, and no retry of the wait")
	})
}

// A user's HTTP client that panics, or ends its goroutine, may have sent the
// request.
func TestABrokenHTTPClientIsAFault(t *testing.T) {
	for name, broken := range map[string]func(){"panics": func() { panic("broken") }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				c := sts.New(sts.Options{Region: here, Credentials: aws.AnonymousCredentials{}, HTTPClient: smithyhttp.ClientDoFunc(func(*http.Request) (*http.Response, error) {
					requests++
					broken()
					return nil, nil
				})})
				faults := &few{left: 1}
				for range 2 {
					ended := make(chan struct{})
					go func() {
						defer close(ended)
						defer func() { _ = recover() }()
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						_, _ = assume(ctx, c, Limits(faults, nil))
					}()
					<-ended
				}
				assert.Equal(t, 1, requests, "there is no allowance for the second")
			})
		})
	}
}

func TestFaultsAndRefusals(t *testing.T) {
	for name, answer := range faults {
		userClient(t, answer, func(t *testing.T, c *sts.Client, _ *region) {
			_, err := assume(t.Context(), c, Limits(nil, nil), once)
			assert.True(t, IsFault(err), "%s: %v", name, err)
		})
	}
	for name, answer := range map[string]http.HandlerFunc{
		"400": says(400, "ValidationError"), "403": says(403, "AccessDenied"), "401": says(401, "SomethingNew"),
	} {
		userClient(t, answer, func(t *testing.T, c *sts.Client, _ *region) {
			_, err := assume(t.Context(), c, Limits(nil, nil), once)
			assert.False(t, IsFault(err), "%s: %v", name, err)
		})
	}
	assert.False(t, IsFault(nil))
	assert.True(t, IsFault(errors.New("no route")))
	// From a client that is not the SDK's, without an HTTP answer:
	for api, want := range map[*smithy.GenericAPIError]bool{
		{Code: "AccessDenied"}:                                     false,
		{Code: "SomethingNew", Fault: smithy.FaultClient}:          false,
		{Code: "SomethingNew", Fault: smithy.FaultServer}:          true,
		{Code: "RegionDisabledException"}:                          true,
		{Code: "IDPCommunicationError", Fault: smithy.FaultClient}: true,
		{Code: "Throttling", Fault: smithy.FaultClient}:            true,
		{Code: "UnknownError"}:                                     true,
	} {
		assert.Equal(t, want, IsFault(fmt.Errorf("wrapped: %w", api)), "%+v", api)
	}
}

// few is a Pacer that allows a number of faults.
type few struct {
	mu   sync.Mutex
	left int
}

func (f *few) Begin(ctx context.Context) (func(bool), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	f.left--
	return func(fault bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !fault {
			f.left++
		}
	}, nil
}
