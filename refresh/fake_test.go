package refresh

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"
)

// fakeProvider returns credentials with numbered keys, unless a test changes that.
type fakeProvider struct {
	mu      sync.Mutex
	life    time.Duration
	latency time.Duration
	answer  func(ctx context.Context, n int) error // nil error: credentials
	began   []time.Time
	given   map[string]time.Time // access key to its end

	until time.Time // for DependsUntil
	retry atomic.Bool
}

func newFake() *fakeProvider {
	return &fakeProvider{life: time.Hour, given: map[string]time.Time{}}
}

func (f *fakeProvider) set(answer func(ctx context.Context, n int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// fails makes the provider fail with err, or work again if err is nil.
func (f *fakeProvider) fails(err error) {
	f.set(func(context.Context, int) error { return err })
}

func (f *fakeProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	f.mu.Lock()
	f.began = append(f.began, time.Now())
	n, answer, latency := len(f.began), f.answer, f.latency
	f.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-ctx.Done():
			return aws.Credentials{}, ctx.Err()
		}
	}
	if answer != nil {
		if err := answer(ctx, n); err != nil {
			return aws.Credentials{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := aws.Credentials{
		AccessKeyID: fmt.Sprintf("AKIA%d", n), SecretAccessKey: "secret", SessionToken: fmt.Sprintf("session %d", n),
		CanExpire: true, Expires: time.Now().Add(f.life), Source: "fake",
	}
	f.given[c.AccessKeyID] = c.Expires
	return c, nil
}

// slow makes each call take d; lives makes credentials live d.
func (f *fakeProvider) slow(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latency = d
}

func (f *fakeProvider) lives(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.life = d
}

// end is when the credentials of an access key end.
func (f *fakeProvider) end(key string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.given[key]
}

// starts is when the calls began.
func (f *fakeProvider) starts() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.began...)
}

func (f *fakeProvider) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.began)
}

func (f *fakeProvider) DependsUntil() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.until
}

func (f *fakeProvider) RetryNow(error) bool { return f.retry.Load() }

// key retrieves and returns the access key, which must live.
func (f *fakeProvider) key(t testing.TB, c *aws.CredentialsCache) string {
	t.Helper()
	got, err := c.Retrieve(t.Context())
	require.NoError(t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	require.True(t, time.Now().Before(f.given[got.AccessKeyID]), "credentials that have ended")
	require.False(t, got.Expires.After(f.given[got.AccessKeyID]), "an expiry that was moved later")
	require.True(t, time.Now().Before(got.Expires), "credentials that the SDK takes for expired")
	return got.AccessKeyID
}

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) on(o *Options) {
	o.OnEvent = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
}

func (r *recorder) all() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.events...)
}
