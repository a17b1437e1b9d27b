package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/vercelaws/vercelaws/refresh"
)

// TestHealth has a health check told of credentials that are missing, and of
// nothing that an error says.
func TestHealth(t *testing.T) {
	for name, c := range map[string]struct {
		ask, fail bool
		status    int
		says      string
	}{
		"nobody has asked": {status: http.StatusOK, says: `"status":"ok"`},
		"all is well":      {ask: true, status: http.StatusOK, says: `"expires":"2`},
		"none can be had":  {ask: true, fail: true, status: http.StatusServiceUnavailable, says: `"status":"no AWS credentials"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{provider: refresh.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				if c.fail {
					return aws.Credentials{}, errors.New("the details")
				}
				return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "s", CanExpire: true, Expires: time.Now().Add(time.Hour)}, nil
			}))}
			if c.ask {
				_, _ = s.provider.Retrieve(t.Context())
			}
			w := httptest.NewRecorder()
			s.routes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || strings.Contains(w.Body.String(), "details") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
