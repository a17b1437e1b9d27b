//go:build go1.25

package vercelaws

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each test here is a fault that another SDK's credentials had in the field.

func longLived(t testing.TB) string {
	return mint(t, "long", claim("exp", time.Now().Add(1000*time.Hour).Unix()))
}

// aws-sdk-net issue 3541, reverted by 4023: after idle times, a background
// refresh handed out expired credentials.
func TestScarIdlePastExpiry(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.latency = 300 * time.Millisecond
		raw := longLived(t)
		for round := range 20 {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					creds, err := p.Retrieve(fromRequest(raw))
					usable(t, s, creds, err)
				})
			}
			wg.Wait()
			require.Equal(t, round+1, s.count(), "everyone waited for one fetch")
			time.Sleep(s.life + time.Duration(round)*time.Minute)
		}
	})
}

// aws-sdk-java-v2 issue 3314: one thread refreshed while the others were given
// expired credentials.
func TestScarOthersDuringTheRefresh(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		raw := longLived(t)
		_, err := p.Retrieve(fromRequest(raw))
		require.NoError(t, err)
		s.latency = 2 * time.Second
		time.Sleep(s.life - time.Second) // they end while the refresh is on its way
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 30 * time.Millisecond)
				creds, err := p.Retrieve(fromRequest(raw))
				usable(t, s, creds, err)
			})
		}
		wg.Wait()
		assert.Equal(t, 2, s.count())
	})
}

// aws-sdk-net issue 4316, aws-sdk-java issue 1893: with sessions of 15 minutes
// and a window of 15 minutes, every call refreshed.
func TestScarWindowAsLongAsTheSession(t *testing.T) {
	for _, life := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
				s.life = life
				raw := longLived(t)
				const lives = 10
				for end := time.Now().Add(lives * life); time.Now().Before(end); time.Sleep(life / 100) {
					creds, err := p.Retrieve(fromRequest(raw))
					usable(t, s, creds, err)
				}
				assert.LessOrEqual(t, s.count(), lives*4/3+2, "a refresh comes after three quarters of the life, or later")
			})
		})
	}
}

// aws-sdk-java-v2 issue 6805: exponential back-off overflowed after 58
// failures, and the provider never refreshed again.
func TestScarBackOffOverflow(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.life = 12 * time.Hour
		ctx := fromRequest(longLived(t))
		first, err := p.Retrieve(ctx)
		require.NoError(t, err)
		end, _ := s.expiry(first.AccessKeyID)
		s.set(always(errDown))
		time.Sleep(s.life - 30*time.Minute) // a refresh is due from here on
		for ; time.Now().Before(end); time.Sleep(time.Second) {
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err)
		}
		assert.Greater(t, s.count(), 50)
		assert.LessOrEqual(t, s.count(), 1+10+30*60/15)
		for range 1000 {
			_, err := p.Retrieve(ctx)
			require.Error(t, err)
		}
		s.set(nil)
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
	})
}

// mulgadc/spinifex issue 995, on Go's EC2 provider: on a failed refresh the
// same credentials came back with a later expiry, so a dead key lived on.
func TestScarExpiryMovedLater(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		ctx := fromRequest(longLived(t))
		first, err := p.Retrieve(ctx)
		require.NoError(t, err)
		end, _ := s.expiry(first.AccessKeyID)
		s.set(always(errDown))
		for ; time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err) // checks the expiry against STS's
		}
		_, err = p.Retrieve(ctx)
		require.Error(t, err)
	})
}

// A wrong local clock: credentials that are expired on arrival were fetched
// again on every call, and nothing said why.
func TestScarExpiredOnArrival(t *testing.T) {
	story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
		s.life = -3 * time.Minute
		for i := range 100 {
			_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
			require.ErrorContains(t, err, "expired on arrival")
			require.NotContains(t, err.Error(), "of STS", "whose time is not known")
			time.Sleep(time.Millisecond)
		}
		s.paced(t, 4)
		s.life = time.Hour
		time.Sleep(time.Second)
		creds, err := p.Retrieve(fromRequest(longLived(t)))
		usable(t, s, creds, err)
	})
}

// cockroachdb issue 169764: a request signed in the last moment of its
// credentials reached the service after their end.
func TestScarWakingInTheLastMinute(t *testing.T) {
	wake := func(t *testing.T, f func(s *fakeSTS, p *aws.CredentialsCache, ctx context.Context, first aws.Credentials)) {
		story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
			ctx := fromRequest(longLived(t))
			first, err := p.Retrieve(ctx)
			require.NoError(t, err)
			time.Sleep(s.life - 40*time.Second)
			f(s, p, ctx, first)
		})
	}
	t.Run("waits for fresh ones", func(t *testing.T) {
		wake(t, func(s *fakeSTS, p *aws.CredentialsCache, ctx context.Context, first aws.Credentials) {
			s.latency = 300 * time.Millisecond
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					creds, err := p.Retrieve(ctx)
					usable(t, s, creds, err)
					assert.NotEqual(t, first.AccessKeyID, creds.AccessKeyID)
				})
			}
			wg.Wait()
			assert.Equal(t, 2, s.count())
		})
	})
	t.Run("serves the old ones if STS is down, and waits once only", func(t *testing.T) {
		wake(t, func(s *fakeSTS, p *aws.CredentialsCache, ctx context.Context, first aws.Credentials) {
			s.set(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
			start := time.Now()
			creds, err := p.Retrieve(ctx)
			usable(t, s, creds, err)
			assert.Equal(t, first.AccessKeyID, creds.AccessKeyID)
			assert.LessOrEqual(t, time.Since(start), fetchLimit)
			for range 15 {
				time.Sleep(time.Second)
				start := time.Now()
				creds, err := p.Retrieve(ctx)
				usable(t, s, creds, err)
				assert.Zero(t, time.Since(start))
			}
			time.Sleep(fetchLimit) // let the last fetch end
			synctest.Wait()
		})
	})
	t.Run("the time in which nobody asked is not spent on refreshes", func(t *testing.T) {
		wake(t, func(s *fakeSTS, _ *aws.CredentialsCache, _ context.Context, _ aws.Credentials) {
			assert.Equal(t, 1, s.count())
		})
	})
}

// aws-sdk-java-v2 issue 5690: a misconfigured role hammered STS. A refusal that
// no token changes is remembered whatever the token is.
func TestScarMisconfiguredRole(t *testing.T) {
	for _, code := range []string{"MalformedPolicyDocument", "PackedPolicyTooLarge", "RegionDisabledException"} {
		t.Run(code, func(t *testing.T) {
			story(t, func(t *testing.T, s *fakeSTS, p *aws.CredentialsCache) {
				s.set(always(codeError(code)))
				for i := range 100 {
					_, err := p.Retrieve(fromRequest(mint(t, fmt.Sprint(i))))
					require.ErrorContains(t, err, code)
					time.Sleep(10 * time.Millisecond)
				}
				s.paced(t, 4)
				calls := s.count()
				start := time.Now()
				for range 100 { // as nearly all requests have, one token
					_, err := p.Retrieve(fromRequest(mint(t, "99")))
					require.ErrorContains(t, err, code)
				}
				assert.LessOrEqual(t, s.count(), calls+1)
				assert.LessOrEqual(t, time.Since(start), time.Second)
			})
		})
	}
}

func TestAnswersThatHoldNoCredentials(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		var spoil func(out *sts.AssumeRoleWithWebIdentityOutput) *sts.AssumeRoleWithWebIdentityOutput
		p := NewProvider(testRole, withClient(spoiled{s, &spoil}))
		ctx := fromRequest(longLived(t))
		const empty = "the answer holds credentials with an empty key or session token"
		for _, c := range []struct {
			says  string
			spoil func(c *types.Credentials) *types.Credentials
		}{
			{"the answer holds no credentials", func(*types.Credentials) *types.Credentials { return nil }},
			{empty, func(c *types.Credentials) *types.Credentials { c.AccessKeyId = nil; return c }},
			{empty, func(c *types.Credentials) *types.Credentials { c.SecretAccessKey = aws.String(""); return c }},
			{empty, func(c *types.Credentials) *types.Credentials { c.SessionToken = nil; return c }},
			{"the answer holds credentials without an expiry", func(c *types.Credentials) *types.Credentials { c.Expiration = nil; return c }},
			{"the STS client returned no answer and no error", nil},
		} {
			spoil = func(o *sts.AssumeRoleWithWebIdentityOutput) *sts.AssumeRoleWithWebIdentityOutput {
				if c.spoil == nil {
					return nil
				}
				o.Credentials = c.spoil(o.Credentials)
				return o
			}
			_, err := p.Retrieve(ctx)
			var failed *AssumeRoleError
			require.ErrorAs(t, err, &failed, c.says)
			assert.ErrorContains(t, err, testRole+": "+c.says+" (token", "without the words of stscreds around it")
			assert.NotContains(t, err.Error(), "secret-of")
		}
		spoil = func(o *sts.AssumeRoleWithWebIdentityOutput) *sts.AssumeRoleWithWebIdentityOutput { return o }
		creds, err := p.Retrieve(ctx)
		usable(t, s, creds, err)
	})
}

// spoiled changes what an STS answers.
type spoiled struct {
	*fakeSTS
	change *func(*sts.AssumeRoleWithWebIdentityOutput) *sts.AssumeRoleWithWebIdentityOutput
}

func (s spoiled) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, optFns ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	out, err := s.fakeSTS.AssumeRoleWithWebIdentity(ctx, in, optFns...)
	if err != nil {
		return nil, err
	}
	return (*s.change)(out), nil
}
