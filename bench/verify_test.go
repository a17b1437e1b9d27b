package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

// verifiers returns functions that verify a token with ours and with golang-jwt,
// whose keys keyfunc fetches, and report whether it is good. Both have their keys.
func verifiers(tb testing.TB, issuer *oidctest.Server) (ours, peer func(raw string) bool) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	verifier, err := oidcverify.New(issuer.Issuer(), issuer.Audience(), func(o *oidcverify.Options) {
		o.Projects, o.Environments = []string{"web"}, []string{"production"}
	})
	require.NoError(tb, err)
	keys, err := keyfunc.NewDefaultCtx(ctx, []string{issuer.Issuer() + "/.well-known/jwks"})
	require.NoError(tb, err)
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(issuer.Issuer()),
		jwt.WithAudience(issuer.Audience()), jwt.WithExpirationRequired())
	type vercel struct {
		jwt.RegisteredClaims
		Owner       string `json:"owner"`
		OwnerID     string `json:"owner_id"`
		Project     string `json:"project"`
		ProjectID   string `json:"project_id"`
		Environment string `json:"environment"`
	}
	ours = func(raw string) bool {
		_, err := verifier.Verify(ctx, raw)
		return err == nil
	}
	peer = func(raw string) bool {
		var claims vercel
		_, err := parser.ParseWithClaims(raw, &claims, keys.Keyfunc)
		return err == nil && claims.Project == "web" && claims.Environment == "production"
	}
	good := issuer.Mint()
	require.True(tb, ours(good))
	require.True(tb, peer(good))
	return ours, peer
}

// BenchmarkVerify is what a server pays for an inbound token, good or forged. Both
// read Vercel's claims, and want one project and environment. "ratio" takes both in
// turn, so that a busy machine does to one what it does to the other, and reports the
// median of the ratios of 50 at a time.
func BenchmarkVerify(b *testing.B) {
	issuer := oidctest.NewServer()
	b.Cleanup(issuer.Close)
	ours, peer := verifiers(b, issuer)
	for name, raw := range map[string]string{
		"good":    issuer.Mint(),
		"forged":  issuer.MintForged(),
		"expired": issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(-time.Hour) }),
	} {
		verify := func(b *testing.B, f func(string) bool) {
			if f(raw) != (name == "good") {
				b.Fatal("judged wrongly")
			}
		}
		for who, f := range map[string]func(string) bool{"golang-jwt": peer, "vercelaws": ours} {
			b.Run(name+"/"+who, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					verify(b, f)
				}
			})
		}
		b.Run(name+"/ratio", func(b *testing.B) {
			took := func(f func(string) bool) time.Duration {
				began := time.Now()
				for range 50 {
					verify(b, f)
				}
				return time.Since(began)
			}
			var ratios []float64
			for b.Loop() {
				mine, other := took(ours), took(peer)
				ratios = append(ratios, mine.Seconds()/other.Seconds())
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "ours/golang-jwt")
		})
	}
}
