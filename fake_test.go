package vercelaws

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc"
)

const testRole = "arn:aws:iam::123456789012:role/web"

// fakeSTS is an STS client for tests about time. It checks no token: each test
// says what happens. Tests about what STS does use package ststest.
type fakeSTS struct {
	mu      sync.Mutex
	answer  func(ctx context.Context, raw string) error // nil error: credentials
	latency time.Duration
	life    time.Duration
	calls   []time.Time
	tokens  []string
	given   map[string]time.Time // access key to expiry
	inputs  []*sts.AssumeRoleWithWebIdentityInput
}

func newFakeSTS() *fakeSTS { return &fakeSTS{life: time.Hour, given: map[string]time.Time{}} }

func (f *fakeSTS) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, _ ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	raw := aws.ToString(in.WebIdentityToken)
	f.mu.Lock()
	f.calls = append(f.calls, time.Now())
	f.tokens = append(f.tokens, raw)
	f.inputs = append(f.inputs, in)
	answer, latency := f.answer, f.latency
	f.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if answer != nil {
		if err := answer(ctx, raw); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := fmt.Sprintf("ASIA%04d", len(f.given))
	expires := time.Now().Add(f.life).Truncate(time.Second)
	f.given[key] = expires
	return &sts.AssumeRoleWithWebIdentityOutput{
		AssumedRoleUser: &types.AssumedRoleUser{Arn: aws.String("arn:aws:sts::123456789012:assumed-role/web/s")},
		Credentials: &types.Credentials{
			AccessKeyId:     aws.String(key),
			SecretAccessKey: aws.String("secret-of-" + key),
			SessionToken:    aws.String("session-of-" + key),
			Expiration:      aws.Time(expires),
		},
	}, nil
}

// Format keeps the fake's own notes out of tests about what gets printed.
func (f *fakeSTS) Format(s fmt.State, _ rune) { fmt.Fprint(s, "fakeSTS") }

func (f *fakeSTS) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// paced checks that no window of time had more calls than a burst, and two for
// each second of it.
func (f *fakeSTS) paced(t testing.TB, burst int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.calls {
		for j := i; j < len(f.calls); j++ {
			require.LessOrEqual(t, j-i+1, burst+int(2*f.calls[j].Sub(f.calls[i]).Seconds()), "calls %d to %d", i, j)
		}
	}
}

func (f *fakeSTS) set(answer func(ctx context.Context, raw string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeSTS) expiry(key string) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.given[key]
	return t, ok
}

func codeError(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "the service says " + code}
}

func always(err error) func(context.Context, string) error {
	return func(context.Context, string) error { return err }
}

var errDown = codeError("InternalFailure") // a fault of the service

// mint makes a token that Parse takes. Its signature is not a real one.
func mint(t testing.TB, jti string, change ...func(map[string]any)) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{
		"iss": "https://oidc.vercel.com/acme", "aud": "https://vercel.com/acme",
		"sub":   "owner:acme:project:web:environment:production",
		"owner": "acme", "owner_id": "team_1", "project": "web", "project_id": "prj_1", "environment": "production",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(2 * time.Hour).Unix(), "jti": jti,
	}
	for _, f := range change {
		f(claims)
	}
	b, err := json.Marshal(claims)
	require.NoError(t, err)
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + e(b) + "." + e([]byte("signature of "+jti))
}

func claim(name string, value any) func(map[string]any) {
	return func(c map[string]any) { c[name] = value }
}

// fromRequest is the context of a request with the token raw; none if "".
func fromRequest(raw string) context.Context {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if raw != "" {
		r.Header.Set(oidc.Header, raw)
	}
	return oidc.RequestContext(r)
}

// isolate keeps the machine's environment and other tests' requests out.
func isolate(t testing.TB) {
	t.Helper()
	if tt, ok := t.(interface{ Setenv(k, v string) }); ok {
		for _, v := range []string{"VERCEL_OIDC_TOKEN", "VERCEL_OIDC_TOKEN_FILE", "VERCEL_PROJECT_ID", "VERCEL_ENV", "VERCEL_TARGET_ENV", "AWS_LAMBDA_FUNCTION_NAME"} {
			tt.Setenv(v, "")
		}
		tt.Setenv("VERCEL", "1")
	}
	forgetRequests()
	t.Cleanup(forgetRequests)
}

func forgetRequests() {
	newFetcher(testRole, Options{}).request().Request.Recent().Forget(func(string) bool { return true })
}

func withClient(c stscreds.AssumeRoleWithWebIdentityAPIClient) func(*Options) {
	return func(o *Options) { o.Client = c }
}
