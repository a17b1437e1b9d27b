//go:build go1.25

package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// makeCache makes a cache of a provider with an ExpiryWindow.
type makeCache func(p aws.CredentialsProvider, window time.Duration) *aws.CredentialsCache

func sdkCache(p aws.CredentialsProvider, window time.Duration) *aws.CredentialsCache {
	return aws.NewCredentialsCache(p, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = window })
}

func ourCache(p aws.CredentialsProvider, window time.Duration) *aws.CredentialsCache {
	return NewCredentialsCache(p, expiryWindow(window))
}

// TestADropInForTheSDKsCache compares this cache with the SDK's in the cases that the
// SDK tests. Both must give the same result, except where ours and why name an
// intended difference. The cases are those of
// https://github.com/aws/aws-sdk-go-v2/blob/main/aws/credential_cache_test.go and
// https://github.com/aws/aws-sdk-go-v2/tree/main/credentials/stscreds, written
// anew, since those tests use the SDK's internals.
func TestADropInForTheSDKsCache(t *testing.T) {
	for _, c := range []struct {
		name      string
		run       func(t *testing.T, cache makeCache) []any
		want      []any // of both
		ours, why any   // where ours differs
	}{
		{
			name: "credentials are fetched once, and come as they are",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{creds: keys(10 * time.Minute)}
				c := cache(p, 0)
				ask(t, c)
				got, err := c.Retrieve(t.Context())
				until := got.Expires.Sub(p.creds.Expires)
				got.Expires = p.creds.Expires
				return []any{p.asked(), got == p.creds, err, until <= 0}
			},
			want: []any{1, true, nil, true},
		},
		{
			name: "credentials that end are fetched again",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{lives: 5 * time.Second}
				c := cache(p, 0)
				ask(t, c, c, c)
				time.Sleep(10 * time.Second)
				ask(t, c, c, c)
				return []any{p.asked()}
			},
			want: []any{2},
		},
		{
			name: "credentials that never end are fetched once",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{creds: keys(0)}
				c := cache(p, time.Minute)
				ask(t, c, c, c)
				time.Sleep(1000 * time.Hour)
				got, err := c.Retrieve(t.Context())
				return []any{p.asked(), got.CanExpire, err}
			},
			want: []any{1, false, nil},
		},
		{
			name: "credentials that have ended as they come",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{creds: keys(-time.Nanosecond)}
				c := cache(p, 0)
				_, err := c.Retrieve(t.Context())
				_, _ = c.Retrieve(t.Context())
				return []any{p.asked(), err}
			},
			want: []any{2, nil},
			ours: []any{2, fmt.Errorf("failed to refresh cached credentials, %w", errEnded)},
			why:  "nobody can sign with them: it is nearly always the local clock, and an error says so",
		},
		{
			name: "credentials without keys",
			run: func(t *testing.T, cache makeCache) []any {
				_, err := cache(&stub{}, 0).Retrieve(t.Context())
				return []any{err != nil}
			},
			want: []any{false},
			ours: []any{true},
			why:  "a request signed with them is refused, which says less",
		},
		{
			name: "an error of the provider",
			run: func(t *testing.T, cache makeCache) []any {
				got, err := cache(&stub{err: errDown}, 0).Retrieve(t.Context())
				return []any{got, errors.Is(err, errDown), err.Error()}
			},
			want: []any{aws.Credentials{}, true, "failed to refresh cached credentials, down"},
		},
		{
			name: "an error is not remembered",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{err: errDown}
				c := cache(p, 0)
				_, _ = c.Retrieve(t.Context())
				p.err, p.creds = nil, keys(time.Hour)
				_, err := c.Retrieve(t.Context())
				return []any{p.asked(), err}
			},
			want: []any{2, nil},
		},
		{
			name: "a hundred callers at once share one fetch",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{creds: keys(time.Hour), takes: time.Second}
				c := cache(p, 0)
				var all sync.WaitGroup
				for range 100 {
					all.Go(func() { ask(t, c) })
				}
				all.Wait()
				return []any{p.asked()}
			},
			want: []any{1},
		},
		{
			name: "a caller who leaves gets the SDK's error, and ends nothing",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{creds: keys(time.Hour), takes: time.Second}
				c := cache(p, 0)
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				_, err := c.Retrieve(ctx)
				ask(t, c)
				return []any{p.asked(), errors.As(err, new(*aws.RequestCanceledError))}
			},
			want: []any{1, true},
		},
		{
			name: "the first caller's values reach the provider, and not its deadline",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{creds: keys(time.Hour)}
				ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), valueKey{}, "v"), time.Second)
				defer cancel()
				_, err := cache(p, 0).Retrieve(ctx)
				return []any{p.seen, p.left > time.Second, err}
			},
			want: []any{"v", true, nil},
		},
		{
			name: "Invalidate has the next Retrieve fetch",
			run: func(t *testing.T, cache makeCache) []any {
				p := &stub{creds: keys(time.Hour)}
				c := cache(p, 0)
				ask(t, c)
				c.Invalidate()
				ask(t, c, c)
				p.err = errDown
				c.Invalidate()
				_, err := c.Retrieve(t.Context())
				return []any{p.asked(), errors.Is(err, errDown)}
			},
			want: []any{3, true},
		},
		{
			name: "when the SDK asks again, without a window",
			run: func(t *testing.T, cache makeCache) []any {
				got, err := cache(&stub{creds: keys(time.Hour)}, 0).Retrieve(t.Context())
				return []any{time.Until(got.Expires) == time.Hour, err}
			},
			want: []any{true, nil},
			ours: []any{false, nil},
			why:  "it is earlier, when the refresh begins in the background",
		},
		{
			name: "when the SDK asks again, with a window of five minutes",
			run: func(t *testing.T, cache makeCache) []any {
				got, err := cache(&stub{creds: keys(time.Hour)}, 5*time.Minute).Retrieve(t.Context())
				return []any{time.Until(got.Expires) <= 55*time.Minute, time.Until(got.Expires) < 50*time.Minute, err}
			},
			want: []any{true, false, nil},
			ours: []any{true, true, nil},
			why:  "it is earlier, so that nobody waits at the window",
		},
		{
			name: "HandleFailToRefresh has credentials that ended serve on",
			run: func(t *testing.T, cache makeCache) []any {
				p := &hooked{stub: stub{creds: keys(time.Hour)}}
				c := cache(p, 0)
				ask(t, c)
				p.err = errDown
				p.answer = func(before aws.Credentials, _ error) (aws.Credentials, error) {
					before.Expires = time.Now().Add(time.Hour)
					return before, nil
				}
				time.Sleep(time.Hour + time.Minute)
				got, err := c.Retrieve(t.Context())
				return []any{p.before.AccessKeyID, p.failure, got.AccessKeyID, err}
			},
			want: []any{"AKIAIOSFODNN7EXAMPLE", errDown, "AKIAIOSFODNN7EXAMPLE", nil},
		},
		{
			name: "HandleFailToRefresh says another error",
			run: func(t *testing.T, cache makeCache) []any {
				p := &hooked{stub: stub{err: errDown}}
				p.answer = func(aws.Credentials, error) (aws.Credentials, error) {
					return aws.Credentials{}, errors.New("some other error")
				}
				_, err := cache(p, 0).Retrieve(t.Context())
				return []any{p.before, p.failure, err.Error()}
			},
			want: []any{aws.Credentials{}, errDown, "failed to refresh cached credentials, some other error"},
		},
		{
			name: "HandleFailToRefresh is told nothing of what was invalidated",
			run: func(t *testing.T, cache makeCache) []any {
				p := &hooked{stub: stub{creds: keys(time.Hour)}}
				p.answer = func(before aws.Credentials, err error) (aws.Credentials, error) { return before, err }
				c := cache(p, 0)
				ask(t, c)
				p.err = errDown
				c.Invalidate()
				_, err := c.Retrieve(t.Context())
				return []any{p.before, errors.Is(err, errDown)}
			},
			want: []any{aws.Credentials{}, true},
		},
		{
			name: "AdjustExpiresBy says when the window begins",
			run: func(t *testing.T, cache makeCache) []any {
				p := &adjusted{stub: stub{creds: keys(time.Hour)}, to: 25 * time.Minute}
				got, err := cache(p, 5*time.Minute).Retrieve(t.Context())
				return []any{p.by, time.Until(got.Expires) <= 25*time.Minute, got.AccessKeyID, err}
			},
			want: []any{-5 * time.Minute, true, "AKIAIOSFODNN7EXAMPLE", nil},
		},
		{
			name: "AdjustExpiresBy that fails",
			run: func(t *testing.T, cache makeCache) []any {
				_, err := cache(&adjusted{stub: stub{creds: keys(time.Hour)}, err: errDown}, 5*time.Minute).Retrieve(t.Context())
				return []any{errors.Is(err, errDown)}
			},
			want: []any{true},
		},
		{
			name: "AdjustExpiresBy is not called without a window",
			run: func(t *testing.T, cache makeCache) []any {
				_, err := cache(&adjusted{stub: stub{creds: keys(time.Hour)}, err: errDown}, 0).Retrieve(t.Context())
				return []any{err}
			},
			want: []any{nil},
		},
		{
			name: "IsCredentialsProvider",
			run: func(_ *testing.T, cache makeCache) []any {
				is := func(p, target aws.CredentialsProvider) bool { return cache(p, 0).IsCredentialsProvider(target) }
				return []any{
					is(cache(aws.AnonymousCredentials{}, 0), aws.AnonymousCredentials{}),
					is(cache(&aws.AnonymousCredentials{}, 0), aws.AnonymousCredentials{}),
					is(cache(aws.AnonymousCredentials{}, 0), &aws.AnonymousCredentials{}),
					is(cache(aws.AnonymousCredentials{}, 0), &stub{}),
				}
			},
			want: []any{true, true, true, false},
		},
		{
			name: "IsCredentialsProvider of a cache without a provider",
			run:  func(_ *testing.T, cache makeCache) []any { return []any{cache(nil, 0).IsCredentialsProvider(nil)} },
			want: []any{true},
			ours: []any{false},
			why:  "there is something behind the SDK's cache",
		},
		{
			name: "ProviderSources",
			run: func(_ *testing.T, cache makeCache) []any {
				return []any{cache(withSources{newFake()}, 0).ProviderSources(), len(cache(&stub{}, 0).ProviderSources())}
			},
			want: []any{[]aws.CredentialSource{aws.CredentialSourceCode}, 0},
		},
		{
			name: "stscreds: a role, with MFA, tags, an external ID and a source identity",
			run: func(t *testing.T, cache makeCache) []any {
				var in *sts.AssumeRoleInput
				c := cache(stscreds.NewAssumeRoleProvider(stsFunc(func(i *sts.AssumeRoleInput) (*types.Credentials, error) {
					in = i
					return issued(time.Hour), nil
				}), role, func(o *stscreds.AssumeRoleOptions) {
					o.SerialNumber, o.TokenProvider = aws.String("0123456789"), func() (string, error) { return "000000", nil }
					o.Tags, o.TransitiveTagKeys = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}, []string{"k"}
					o.ExternalID, o.SourceIdentity = aws.String("acme-7"), aws.String("source")
				}), 0)
				got, err := c.Retrieve(t.Context())
				return []any{
					*in.SerialNumber, *in.TokenCode, *in.Tags[0].Key, in.TransitiveTagKeys, *in.ExternalId, *in.SourceIdentity,
					got.AccessKeyID, got.SecretAccessKey, got.SessionToken, got.AccountID, got.Source, got.CanExpire, err,
				}
			},
			want: []any{
				"0123456789", "000000", "k", []string{"k"}, "acme-7", "source",
				"ASIAIOSFODNN7EXAMPLE", "secret", "session", "131990247566", stscreds.ProviderName, true, nil,
			},
		},
		{
			name: "stscreds: MFA that fails, or of which there is no token",
			run: func(t *testing.T, cache makeCache) []any {
				var out []any
				for _, token := range []func() (string, error){nil, func() (string, error) { return "", errDown }} {
					_, err := cache(stscreds.NewAssumeRoleProvider(stsFunc(nil), role, func(o *stscreds.AssumeRoleOptions) {
						o.SerialNumber, o.TokenProvider = aws.String("0123456789"), token
					}), 0).Retrieve(t.Context())
					out = append(out, err.Error())
				}
				return out
			},
			want: []any{
				"failed to refresh cached credentials, assume role with MFA enabled, but TokenProvider is not set",
				"failed to refresh cached credentials, down",
			},
		},
		{
			name: "stscreds: an answer without credentials",
			run: func(t *testing.T, cache makeCache) []any {
				empty := stsFunc(func(*sts.AssumeRoleInput) (*types.Credentials, error) { return nil, nil })
				_, one := cache(stscreds.NewAssumeRoleProvider(empty, role), 0).Retrieve(t.Context())
				_, two := cache(stscreds.NewWebIdentityRoleProvider(empty, role, identity{}), 0).Retrieve(t.Context())
				return []any{strings.Contains(one.Error(), "did not contain credentials"), strings.Contains(two.Error(), "did not contain credentials")}
			},
			want: []any{true, true},
		},
		{
			name: "stscreds: a web identity, whose token is read for each fetch",
			run: func(t *testing.T, cache makeCache) []any {
				var tokens []string
				c := cache(stscreds.NewWebIdentityRoleProvider(webFunc(func(token string) { tokens = append(tokens, token) }), role, &numbered{}), 0)
				ask(t, c)
				time.Sleep(2 * time.Hour)
				ask(t, c)
				return []any{tokens}
			},
			want: []any{[]string{"token 1", "token 2"}},
		},
		{
			name: "ec2rolecreds: IMDS is down after the first fetch",
			run: func(t *testing.T, cache makeCache) []any {
				service := &metadata{}
				c := cache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = service }), 0)
				ask(t, c)
				service.down.Store(true)
				failed := 0
				for range 12 * 60 {
					time.Sleep(time.Minute)
					if got, err := c.Retrieve(t.Context()); err != nil || got.AccessKeyID != "ASIA1" {
						failed++
					}
				}
				service.down.Store(false)
				time.Sleep(20 * time.Minute)
				_, _ = c.Retrieve(t.Context()) // ours refreshes in the background
				time.Sleep(time.Second)
				got, err := c.Retrieve(t.Context())
				return []any{failed, got.AccessKeyID != "ASIA1", err}
			},
			want: []any{0, true, nil},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				assert.Equal(t, c.want, c.run(t, sdkCache), "aws.NewCredentialsCache")
				if c.ours != nil {
					require.NotEmpty(t, c.why)
					require.NotEqual(t, c.want, c.ours)
					c.want = c.ours.([]any)
				}
				got := c.run(t, ourCache)
				assert.Equal(t, fmt.Sprint(c.want...), fmt.Sprint(got...), "refresh.NewCredentialsCache")
			})
		})
	}
}

const role = "arn:aws:iam::131990247566:role/web"

// ask asks each cache, which has credentials.
func ask(t *testing.T, caches ...*aws.CredentialsCache) {
	t.Helper()
	for _, c := range caches {
		_, err := c.Retrieve(t.Context())
		assert.NoError(t, err)
	}
}

// keys are credentials that live for life, or for ever if that is 0.
func keys(life time.Duration) aws.Credentials {
	c := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "secret", SessionToken: "session", Source: "stub", AccountID: "131990247566"}
	if life != 0 {
		c.CanExpire, c.Expires = true, time.Now().Add(life)
	}
	return c
}

// stub is a provider that answers as it is told.
type stub struct {
	creds aws.Credentials
	lives time.Duration // if not zero, credentials that live so long at each call
	err   error
	takes time.Duration

	calls atomic.Int64
	seen  any           // of the context's values
	left  time.Duration // until its deadline
}

// asked is how often Retrieve was called, also in the background.
func (s *stub) asked() int { return int(s.calls.Load()) }

func (s *stub) Retrieve(ctx context.Context) (aws.Credentials, error) {
	s.calls.Add(1)
	s.seen, s.left = ctx.Value(valueKey{}), time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		s.left = time.Until(deadline)
	}
	time.Sleep(s.takes)
	if s.err != nil {
		return aws.Credentials{}, s.err
	}
	if s.lives != 0 {
		return keys(s.lives), nil
	}
	return s.creds, nil
}

// hooked is a provider with a HandleFailToRefresh, adjusted with an
// AdjustExpiresBy.
type hooked struct {
	stub
	answer  func(before aws.Credentials, err error) (aws.Credentials, error)
	before  aws.Credentials
	failure error
}

func (h *hooked) HandleFailToRefresh(_ context.Context, before aws.Credentials, err error) (aws.Credentials, error) {
	h.before, h.failure = before, err
	return h.answer(before, err)
}

type adjusted struct {
	stub
	to  time.Duration
	err error
	by  time.Duration
}

func (a *adjusted) AdjustExpiresBy(creds aws.Credentials, by time.Duration) (aws.Credentials, error) {
	a.by = by
	creds.Expires = time.Now().Add(a.to)
	return creds, a.err
}

// issued is what STS answers.
func issued(life time.Duration) *types.Credentials {
	return &types.Credentials{
		AccessKeyId: aws.String("ASIAIOSFODNN7EXAMPLE"), SecretAccessKey: aws.String("secret"), SessionToken: aws.String("session"),
		Expiration: aws.Time(time.Now().Add(life)),
	}
}

// stsFunc is an STS that accepts every caller.
type stsFunc func(*sts.AssumeRoleInput) (*types.Credentials, error)

func (f stsFunc) AssumeRole(_ context.Context, in *sts.AssumeRoleInput, _ ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	creds, err := f(in)
	return &sts.AssumeRoleOutput{Credentials: creds, AssumedRoleUser: &types.AssumedRoleUser{Arn: aws.String("arn:aws:sts::131990247566:assumed-role/web/session")}}, err
}

func (f stsFunc) AssumeRoleWithWebIdentity(context.Context, *sts.AssumeRoleWithWebIdentityInput, ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	creds, err := f(nil)
	return &sts.AssumeRoleWithWebIdentityOutput{Credentials: creds}, err
}

// webFunc is an STS that is told of each token.
type webFunc func(token string)

func (f webFunc) AssumeRoleWithWebIdentity(_ context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	f(*in.WebIdentityToken)
	return &sts.AssumeRoleWithWebIdentityOutput{Credentials: issued(time.Hour)}, nil
}

type identity struct{}

func (identity) GetIdentityToken() ([]byte, error) { return []byte("token"), nil }

// numbered gives another token each time.
type numbered struct{ n int }

func (n *numbered) GetIdentityToken() ([]byte, error) {
	n.n++
	return fmt.Appendf(nil, "token %d", n.n), nil
}

// metadata is the instance metadata service, with credentials that live six hours.
// A test changes down while a cache's goroutines ask.
type metadata struct {
	down  atomic.Bool
	asked int
}

func (m *metadata) GetMetadata(_ context.Context, in *imds.GetMetadataInput, _ ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	if m.down.Load() {
		return nil, errDown
	}
	text := "web\n"
	if strings.HasSuffix(in.Path, "/web") {
		m.asked++
		text = fmt.Sprintf(`{"Code":"Success","AccessKeyId":"ASIA%d","SecretAccessKey":"s","Token":"t%d","Expiration":%q}`,
			m.asked, m.asked, time.Now().Add(6*time.Hour).UTC().Format(time.RFC3339))
	}
	return &imds.GetMetadataOutput{Content: io.NopCloser(strings.NewReader(text))}, nil
}

// HandleFailToRefresh is also called for a refresh in the background. So no caller of
// EC2's provider waits for an IMDS that is down, and each event has the failure.
func TestNobodyWaitsWhileIMDSIsDown(t *testing.T) {
	for name, silent := range map[string]bool{"refuses": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, events := &metadata{}, &recorder{}
				p := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = slowMetadata{service, silent} })
				c := NewCredentialsCache(p, events.on)
				ask(t, c)
				service.down.Store(true)
				every(t, c, time.Second, 6*time.Hour, func(got aws.Credentials, err error, took time.Duration) {
					require.NoError(t, err)
					require.Zero(t, took)
					require.Equal(t, "ASIA1", got.AccessKeyID)
				})
				for _, e := range events.all()[1:] {
					assert.Error(t, e.Err)
					assert.Equal(t, ReasonExpiring, e.Reason)
					assert.False(t, e.NextTry.IsZero())
					assert.True(t, e.Expires.After(e.NextTry))
				}
				assert.Greater(t, statusOf(t, c).Expires, time.Now())

				// An instance that slept past the end is served on too, in time.
				time.Sleep(10 * time.Hour)
				start := time.Now()
				ask(t, c)
				assert.LessOrEqual(t, time.Since(start), 10*time.Second)

				// What a service rejected is not.
				status := statusOf(t, c)
				ReportRejected(t.Context(), c, status.AccessKeyID)
				time.Sleep(time.Until(status.Expires))
				_, err := c.Retrieve(t.Context())
				assert.Error(t, err)
			})
		})
	}
}

// slowMetadata is a metadata service that does not answer while it is down.
type slowMetadata struct {
	*metadata
	silent bool
}

func (m slowMetadata) GetMetadata(ctx context.Context, in *imds.GetMetadataInput, o ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	if m.down.Load() && m.silent {
		<-ctx.Done()
	}
	return m.metadata.GetMetadata(ctx, in, o...)
}

// Credentials of a provider without that hook are not returned after their expiry.
func TestOnlyTheHookExtendsTheExpiry(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, c *aws.CredentialsCache, _ *recorder) {
		p.key(t, c)
		p.fails(errDown)
		every(t, c, time.Second, 59*time.Minute+59*time.Second, func(_ aws.Credentials, err error, _ time.Duration) { require.NoError(t, err) })
		time.Sleep(time.Second)
		_, err := c.Retrieve(t.Context())
		require.ErrorIs(t, err, errDown)
	})
}

// The window of AdjustExpiresBy is at least zero and at most three fifths of the life.
func TestAnAdjustedWindowIsBounded(t *testing.T) {
	for to, window := range map[time.Duration]time.Duration{
		-time.Hour: 36 * time.Minute, 0: 36 * time.Minute, 25 * time.Minute: 35 * time.Minute, time.Hour: 0, 2 * time.Hour: 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			events := &recorder{}
			p := &adjusted{stub: stub{lives: time.Hour}, to: to}
			c := NewCredentialsCache(p, events.on, expiryWindow(5*time.Minute))
			every(t, c, time.Second, 3*time.Hour, func(_ aws.Credentials, err error, took time.Duration) {
				require.NoError(t, err)
				require.Zero(t, took)
			})
			assert.Equal(t, window, events.all()[0].ExpiryWindow, to)
			assert.LessOrEqual(t, p.asked(), 12)
			time.Sleep(time.Minute)
		})
	}
}

// If the provider is a cache of the SDK, Invalidate and a rejection invalidate it too.
func TestAroundACacheOfTheSDKs(t *testing.T) {
	story(t, func(t *testing.T, p *fakeProvider, _ *aws.CredentialsCache, _ *recorder) {
		inner := aws.NewCredentialsCache(p)
		old := p.key(t, inner)
		c := NewCredentialsCache(inner)
		require.Equal(t, old, p.key(t, c), "the first fetch takes what is there")

		c.Invalidate()
		invalidated := p.key(t, c)
		assert.NotEqual(t, old, invalidated)
		assert.Equal(t, invalidated, p.key(t, inner))

		p.slow(time.Second)
		require.True(t, ReportRejected(t.Context(), c, invalidated))
		assert.Equal(t, invalidated, p.key(t, c), "until the replacement is there")
		time.Sleep(2 * time.Second)
		rejected := p.key(t, c)
		assert.NotEqual(t, invalidated, rejected)
		assert.Equal(t, 3, p.calls())

		// A refresh leaves it alone.
		end := p.end(rejected)
		for time.Now().Add(time.Second).Before(end) {
			require.Equal(t, rejected, p.key(t, inner))
			require.Equal(t, rejected, p.key(t, c))
			time.Sleep(time.Second)
		}
		assert.Equal(t, 3, p.calls())
	})
}

// HandleFailToRefresh has some time even if Retrieve has used up the fetch's. If it
// hangs then, the fetch still ends in time. If Retrieve failed at once, it has nearly
// the full time.
func TestTheTimeOfHandleFailToRefresh(t *testing.T) {
	for _, c := range []struct {
		retrieve, hook time.Duration
		serves         bool
	}{
		{9500 * time.Millisecond, 90 * time.Millisecond, true},
		{time.Hour, 90 * time.Millisecond, true},
		{time.Hour, 140 * time.Millisecond, true}, // its context has ended
		{time.Hour, 160 * time.Millisecond, false},
		{time.Second, 8 * time.Second, true},
		{time.Second, time.Hour, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &hooked{stub: stub{err: errDown, takes: c.retrieve}}
			p.answer = func(aws.Credentials, error) (aws.Credentials, error) {
				time.Sleep(c.hook)
				return keys(time.Hour), nil
			}
			start := time.Now()
			_, err := NewCredentialsCache(p).Retrieve(t.Context())
			assert.Equal(t, c.serves, err == nil, "%v: %v", c, err)
			assert.LessOrEqual(t, time.Since(start), 10*time.Second, c)
			time.Sleep(2 * time.Hour)
		})
	}
}

// HandleFailToRefresh gets the last credentials, unless a service rejected them.
func TestHandleFailToRefreshIsToldNoRejectedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &hooked{stub: stub{creds: keys(time.Hour)}}
		p.answer = func(before aws.Credentials, err error) (aws.Credentials, error) {
			before.Expires = before.Expires.Add(time.Hour)
			return before, nil
		}
		c := NewCredentialsCache(p)
		ask(t, c)
		p.err = errDown
		time.Sleep(55 * time.Minute)
		ask(t, c) // in the background
		synctest.Wait()
		assert.Equal(t, p.creds.Expires, p.before.Expires)
		status := statusOf(t, c)
		assert.Equal(t, p.creds.Expires.Add(time.Hour), status.Expires)
		assert.Equal(t, errDown, status.Err)

		ReportRejected(t.Context(), c, status.AccessKeyID)
		synctest.Wait()
		time.Sleep(time.Minute)
		ReportRejected(t.Context(), c, status.AccessKeyID) // the back-off is over
		synctest.Wait()
		assert.Equal(t, aws.Credentials{}, p.before)
		ask(t, c) // the old ones serve to their end
		time.Sleep(2 * time.Hour)
		_, err := c.Retrieve(t.Context())
		assert.ErrorIs(t, err, errDown)
	})
}

// Credentials of HandleFailToRefresh are checked as those of Retrieve are.
func TestCredentialsOfHandleFailToRefreshAreChecked(t *testing.T) {
	for name, answer := range map[string]func() aws.Credentials{
		"ended":        func() aws.Credentials { c := keys(-time.Second); c.AccessKeyID = "other"; return c },
		"without keys": func() aws.Credentials { return aws.Credentials{} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &hooked{stub: stub{creds: keys(time.Hour)}}
				p.answer = func(aws.Credentials, error) (aws.Credentials, error) { return answer(), nil }
				c := NewCredentialsCache(p)
				ask(t, c)
				p.err = errDown
				ReportRejected(t.Context(), c, p.creds.AccessKeyID) // gives way to any other
				synctest.Wait()
				assert.Equal(t, p.creds.AccessKeyID, statusOf(t, c).AccessKeyID, "the old ones serve")
				time.Sleep(2 * time.Hour)
				_, err := c.Retrieve(t.Context())
				assert.ErrorIs(t, err, errDown, "why Retrieve failed")
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, err := NewCredentialsCache(hookedAdjuster{}, expiryWindow(time.Minute)).Retrieve(t.Context())
		assert.ErrorContains(t, err, "AdjustExpiresBy: no")
	})
}

// hookedAdjuster has a Retrieve that fails, a HandleFailToRefresh that returns
// credentials, and an AdjustExpiresBy that fails.
type hookedAdjuster struct{ oddHook }

func (hookedAdjuster) HandleFailToRefresh(context.Context, aws.Credentials, error) (aws.Credentials, error) {
	return keys(time.Hour), nil
}

func (hookedAdjuster) AdjustExpiresBy(aws.Credentials, time.Duration) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("no")
}
