//go:build go1.25

package refresh

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func statusOf(t *testing.T, c *aws.CredentialsCache) Status {
	t.Helper()
	start := time.Now()
	s, ok := StatusOf(c)
	require.True(t, ok)
	require.Zero(t, time.Since(start))
	return s
}

func TestStatusThroughALife(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		behind(c).first = 0.5
		assert.Equal(t, Status{}, statusOf(t, c))
		assert.Zero(t, p.calls(), "it fetches nothing")

		p.slow(time.Second)
		go p.key(t, c)
		synctest.Wait()
		assert.Equal(t, Status{Fetching: true}, statusOf(t, c), "also while a first fetch is under way")
		time.Sleep(time.Second)
		synctest.Wait()
		end := p.end("AKIA1")
		next := end.Add(-time.Hour + 33*time.Minute + 45*time.Second)
		assert.Equal(t, Status{AccessKeyID: "AKIA1", Expires: end, NextTry: next}, statusOf(t, c))

		time.Sleep(time.Until(next))
		p.fails(errDown)
		p.key(t, c)
		synctest.Wait()
		assert.Equal(t, Status{AccessKeyID: "AKIA1", Expires: end, NextTry: next, Fetching: true}, statusOf(t, c))
		time.Sleep(time.Second)
		synctest.Wait()
		s := statusOf(t, c)
		assert.Equal(t, errDown, s.Err)
		assert.Equal(t, "AKIA1", s.AccessKeyID)
		assert.False(t, s.Fetching)
		assert.Greater(t, time.Until(s.NextTry), 400*time.Millisecond)
		assert.LessOrEqual(t, time.Until(s.NextTry), time.Second)

		p.fails(nil)
		time.Sleep(2 * time.Second)
		p.key(t, c)
		time.Sleep(time.Second)
		synctest.Wait()
		s = statusOf(t, c)
		assert.NoError(t, s.Err)
		assert.Equal(t, "AKIA3", s.AccessKeyID)
		assert.Equal(t, p.end("AKIA3"), s.Expires)

		time.Sleep(2 * time.Hour)
		assert.Equal(t, Status{}, statusOf(t, c), "they have ended")
		p.fails(errDown)
		_, err := c.Retrieve(t.Context())
		require.ErrorIs(t, err, errDown)
		assert.Equal(t, Status{Err: errDown}, statusOf(t, c))
	})
}

// StatusOf does not wait, even if the provider hangs or calls StatusOf itself.
func TestStatusWhileAProviderHangs(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.set(func(context.Context, int) error {
			assert.True(t, statusOf(t, c).Fetching)
			time.Sleep(time.Hour)
			return nil
		})
		go func() { _, _ = c.Retrieve(t.Context()) }()
		for range 12 {
			statusOf(t, c)
			time.Sleep(time.Second)
		}
		assert.ErrorIs(t, statusOf(t, c).Err, context.DeadlineExceeded)
	})
}

func TestStatusOfOtherCaches(t *testing.T) {
	for _, c := range []*aws.CredentialsCache{nil, aws.NewCredentialsCache(newFake()), aws.NewCredentialsCache(nil)} {
		_, ok := StatusOf(c)
		assert.False(t, ok)
	}
	ours := NewCredentialsCache(newFake())
	_, err := ours.Retrieve(t.Context())
	require.NoError(t, err)
	around, ok := StatusOf(aws.NewCredentialsCache(ours))
	assert.True(t, ok)
	assert.Equal(t, "AKIA1", around.AccessKeyID)
}

func TestStatusOfCredentialsThatNeverEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &recorder{}
		c := NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "s", Expires: time.Now()}, nil
		}), events.on)
		_, err := c.Retrieve(t.Context())
		require.NoError(t, err)
		assert.Equal(t, Status{AccessKeyID: "a"}, statusOf(t, c))
		synctest.Wait()
		assert.Zero(t, events.all()[0].Expires)
	})
}
