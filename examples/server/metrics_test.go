package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/vercelaws/vercelaws"
	"github.com/vercelaws/vercelaws/oidc"
)

// TestCode has failures of each kind become a label, and text of a server none.
func TestCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&vercelaws.ConfigError{Setting: "AWS_RETRY_MODE"}, "config"},
		{&vercelaws.AssumeRoleError{Code: "AccessDenied"}, "AccessDenied"},
		{&vercelaws.AssumeRoleError{Code: "ExpiredTokenException"}, "ExpiredToken"},
		{fmt.Errorf("operation error S3: %w", &vercelaws.AssumeRoleError{}), "no_answer"},
		{&vercelaws.AssumeRoleError{Code: `a"b`}, "other"},
		{&vercelaws.AssumeRoleError{Code: strings.Repeat("a", 65)}, "other"},
		{&oidc.ExchangeError{Refused: true}, "exchange_refused"},
		{&oidc.ExchangeError{}, "exchange_failed"},
		{fmt.Errorf("request: %w", oidc.ErrNoToken), "no_token"},
		{fmt.Errorf("request: %w", oidc.ErrExpired), "expired_token"},
		{fmt.Errorf("request: %w", oidc.ErrMalformed), "malformed_token"},
		{context.DeadlineExceeded, "other"},
	} {
		if got := code(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
