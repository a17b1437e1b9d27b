package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

func show(source oidc.TokenSource, ctx context.Context) {
	token, err := source.Token(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.Subject, "from", token.Source())
}

func ExampleRequestContext() {
	issuer := oidctest.NewServer()
	defer issuer.Close()

	// Vercel sends each request with the deployment's token.
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set(oidc.Header, issuer.Mint())

	show(oidc.FromRequest(), oidc.RequestContext(r))
	// Output: owner:acme:project:web:environment:production from request
}

func ExampleContextWithToken() {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	show(oidc.DefaultSource(), oidc.ContextWithToken(context.Background(), issuer.Mint()))
	// Output: owner:acme:project:web:environment:production from ContextWithToken
}

func ExampleFromFile() {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "token")
	if err := os.WriteFile(file, []byte(issuer.Mint()), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	os.Setenv("VERCEL_OIDC_TOKEN_FILE", file)
	defer os.Unsetenv("VERCEL_OIDC_TOKEN_FILE")
	show(oidc.FromFile(), context.Background())
	// Output: owner:acme:project:web:environment:production from VERCEL_OIDC_TOKEN_FILE
}

func ExampleFromEnv() {
	os.Unsetenv("VERCEL_OIDC_TOKEN")
	show(oidc.FromEnv(), context.Background())
	// Output: oidc: VERCEL_OIDC_TOKEN: no token: the variable is not set; for local development run `vercel env pull` and load .env.local
}

func ExampleFromCLI() {
	source := oidc.FromCLI(func(o *oidc.CLIOptions) {
		o.Project = "web" // else that of the linked folder
		o.Team = "acme"
	})
	_ = source
}

// A source of your own is a function.
func ExampleFirstOf() {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	vault := func(context.Context) (string, error) { return issuer.Mint(), nil }

	own := oidc.TokenSourceFunc(func(ctx context.Context) (oidc.Token, error) {
		raw, err := vault(ctx)
		if err != nil {
			return oidc.Token{}, err
		}
		return oidc.ParseUnverified(raw)
	})
	token, err := oidc.FirstOf(oidc.FromRequest(), own).Token(context.Background())
	fmt.Println(token.Environment, err)
	// Output: production <nil>
}

func ExampleExchange() {
	issuer := oidctest.NewServer()
	defer issuer.Close()
	source := oidc.Exchange(oidc.DefaultSource(), "https://sts.amazonaws.com", func(o *oidc.ExchangeOptions) {
		o.Endpoint = issuer.ExchangeURL() // Vercel's, outside of tests
	})
	token, err := source.Token(oidc.ContextWithToken(context.Background(), issuer.Mint()))
	fmt.Println(token.Audience, err)
	// Output: [https://sts.amazonaws.com] <nil>
}

func ExampleParseUnverified() {
	_, err := oidc.ParseUnverified("undefined")
	fmt.Println(errors.Is(err, oidc.ErrMalformed), err)
	// Output: true oidc: malformed token: it has 1 dot-separated parts; a JSON Web Token has 3
}
