package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// verifiers returns ours and go-oidc's own, which have their keys.
func verifiers(tb testing.TB) (ours, peer func()) {
	tb.Helper()
	issuer := oidctest.NewServer()
	tb.Cleanup(issuer.Close)
	raw, ctx := issuer.Mint(), context.Background()
	verifier := oidcverify.New(issuer.Issuer(), issuer.Audience(), func(o *oidcverify.Options) {
		o.Projects, o.Environments = []string{"web"}, []string{"production"}
	})
	provider, err := gooidc.NewProvider(ctx, issuer.Issuer())
	require.NoError(tb, err)
	plain := provider.Verifier(&gooidc.Config{ClientID: issuer.Audience()})
	ours = func() {
		if _, err := verifier.Verify(ctx, raw); err != nil {
			tb.Fatal(err)
		}
	}
	peer = func() {
		if _, err := plain.Verify(ctx, raw); err != nil {
			tb.Fatal(err)
		}
	}
	ours()
	peer()
	return ours, peer
}

// BenchmarkVerify is what a server pays for an inbound token. Ours also reads
// Vercel's claims and holds them to the options, which go-oidc leaves to its
// user. "ratio" takes both in turn, so that a busy machine does to one what it
// does to the other, and reports the median of the ratios of 50 at a time.
func BenchmarkVerify(b *testing.B) {
	ours, peer := verifiers(b)
	b.Run("go-oidc", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			peer()
		}
	})
	b.Run("vercelaws", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ours()
		}
	})
	b.Run("ratio", func(b *testing.B) {
		took := func(f func()) time.Duration {
			began := time.Now()
			for range 50 {
				f()
			}
			return time.Since(began)
		}
		var ratios []float64
		for b.Loop() {
			mine, other := took(ours), took(peer)
			ratios = append(ratios, mine.Seconds()/other.Seconds())
		}
		slices.Sort(ratios)
		b.ReportMetric(ratios[len(ratios)/2], "ours/go-oidc")
	})
}
