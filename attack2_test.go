//go:build go1.25

package vercelaws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/pace"
	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/ststest"
)

// stsFunc is a client that cannot be compared, as a function cannot.
type stsFunc func(context.Context, *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error)

func (f stsFunc) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return f(ctx, in)
}

func TestAClientThatIsAFunctionIsPacedToo(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSTS()
		s.set(always(errDown))
		p := NewProvider(testRole, withClient(stsFunc(func(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
			return s.AssumeRoleWithWebIdentity(ctx, in)
		})))
		for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
			_, err := p.Retrieve(fromRequest(mint(t, "good")))
			require.Error(t, err)
		}
		assert.Greater(t, s.count(), 20)
		s.paced(t, 3)
	})
}

// A source that was forgotten is an error of the first Retrieve, and does not end
// a program that makes its provider at the start.
func TestASourceThatIsNil(t *testing.T) {
	isolate(t)
	for name, source := range map[string]oidc.TokenSource{
		"FirstOf":  oidc.FirstOf(nil),
		"Map":      oidc.Map(nil, func(_ context.Context, t oidc.Token) (oidc.Token, error) { return t, nil }),
		"Exchange": oidc.Exchange(nil, "https://sts.amazonaws.com"),
	} {
		t.Run(name, func(t *testing.T) {
			var p *aws.CredentialsCache
			require.NotPanics(t, func() {
				p = NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) { o.TokenSource = source })
			})
			_, err := p.Retrieve(t.Context())
			require.ErrorContains(t, err, "Options.TokenSource panicked")
		})
	}
}

// Clients choose what they send, and so the text of the failure.
func TestGarbageDoesNotFillTheLog(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		var warnings atomic.Int64
		p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
			o.Logger = slog.New(levels(func(l slog.Level) {
				if l >= slog.LevelWarn {
					warnings.Add(1)
				}
			}))
		})
		start := time.Now()
		for i := range 1000 {
			garbage := fmt.Sprintf("%0*d", i%97+1, i)
			if i%2 == 0 {
				garbage = mint(t, fmt.Sprint(i), claim("exp", start.Add(-time.Duration(i+1)*time.Hour).Unix()))
			}
			_, err := p.Retrieve(fromRequest(garbage))
			require.Error(t, err)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		assert.LessOrEqual(t, warnings.Load(), int64(4*(time.Since(start)/(10*time.Second)+1)))
	})
}

// levels is a log handler that is told the level of each record.
type levels func(slog.Level)

func (levels) Enabled(context.Context, slog.Level) bool { return true }
func (l levels) Handle(_ context.Context, r slog.Record) error {
	l(r.Level)
	return nil
}
func (l levels) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l levels) WithGroup(string) slog.Handler      { return l }

// A step that hangs has used up the fetch's time: no other token is tried with
// what is left of nothing.
func TestAStepThatHangsIsNotAskedAgainInTheSameFetch(t *testing.T) {
	isolate(t)
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		p := NewProvider(testRole, withClient(newFakeSTS()), func(o *Options) {
			o.TokenSource = oidc.Map(oidc.FromRequest(), func(context.Context, oidc.Token) (oidc.Token, error) {
				calls.Add(1)
				time.Sleep(time.Hour)
				return oidc.Token{}, nil
			})
		})
		for i := range 10 {
			fromRequest(mint(t, fmt.Sprint(i)))
		}
		_, err := p.Retrieve(fromRequest(mint(t, "own")))
		require.ErrorContains(t, err, "a step of Options.TokenSource did not return when its context ended")
		time.Sleep(10 * time.Second)
		assert.EqualValues(t, 1, calls.Load())
		time.Sleep(2 * time.Hour)
	})
}

// What STS calls a success and is none keeps the turn until it is judged: no more
// providers begin than after a failure that says so.
func TestAnswersThatAreNoneKeepTheirTurn(t *testing.T) {
	answers := map[string]func() *sts.AssumeRoleWithWebIdentityOutput{
		"no credentials": func() *sts.AssumeRoleWithWebIdentityOutput { return &sts.AssumeRoleWithWebIdentityOutput{} },
		"no answer":      func() *sts.AssumeRoleWithWebIdentityOutput { return nil },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			synctest.Test(t, func(t *testing.T) {
				s := newFakeSTS()
				client := &emptyAnswers{s, answer}
				providers := NewProviders(func(_ string, o *Options) { o.Client = client })
				_, err := providers.For(testRole).Retrieve(fromRequest(mint(t, "good")))
				require.Error(t, err)
				var wg sync.WaitGroup
				for i := range 200 {
					ctx := fromRequest(mint(t, "good"))
					wg.Go(func() {
						_, err := providers.For(fmt.Sprint(testRole, i)).Retrieve(ctx)
						assert.Error(t, err)
					})
				}
				wg.Wait()
				s.paced(t, 3)
			})
		})
	}
}

type emptyAnswers struct {
	*fakeSTS
	answer func() *sts.AssumeRoleWithWebIdentityOutput
}

func (e *emptyAnswers) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, optFns ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	if _, err := e.fakeSTS.AssumeRoleWithWebIdentity(ctx, in, optFns...); err != nil {
		return nil, err
	}
	return e.answer(), nil
}

// The same with the SDK's client, for credentials that have expired as they come.
func TestCredentialsThatAreDeadAsTheyComeKeepTheirTurn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, _ *aws.CredentialsCache) {
		var noted fakeSTS
		w.sts.SetFault(func(ststest.Call) ststest.Fault {
			noted.mu.Lock()
			defer noted.mu.Unlock()
			noted.calls = append(noted.calls, time.Now())
			return ststest.Fault{Lifetime: -time.Minute}
		})
		client, raw := w.sts.STS(), w.issuer.Mint()
		for _, crowd := range []int{1, 200} {
			var wg sync.WaitGroup
			for range crowd {
				p, ctx := NewProvider(testRole, withClient(client)), fromRequest(raw)
				wg.Go(func() {
					_, err := p.Retrieve(ctx)
					assert.Error(t, err)
				})
			}
			wg.Wait()
		}
		noted.paced(t, 3)
	})
}

// A good answer without credentials is a fault like any other, which the next
// attempt may not meet.
func TestOneAnswerWithoutCredentialsAtAColdStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, p *aws.CredentialsCache) {
		w.sts.SetFault(ststest.First(2, ststest.Fault{EmptyCredentials: true}))
		_, err := p.Retrieve(fromRequest(w.issuer.Mint()))
		require.NoError(t, err)
	})
}

// A server that cuts the token which it quotes.
func TestATokenThatIsCutIsNotShownInAnError(t *testing.T) {
	isolate(t)
	raw := mint(t, "a token whose signature is of some length")
	s := newFakeSTS()
	s.set(func(_ context.Context, raw string) error {
		return &smithy.GenericAPIError{Code: "InvalidIdentityToken", Message: "not good: " + raw[:len(raw)-2]}
	})
	_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(raw))
	require.ErrorContains(t, err, "not good: ")
	signature := raw[strings.LastIndex(raw, ".")+1:]
	for err := error(err); err != nil; err = errors.Unwrap(err) {
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), signature[:20])
	}
}

// In two regions, the one that was slower is cancelled. That is no fault.
func TestTheSlowerRegionOwesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := turns{Pacer: &pace.Pacer{Burst: 3}}
		var slower []func(bool)
		for range 10 {
			end, err := of.Begin(t.Context())
			require.NoError(t, err)
			slower = append(slower, end)
		}
		faster, err := of.Begin(t.Context())
		require.NoError(t, err)
		faster(false)
		of.judge(nil)
		of.Clear()
		for _, end := range slower {
			end(true)
		}
		start := time.Now()
		for range 100 {
			_, err := of.Begin(t.Context())
			require.NoError(t, err)
		}
		assert.Zero(t, time.Since(start))
	})
}

// A turn that was answered is kept until the operation is judged.
func TestATurnIsKeptUntilTheOperationIsJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pace.Pacer{Burst: 1}
		began := func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			defer cancel()
			end, err := p.Begin(ctx)
			if err == nil {
				end(false)
			}
			return err == nil
		}
		end, err := p.Begin(t.Context())
		require.NoError(t, err)
		end(true)
		time.Sleep(pace.Every)
		for name, c := range map[string]struct {
			err  error
			next bool
		}{
			"an answer that is none": {fmt.Errorf("so: %w", unusableAnswer{errors.New("empty")}), false},
			"a refusal":              {codeError("AccessDenied"), true},
			"credentials":            {nil, true},
		} {
			time.Sleep(pace.Every)
			of := turns{Pacer: p}
			end, err := of.Begin(t.Context())
			require.NoError(t, err)
			end(false)
			assert.False(t, began(), name)
			of.judge(c.err)
			assert.Equal(t, c.next, began(), name)
		}
	})
}
