package vercelaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/stsclient"
	"github.com/vercelaws/vercelaws/oidc"
)

func TestInvalidConfigurationIsSaidBeforeAnyCall(t *testing.T) {
	isolate(t)
	long := "arn:aws:iam::123456789012:role/" + strings.Repeat("x", 3000)
	cases := []struct {
		setting, name, role string
		option              func(*Options)
		says                []string
	}{
		{"role ARN", "empty", "", nil, []string{"role ARN is empty", "AWS_ROLE_ARN"}},
		{"role ARN", "a name", "web", nil, []string{`"web"`, `begin with "arn:"`}},
		{"role ARN", "a user", "arn:aws:iam::123456789012:user/web", nil, []string{`no ":role/"`}},
		{"role ARN", "short", "arn:a:role/x", nil, []string{"12 characters", "20 to 2048"}},
		{"role ARN", "long", long, nil, []string{"3031 characters", "20 to 2048"}},
		{"role ARN", "a space", "arn:aws:iam::123456789012:role/web ", nil, []string{"space or control character"}},
		{"role ARN", "a line end", "arn:aws:iam::123456789012:role/web\n", nil, []string{`web\n"`, "space or control character"}},
		{"Options.Duration", "too brief", testRole, func(o *Options) { o.Duration = time.Minute }, []string{"Options.Duration is 1m0s", "15m0s to 12h0m0s"}},
		{"Options.Duration", "too lasting", testRole, func(o *Options) { o.Duration = 13 * time.Hour }, []string{"Options.Duration is 13h0m0s"}},
		{"Options.Duration", "negative", testRole, func(o *Options) { o.Duration = -time.Hour }, []string{"Options.Duration is -1h0m0s"}},
		{"Options.Policy", "policy", testRole, func(o *Options) { o.Policy = aws.String(strings.Repeat("é", 2049)) }, []string{"Options.Policy has 2049 characters"}},
		{"Options.Policy", "empty policy", testRole, func(o *Options) { o.Policy = aws.String("") }, []string{"Options.Policy has 0 characters"}},
		{"Options.PolicyARNs", "policies", testRole, func(o *Options) { o.PolicyARNs = make([]types.PolicyDescriptorType, 11) }, []string{"Options.PolicyARNs has 11"}},
		{"Options.RoleSessionName", "session", testRole, func(o *Options) { o.RoleSessionName = "my session" }, []string{`Options.RoleSessionName is "my session"`}},
		{"Options.RoleSessionName", "brief session", testRole, func(o *Options) { o.RoleSessionName = "x" }, []string{"2 to 64"}},
		{"Options.Audience", "audience", testRole, func(o *Options) { o.Audience = "https://a b" }, []string{"space or control character"}},
		{"Options.Audience", "long audience", testRole, func(o *Options) { o.Audience = strings.Repeat("x", 2049) }, []string{"2049 characters"}},
		{"Options.JTI", "jti", testRole, func(o *Options) { o.JTI = "x" }, []string{"without Options.Audience"}},
		{"Options.RoleSessionName", "long session", testRole, func(o *Options) { o.RoleSessionName = strings.Repeat("x", 65) }, []string{"2 to 64"}},
		{"Options.ExpiryWindow", "a window too long", testRole, func(o *Options) { o.ExpiryWindow = 36*time.Minute + 1 }, []string{"Options.ExpiryWindow is 36m0.000000001s", "three fifths of Options.Duration, which is 1h0m0s"}},
		{"Options.ExpiryWindow", "a window too long for its duration", testRole, func(o *Options) { o.ExpiryWindow, o.Duration = 2*time.Hour, 3*time.Hour }, []string{"Options.ExpiryWindow is 2h0m0s", "Options.Duration, which is 3h0m0s"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newFakeSTS()
			p := NewProvider(c.role, withClient(s), func(o *Options) {
				if c.option != nil {
					c.option(o)
				}
			})
			_, err := p.Retrieve(fromRequest(mint(t, "a")))
			require.Error(t, err)
			for _, says := range c.says {
				assert.ErrorContains(t, err, says)
			}
			assert.Less(t, len(err.Error()), 600)
			assert.Zero(t, s.count())
			var bad *ConfigError
			require.ErrorAs(t, err, &bad)
			assert.Equal(t, c.setting, bad.Setting)
			assert.NotContains(t, err.Error(), "try again")
		})
	}
}

func TestRoleARNsThatPass(t *testing.T) {
	for _, role := range []string{
		testRole,
		"arn:aws-cn:iam::123456789012:role/web",
		"arn:aws-us-gov:iam::123456789012:role/path/to/web",
		"arn:minio:iam:::role/dummy-internal",
		"arn:aws:iam::role/x12345", // some S3-compatible stores
	} {
		assert.NoError(t, validate(role, Options{}), role)
	}
}

func TestSessionName(t *testing.T) {
	isolate(t)
	cases := []struct{ project, environment, want string }{
		{"web", "production", "vercel-web-production"},
		{"web app/ü", "pre view", "vercel-web-app---pre-view"},
		{"a_b.c=d,e@f+g", "x", "vercel-a_b.c=d,e@f+g-x"},
		{"", "", "vercel"},
		{strings.Repeat("p", 57), "production", "vercel-" + strings.Repeat("p", 46) + "-production"},
		{strings.Repeat("p", 57), "preview", "vercel-" + strings.Repeat("p", 49) + "-preview"},
		{"web", strings.Repeat("e", 100), "vercel-web-" + strings.Repeat("e", 53)},
	}
	for _, c := range cases {
		got := sessionNameFor(oidc.Token{Project: c.project, Environment: c.environment})
		assert.Equal(t, c.want, got)
		assert.True(t, validSessionName(got))
	}
}

func TestOptionsReachSTS(t *testing.T) {
	isolate(t)
	s := newFakeSTS()
	policy := `{"Version":"2012-10-17"}`
	p := NewProvider(testRole, withClient(s), func(o *Options) {
		o.Duration = 90 * time.Minute
		o.Policy = &policy
		o.PolicyARNs = []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")}}
		o.RoleSessionName = "mine"
	})
	raw := mint(t, "a")
	_, err := p.Retrieve(fromRequest(raw))
	require.NoError(t, err)
	in := s.inputs[0]
	assert.Equal(t, testRole, *in.RoleArn)
	assert.Equal(t, raw, *in.WebIdentityToken)
	assert.Equal(t, "mine", *in.RoleSessionName)
	assert.Equal(t, int32(5400), *in.DurationSeconds)
	assert.Equal(t, policy, *in.Policy)
	assert.Len(t, in.PolicyArns, 1)
	assert.Nil(t, in.ProviderId, "it is for OAuth 2.0 access tokens")

	_, err = NewProvider(testRole, withClient(s)).Retrieve(fromRequest(raw))
	require.NoError(t, err)
	in = s.inputs[1]
	assert.Equal(t, "vercel-web-production", *in.RoleSessionName)
	assert.Nil(t, in.DurationSeconds, "STS's default")
	assert.Nil(t, in.Policy)
}

func TestEveryCodeSaysWhatToDo(t *testing.T) {
	isolate(t)
	cases := map[string]string{
		"ExpiredTokenException":            "expired by STS's clock",
		"ExpiredToken":                     "expired by STS's clock",
		"InvalidIdentityToken":             "IAM OIDC provider with the URL of your team's issuer",
		"InvalidIdentityTokenException":    "IAM OIDC provider",
		"InvalidParameterValue":            "the message of STS says what is wrong",
		"IDPCommunicationError":            "could not fetch the keys",
		"IDPRejectedClaim":                 "deploy again",
		"AccessDenied":                     "check the account ID",
		"MalformedPolicyDocument":          "Options.Policy is not a valid IAM policy",
		"MalformedPolicyDocumentException": "Options.Policy",
		"PackedPolicyTooLarge":             "too large together",
		"RegionDisabledException":          "hkg1 (ap-east-1)",
		"OptInRequired":                    "Options.FallbackRegion",
		"ValidationError":                  "maximum session duration",
		"Throttling":                       "limits the account's rate",
		"InternalFailure":                  "try again",
	}
	for code, says := range cases {
		t.Run(code, func(t *testing.T) {
			forgetRequests()
			s := newFakeSTS()
			s.set(always(codeError(code)))
			_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(mint(t, "a")))
			var refused *AssumeRoleError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, code, refused.Code)
			assert.Equal(t, testRole, refused.RoleARN)
			assert.Equal(t, "https://oidc.vercel.com/acme", refused.Issuer)
			assert.Equal(t, "owner:acme:project:web:environment:production", refused.Subject)
			assert.Equal(t, []string{"https://vercel.com/acme"}, refused.Audience)
			var api smithy.APIError
			assert.ErrorAs(t, err, &api, "the SDK's error is still there")
			for _, part := range []string{code, testRole, refused.Subject, refused.Audience[0], "the service says", says} {
				assert.ErrorContains(t, err, part)
			}
			operations := 1
			if code == "IDPCommunicationError" { // it may be about the token, so others come first, and then it again
				operations = maxAttempts
			}
			assert.Equal(t, operations, s.count())
			assert.NotContains(t, refused.Advice(), "acme", "what only the token says is no advice")
			assert.Equal(t, refused.Temporary(), strings.Contains(err.Error(), "try again"))
		})
	}
}

// Whether a failure may pass is told by a method, whatever client said it, and
// "try again" is said of no other.
func TestWhatMayPass(t *testing.T) {
	isolate(t)
	keys := "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
	for name, test := range map[string]struct {
		err       error
		temporary bool
		says      string
	}{
		"no answer":       {errors.New("no route"), true, "could not be asked"},
		"500":             {answered(500, "InternalFailure"), true, "could not be asked"},
		"throttled":       {answered(400, "Throttling"), true, "limits the account's rate"},
		"no keys":         {&smithy.GenericAPIError{Code: "InvalidIdentityToken", Message: keys}, true, "could not fetch the keys"},
		"a bad token":     {&smithy.GenericAPIError{Code: "InvalidIdentityToken", Message: "Incorrect token audience"}, false, "IAM OIDC provider"},
		"refused":         {answered(403, "AccessDenied"), false, "trust policy"},
		"a new code":      {answered(400, "InvalidArgument"), false, "for the reason that its message gives"},
		"another":         {answered(400, "InvalidAction"), false, "for the reason that its message gives"},
		"not enabled":     {answered(403, "RegionDisabledException"), false, "FallbackRegion"},
		"not opted in":    {answered(403, "OptInRequired"), false, "FallbackRegion"},
		"dead on arrival": {unusableAnswer{errExpiredOnArrival}, false, "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fetcher{roleARN: testRole}
			var e *AssumeRoleError
			require.ErrorAs(t, f.assumeError(oidc.Token{}, test.err), &e)
			assert.Equal(t, test.temporary, e.Temporary())
			assert.Contains(t, e.Advice(), test.says)
			assert.Equal(t, test.temporary, strings.Contains(e.Error(), "try again"))
			assert.True(t, strings.HasSuffix(e.Error(), e.Advice()))
		})
	}
}

// A token that anybody made up cannot tell an operator what to trust.
func TestAdviceHoldsNothingOfTheToken(t *testing.T) {
	isolate(t)
	const evil = "https://oidc.vercel.com.evil.example/acme"
	for _, code := range []string{"AccessDenied", "InvalidIdentityToken", "IDPCommunicationError", "IDPRejectedClaim", "InvalidParameterValue"} {
		s := newFakeSTS()
		s.set(always(codeError(code)))
		_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(mint(t, "a", claim("iss", evil), claim("sub", "owner:evil"), claim("aud", "evil"))))
		var e *AssumeRoleError
		require.ErrorAs(t, err, &e)
		assert.NotContains(t, e.Advice(), "evil")
		assert.Contains(t, e.Error(), `token says issuer "`+evil+`"`)
	}
}

// The time-out of a user's own client is not the fetch's.
func TestATimeOutIsNotSaidToBeAnother(t *testing.T) {
	isolate(t)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client leaves
		<-r.Context().Done()
	}))
	defer server.Close()
	client := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Retryer: aws.NopRetryer{}, HTTPClient: &http.Client{Timeout: 50 * time.Millisecond}})
	_, err := NewProvider(testRole, withClient(client)).Retrieve(fromRequest(mint(t, "a")))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "STS did not answer in time")
	assert.NotContains(t, err.Error(), "10s")
}

// An old token and a clock that is ahead look the same.
func TestAnExpiredTokenHasTwoCauses(t *testing.T) {
	isolate(t)
	_, err := NewProvider(testRole, withClient(newFakeSTS())).Retrieve(fromRequest(mint(t, "a", claim("exp", time.Now().Add(-2*time.Hour).Unix()))))
	require.ErrorIs(t, err, oidc.ErrExpired)
	for _, says := range []string{"an old one", "clock is ahead"} {
		assert.ErrorContains(t, err, says)
	}
}

func TestExpiredTokenIsSaidWithoutCallingSTS(t *testing.T) {
	isolate(t)
	s := newFakeSTS()
	_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(mint(t, "a", claim("exp", time.Now().Add(-3*time.Hour).Unix()))))
	require.ErrorIs(t, err, oidc.ErrExpired)
	assert.ErrorContains(t, err, "3h0m")
	assert.Zero(t, s.count())

	_, err = NewProvider(testRole, withClient(s)).Retrieve(fromRequest(mint(t, "b", claim("exp", time.Now().Add(-30*time.Second).Unix()))))
	assert.NoError(t, err, "the local clock may be fast; STS judges")
}

func TestNoTokenSaysWhatToDo(t *testing.T) {
	isolate(t)
	_, err := NewProvider(testRole, withClient(newFakeSTS())).Retrieve(context.Background())
	require.ErrorIs(t, err, oidc.ErrNoToken)
	for _, says := range []string{testRole, "oidc.RequestContext(r)", "VERCEL_OIDC_TOKEN_FILE", "vercel env pull"} {
		assert.ErrorContains(t, err, says)
	}
	_, err = NewProvider(testRole, withClient(newFakeSTS())).Retrieve(fromRequest(""))
	assert.ErrorContains(t, err, "enable OIDC in the Vercel project's settings")
}

// A server can say anything. None of the token, and none of the credentials in
// an answer that could not be read, may reach an error.
func TestErrorsShowNoSecret(t *testing.T) {
	isolate(t)
	raw := mint(t, "a")
	signed := strings.SplitN(raw, ".", 2)[1]
	parts := strings.Split(signed, ".")
	answers := map[string]func(w http.ResponseWriter){
		"echo": func(w http.ResponseWriter) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>bad %s and %s</Message></Error></ErrorResponse>`, raw, parts[1])
		},
		"echo in the code": func(w http.ResponseWriter) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `<ErrorResponse><Error><Code>%s</Code><Message>m</Message></Error></ErrorResponse>`, raw)
		},
		"echo in a 500": func(w http.ResponseWriter) {
			w.WriteHeader(500)
			fmt.Fprintf(w, `<ErrorResponse><Error><Code>InternalFailure</Code><Message>%s</Message></Error></ErrorResponse>`, raw)
		},
		"truncated": func(w http.ResponseWriter) {
			fmt.Fprint(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><SecretAccessKey>secret-of-sts</SecretAccessKey><SessionToken>session-of-sts`)
		},
		"XML in place of the status line": func(w http.ResponseWriter) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprint(c, "<SecretAccessKey>secret-of-sts</SecretAccessKey><SessionToken>session-of-sts</SessionToken>", raw, "\r\n\r\n")
				c.Close()
			}
		},
		"garbage": func(w http.ResponseWriter) { fmt.Fprint(w, "secret-of-sts ", raw) },
		"long": func(w http.ResponseWriter) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `<ErrorResponse><Error><Code>X</Code><Message>%s</Message></Error></ErrorResponse>`, strings.Repeat("m", 100_000))
		},
		"log lines": func(w http.ResponseWriter) {
			w.WriteHeader(400)
			fmt.Fprint(w, "<ErrorResponse><Error><Code>X</Code><Message>a\nlevel=INFO msg=forged\x1b[31m</Message></Error></ErrorResponse>")
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			forgetRequests()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
			defer server.Close()
			log := &logBuffer{}
			p := NewProvider(testRole, withClient(stsAt(server)), log.option)
			_, err := p.Retrieve(fromRequest(raw))
			require.Error(t, err)

			for e := err; e != nil; e = errors.Unwrap(e) {
				texts := []string{e.Error(), fmt.Sprintf("%v %+v %#v %s %q", e, e, e, e, e)}
				if b, err := json.Marshal(e); err == nil {
					texts = append(texts, string(b))
				}
				var api smithy.APIError
				if errors.As(e, &api) {
					texts = append(texts, api.ErrorCode(), api.ErrorMessage())
				}
				for _, text := range texts {
					for _, secret := range []string{raw, signed, parts[0], parts[1], "secret-of-sts", "session-of-sts"} {
						require.NotContains(t, text, secret)
					}
				}
				require.NotContains(t, e.Error(), "\n")
				require.NotContains(t, e.Error(), "\x1b")
				require.Less(t, len(e.Error()), 3000)
			}
			require.NotContains(t, log.String(), parts[1])
			require.NotContains(t, log.String(), "secret-of-sts")
		})
	}
}

// clientErrors are errors of a client of the user's own that says little and
// keeps the request.
type (
	quietError  struct{ Raw string }
	bytesError  struct{ body []byte }
	nestedError struct {
		request struct{ fields map[string]any }
	}
	joinedError  struct{ errs []error }
	syntaxError  struct{ show func() string }
	verboseError struct{ show func() string }
	panickyError struct{ Raw string }
)

func (quietError) Error() string       { return "quiet" }
func (*bytesError) Error() string      { return "bytes" }
func (nestedError) Error() string      { return "nested" }
func (joinedError) Error() string      { return "joined" }
func (e joinedError) Unwrap() []error  { return e.errs }
func (syntaxError) Error() string      { return "syntax" }
func (e syntaxError) GoString() string { return e.show() }
func (verboseError) Error() string     { return "verbose" }
func (e verboseError) Format(s fmt.State, _ rune) {
	if text := "verbose"; s.Flag('+') {
		fmt.Fprint(s, text, e.show())
	} else {
		fmt.Fprint(s, text)
	}
}
func (panickyError) Error() string    { return "panicky" }
func (panickyError) GoString() string { panic("no") }

func TestErrorsOfAClientShowNoToken(t *testing.T) {
	isolate(t)
	raw := mint(t, "a")
	payload := strings.Split(raw, ".")[1]
	show := func() string { return raw }
	nested := nestedError{}
	nested.request.fields = map[string]any{"WebIdentityToken": raw}
	deep := error(quietError{raw})
	for range 200 {
		deep = fmt.Errorf("%w", deep)
	}
	for name, leak := range map[string]error{
		"a field":           quietError{raw},
		"a part of it":      &quietError{"x" + payload},
		"bytes":             &bytesError{[]byte("token=" + raw)},
		"within fields":     nested,
		"its Go syntax":     syntaxError{show},
		"its long form":     verboseError{show},
		"one that panics":   panickyError{raw},
		"one that it wraps": fmt.Errorf("asking: %w", &quietError{raw}),
		"one of several":    joinedError{[]error{nil, errDown, fmt.Errorf("asking: %w", quietError{raw})}},
		"deep within":       deep,
		"an error of STS's": fmt.Errorf("%w: %w", codeError("AccessDenied"), quietError{raw}),
	} {
		t.Run(name, func(t *testing.T) {
			forgetRequests()
			s := newFakeSTS()
			s.set(always(leak))
			_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(raw))
			var failed *AssumeRoleError
			require.ErrorAs(t, err, &failed)
			if failed.Code == "" {
				assert.ErrorContains(t, err, leak.Error())
			}
			assert.False(t, errors.As(err, new(quietError)) || errors.As(err, new(*quietError)) || errors.As(err, new(*bytesError)))
			for e := err; e != nil; e = errors.Unwrap(e) {
				text := fmt.Sprintf("%v %+v %#v %s %q %d %x", e, e, e, e, e, e, e)
				assert.NotContains(t, text, payload)
				assert.NotContains(t, text, strings.Trim(fmt.Sprint([]byte(payload)), "[]"))
			}
			if failed.Code != "" {
				assert.Contains(t, []string{"AccessDenied", "InternalFailure"}, failed.Code)
				assert.ErrorAs(t, err, new(*smithy.GenericAPIError))
			}
		})
	}
	t.Run("one that holds none is kept", func(t *testing.T) {
		forgetRequests()
		s := newFakeSTS()
		s.set(always(fmt.Errorf("asking: %w", &quietError{"the role is " + testRole})))
		_, err := NewProvider(testRole, withClient(s)).Retrieve(fromRequest(raw))
		assert.ErrorAs(t, err, new(*quietError))
	})
	t.Run("as is the SDK's", func(t *testing.T) {
		forgetRequests()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
		}))
		defer server.Close()
		_, err := NewProvider(testRole, withClient(stsAt(server))).Retrieve(fromRequest(raw))
		assert.ErrorAs(t, err, new(*awshttp.ResponseError))
	})
}

// stsAt is an SDK client for a test server, without the SDK's pauses.
func stsAt(server *httptest.Server) *sts.Client {
	return sts.New(sts.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(server.URL),
		HTTPClient:   server.Client(),
		Retryer:      aws.NopRetryer{},
	})
}

func TestEndlessAndSlowAnswersAreBounded(t *testing.T) {
	isolate(t)
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><SecretAccessKey>")
		chunk := []byte(strings.Repeat("x", 64<<10))
		for r.Context().Err() == nil && sent.Load() < 1<<30 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	defer server.Close()
	_, err := NewProvider(testRole, withClient(stsAt(server))).Retrieve(fromRequest(mint(t, "a")))
	var failed *AssumeRoleError
	require.ErrorAs(t, err, &failed)
	assert.Less(t, sent.Load(), int64(64<<20), "it stopped reading")
}

// answered is an STS error as the SDK gives it.
func answered(status int, code string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: code},
	}
}

func TestKindOf(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want failureKind
	}{
		"no answer":                {errors.New("no route"), serviceFault},
		"an answer without a code": {answered(403, "UnknownError"), serviceFault},
		"a server error":           {answered(500, "AccessDenied"), serviceFault},
		"throttled":                {answered(400, "Throttling"), serviceFault},
		"429":                      {answered(429, "Slow"), serviceFault},
		"no keys":                  {answered(400, "IDPCommunicationError"), serviceFault},
		"called the server's":      {&smithy.GenericAPIError{Code: "New", Fault: smithy.FaultServer}, serviceFault},
		"refused":                  {answered(403, "AccessDenied"), tokenRefused},
		"refused by MinIO":         {answered(400, "InvalidParameterValue"), tokenRefused},
		"a new code":               {answered(400, "SomethingNew"), tokenRefused},
		"a new code, no answer":    {&smithy.GenericAPIError{Code: "New"}, serviceFault},
		"a session policy":         {answered(400, "MalformedPolicyDocument"), requestRefused},
		"a large session policy":   {answered(400, "PackedPolicyTooLargeException"), requestRefused},
		// To the way to STS it is the region's fault, and another may do; to
		// the tokens it is a refusal, and none will do.
		"not opted in":      {answered(403, "OptInRequired"), requestRefused},
		"a disabled region": {answered(403, "RegionDisabledException"), requestRefused},
	} {
		assert.Equal(t, test.want, kindOf(test.err), name)
	}
	assert.True(t, stsclient.IsFault(answered(403, "RegionDisabledException")))
}
