package vercelaws

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/pace"
	"github.com/vercelaws/vercelaws/oidc"
)

// The default client is held to the provider's allowance of faults: the limits
// of its own do not stand before those.
func TestDefaultClientIsHeldToTheAllowanceOfFaults(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_CA_BUNDLE", "AWS_RETRY_MODE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	f := newFetcher("arn:aws:iam::123456789012:role/web", Options{TokenSource: oidc.TokenSourceFunc(nil)})
	call := &stsCall{client: f.client, calls: &f.clientCalls, faults: turns{Pacer: f.faults()}}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		_, err := call.ask(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String("r"), RoleSessionName: aws.String("s"), WebIdentityToken: aws.String("t")})
		require.Error(t, err)
	}
	assert.LessOrEqual(t, asked.Load(), int64(pace.FaultBurst)+int64(time.Since(start)/pace.Every)+1)
}
