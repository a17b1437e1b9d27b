package oidctest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/vercelaws/vercelaws/oidc"
	"github.com/vercelaws/vercelaws/oidc/oidctest"
)

// A handler's test sends it the token that Vercel would.
func ExampleServer_Mint() {
	issuer := oidctest.NewServer()
	defer issuer.Close()

	handler := oidc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := oidc.FromRequest().Token(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, "%s of %s", token.Environment, token.Project)
	}))

	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set(oidc.Header, issuer.Mint(func(c *oidctest.Claims) { c.Project, c.Environment = "shop", "production" }))
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	fmt.Println(recorder.Body)
	// Output: production of shop
}
