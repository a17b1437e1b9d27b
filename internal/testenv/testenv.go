// Package testenv hides the machine's environment from our tests. Only tests
// import it.
package testenv

import (
	"os"
	"strings"
	"testing"
)

// HideAWS unsets the variables by which the AWS SDK is configured, and those of
// proxies, until the test ends.
func HideAWS(t testing.TB) {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			t.Setenv(name, "") // it is put back when the test ends
			os.Unsetenv(name)
		}
	}
}

// HideVercel empties the variables by which package oidc finds tokens and its
// deployment, until the test ends.
func HideVercel(t testing.TB) {
	t.Helper()
	for _, name := range []string{"VERCEL_OIDC_TOKEN", "VERCEL_OIDC_TOKEN_FILE", "VERCEL_PROJECT_ID", "VERCEL", "VERCEL_ENV", "VERCEL_TARGET_ENV", "AWS_LAMBDA_FUNCTION_NAME"} {
		t.Setenv(name, "")
	}
}
