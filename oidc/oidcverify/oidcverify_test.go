package oidcverify_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/oidc/oidctest"
	"github.com/vercelaws/vercelaws/oidc/oidcverify"
)

func TestVerify(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	v := oidcverify.New(issuer.Issuer(), issuer.Audience(), func(o *oidcverify.Options) {
		o.Owners, o.Projects, o.ProjectIDs, o.Environments = []string{"acme"}, []string{"web", "shop"}, []string{"prj_web"}, []string{"production"}
		o.HTTPClient = issuer.Client()
	})
	token, err := v.Verify(t.Context(), issuer.Mint())
	require.NoError(t, err)
	assert.Equal(t, "web", token.Project)

	cases := []struct{ name, raw, says string }{
		{"garbage", "garbage", "malformed"},
		{"forged", issuer.MintForged(), "do not verify"},
		{"unknown key", issuer.MintUnknownKey(), "do not verify"},
		{"unsigned", issuer.MintUnsigned("x"), "do not verify"},
		{"tampered", oidctest.Tamper(issuer.Mint()), "do not verify"},
		{"expired", issuer.Mint(func(c *oidctest.Claims) { c.Expiry = time.Now().Add(-time.Minute) }), "it expired at"},
		{"not yet", issuer.Mint(func(c *oidctest.Claims) { c.NotBefore = time.Now().Add(time.Hour) }), "do not verify"},
		{"issuer", issuer.Mint(func(c *oidctest.Claims) { c.Issuer = "https://evil.example" }), `issuer is "https://evil.example"`},
		{"audience", issuer.Mint(func(c *oidctest.Claims) { c.Audience = "x" }), `audience is ["x"]`},
		{"owner", issuer.Mint(func(c *oidctest.Claims) { c.Owner = "evil" }), `owner is "evil"`},
		{"project", issuer.Mint(func(c *oidctest.Claims) { c.Project = "api"; c.ProjectID = "prj_web" }), `project is "api"`},
		{"project ID", issuer.Mint(func(c *oidctest.Claims) { c.ProjectID = "prj_x" }), `project_id is "prj_x"`},
		{"environment", issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" }), `environment is "preview"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), c.raw)
			require.ErrorIs(t, err, oidcverify.ErrRefused)
			assert.ErrorContains(t, err, c.says)
			if parts := strings.Split(c.raw, "."); len(parts) == 3 {
				assert.NotContains(t, err.Error(), parts[1])
				assert.NotContains(t, err.Error(), parts[2])
			}
		})
	}
}

func TestRotationAndConcurrency(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	v := oidcverify.New(issuer.Issuer(), issuer.Audience())
	var wg sync.WaitGroup
	for range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := v.Verify(context.Background(), issuer.Mint())
			assert.NoError(t, err)
		}()
	}
	wg.Wait()
	issuer.RotateKey()
	_, err := v.Verify(t.Context(), issuer.Mint())
	assert.NoError(t, err)
}

// The context of the first call ends; the keys are fetched by later ones.
func TestFirstContextEnds(t *testing.T) {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	v := oidcverify.New(issuer.Issuer(), issuer.Audience())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := v.Verify(ctx, issuer.Mint())
	require.NoError(t, err)
	cancel()
	issuer.RotateKey()
	_, err = v.Verify(t.Context(), issuer.Mint())
	assert.NoError(t, err)
}

func TestIssuerOutOfReach(t *testing.T) {
	issuer := oidctest.NewServer()
	raw := issuer.Mint()
	v := oidcverify.New(issuer.Issuer(), issuer.Audience())
	issuer.Close()
	_, err := v.Verify(t.Context(), raw)
	require.ErrorContains(t, err, "cannot reach the issuer")
	assert.NotErrorIs(t, err, oidcverify.ErrRefused)
}

func TestConfigurationThatWouldLetAnyoneIn(t *testing.T) {
	_, err := oidcverify.New("https://oidc.vercel.com", "https://vercel.com/acme").Verify(t.Context(), "x")
	assert.ErrorContains(t, err, "Options.Owners")
	_, err = oidcverify.New("https://oidc.vercel.com/acme", "").Verify(t.Context(), "x")
	assert.ErrorContains(t, err, "no audience")
}

func ExampleVerifier() {
	issuer := oidctest.NewServer() // https://oidc.vercel.com/acme, outside of tests
	defer issuer.Close()
	verifier := oidcverify.New(issuer.Issuer(), "https://vercel.com/acme", func(o *oidcverify.Options) {
		o.Projects = []string{"web"}
		o.Environments = []string{"production"}
	})
	token, err := verifier.Verify(context.Background(), issuer.Mint())
	fmt.Println(token.Subject, err)
	_, err = verifier.Verify(context.Background(), issuer.Mint(func(c *oidctest.Claims) { c.Environment = "preview" }))
	fmt.Println(err)
	// Output:
	// owner:acme:project:web:environment:production <nil>
	// oidcverify: token refused: its environment is "preview", not one of ["production"]
}
