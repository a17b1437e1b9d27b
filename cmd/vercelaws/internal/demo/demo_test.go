package demo

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/ststest"
)

func TestDemoTellsEachStep(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Run(t.Context(), &out))
	for _, want := range []string{
		"1. An OIDC issuer", "2. A request arrives", "3. The handler", "4. The client signs", "5. A second request", "6. A preview deployment",
		"subject      owner:acme:project:web:environment:production",
		callerARN,
		"AssumeRoleWithWebIdentity: 1, as before; GetCallerIdentity: 2",
		`add "`, "environment:preview", "(another environment)",
	} {
		assert.Contains(t, out.String(), want)
	}
	assert.NotContains(t, out.String(), "eyJ", "a token was printed")
	for line := range strings.Lines(out.String()) {
		assert.Equal(t, strings.TrimRight(line, " \n")+"\n", line, "a line ends in spaces")
	}
}

// The environment of the machine must not show in the demo.
func TestDemoIgnoresTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_PROFILE":            "missing",
		"AWS_ACCESS_KEY_ID":      "AKIAEXAMPLE",
		"AWS_SECRET_ACCESS_KEY":  "example",
		"AWS_SESSION_TOKEN":      "example",
		"AWS_REGION":             "eu-central-9",
		"AWS_ENDPOINT_URL":       "http://127.0.0.1:1",
		"AWS_ENDPOINT_URL_STS":   "http://127.0.0.1:1",
		"AWS_USE_FIPS_ENDPOINT":  "true",
		"AWS_CA_BUNDLE":          "/nonexistent",
		"AWS_ROLE_ARN":           "arn:aws:iam::123456789012:role/other",
		"VERCEL_OIDC_TOKEN":      "garbage",
		"VERCEL_OIDC_TOKEN_FILE": "/nonexistent",
		"VERCEL_PROJECT_ID":      "prj_other",
		"HTTP_PROXY":             "http://127.0.0.1:1",
		"HTTPS_PROXY":            "http://127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	require.NoError(t, Run(t.Context(), &strings.Builder{}))
}

// A step that does not do what it says fails the demo.
func TestDemoChecksItsSteps(t *testing.T) {
	for name, spoil := range map[string]struct {
		fault func(ststest.Call) ststest.Fault
		step  func(s *story) error
		want  string
	}{
		"STS refuses the first token": {
			fault: ststest.Always(ststest.Fault{Code: "InvalidIdentityToken", Message: "no", Status: 400}),
			step:  func(s *story) error { return s.first(t.Context(), deploy(s.aws)) },
			want:  "the handler answered 502",
		},
		"the credentials are short-lived": {
			fault: ststest.Always(ststest.Fault{Lifetime: 10 * time.Minute}),
			step:  func(s *story) error { return s.first(t.Context(), deploy(s.aws)) },
			want:  "would be refreshed",
		},
		"nothing is in the cache": {
			step: func(s *story) error { return s.second(t.Context(), deploy(s.aws)) },
			want: "not 1 and 2",
		},
		"the refused token is let in": {
			step: func(s *story) error {
				s.aws.SetTrustPolicy(roleARN, strings.ReplaceAll(s.policy(), "production", "preview"))
				return s.refused(t.Context(), deploy(s.aws))
			},
			want: "answered 200",
		},
		"STS is down instead of refusing": {
			fault: ststest.Always(ststest.Fault{Code: "InternalFailure", Status: 500}),
			step:  func(s *story) error { return s.refused(t.Context(), deploy(s.aws)) },
			want:  "STS said",
		},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := oidctest.NewServer()
			defer issuer.Close()
			server := ststest.NewServer()
			defer server.Close()
			s := &story{out: &strings.Builder{}, issuer: issuer, aws: server}
			_, err := s.configure()
			require.NoError(t, err)
			server.SetFault(spoil.fault)
			assert.ErrorContains(t, spoil.step(s), spoil.want)
		})
	}
}

func (s *story) policy() string {
	document, err := s.configure()
	if err != nil {
		panic(err)
	}
	return document.String()
}

func TestDemoReportsABrokenPipe(t *testing.T) {
	assert.ErrorIs(t, Run(t.Context(), brokenPipe{}), errBrokenPipe)
}

func TestDemoEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, Run(ctx, &strings.Builder{}), context.Canceled)
}

var errBrokenPipe = errors.New("broken pipe")

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errBrokenPipe }
