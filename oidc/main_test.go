package oidc

import (
	"testing"
	"time"

	"github.com/vercelaws/vercelaws/internal/testenv"
	"github.com/vercelaws/vercelaws/internal/testtoken"
)

func mint(t testing.TB, change ...func(claims map[string]any)) string {
	return testtoken.Mint(t, "", change...)
}

var (
	claim = testtoken.Claim
	join  = testtoken.Join
)

func expiredBy(d time.Duration) func(map[string]any) {
	return claim("exp", time.Now().Add(-d).Unix())
}

// isolate keeps the machine's environment out of a test, and the tokens
// that other tests' requests left behind.
func isolate(t *testing.T) {
	t.Helper()
	testenv.HideVercel(t)
	t.Chdir(t.TempDir()) // not linked: no Vercel CLI
	forget := func() { recentTokens.Forget(func(string) bool { return true }) }
	forget()
	t.Cleanup(forget)
}
