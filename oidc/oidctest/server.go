// Package oidctest is a Vercel OIDC issuer on loopback, for tests of code that
// uses Vercel's tokens. It mints tokens with Vercel's claims, and serves the
// discovery document, the keys and the token exchange:
//
//	issuer := oidctest.NewServer()
//	defer issuer.Close()
//	request.Header.Set(oidc.Header, issuer.Mint())
//
// Each server has keys of its own, with which its tokens can be verified like
// real ones. So an STS for tests (see package ststest) or a real server such as
// MinIO can use it as its issuer.
package oidctest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vercelaws/vercelaws/internal/leaf"
	"github.com/vercelaws/vercelaws/internal/memnet"
	"github.com/vercelaws/vercelaws/oidc"
)

// Options are the choices of [NewServer].
type Options struct {
	// Team is the slug of the team whose tokens are minted. If empty, "acme".
	Team string

	// Global makes the tokens' issuer the server itself, as Vercel's global
	// issuer mode has https://oidc.vercel.com, and not the server and team.
	Global bool

	// InMemory puts the server on a network in memory in place of loopback.
	// Only Client reaches it then. It is for tests with testing/synctest.
	InMemory bool

	// Now is the issuer's clock. If nil, time.Now.
	Now func() time.Time
}

// Server is an issuer. Its methods are safe for concurrent use.
type Server struct {
	// URL is the server's base URL, such as "http://127.0.0.1:40123".
	URL string

	options Options
	http    *httptest.Server
	client  *http.Client

	mu        sync.Mutex // guards what follows
	signer    key
	rotated   int // how many keys there have been
	published []jose.JSONWebKey
	exchange  http.Handler // in place of the server's own, if not nil
	exchanged int
}

// NewServer starts an issuer on a free port of 127.0.0.1. Like
// httptest.NewServer, it panics if it cannot. Call Close when done.
func NewServer(optFns ...func(*Options)) *Server {
	s := &Server{options: Options{Team: "acme", Now: time.Now}}
	for _, fn := range optFns {
		fn(&s.options)
	}
	s.RotateKey()
	mux := http.NewServeMux()
	for _, issuer := range []string{"", "/{team}"} {
		mux.HandleFunc("GET "+issuer+"/.well-known/openid-configuration", s.discovery)
		mux.HandleFunc("GET "+issuer+"/.well-known/jwks", s.keys)
	}
	mux.HandleFunc("POST /~token", s.serveExchange)
	s.http, s.client, s.URL = memnet.NewServer(mux, "oidc.vercel.test", s.options.InMemory)
	s.http.Start()
	return s
}

// Close stops the server. It also removes the server's tokens from those of recent
// requests that package oidc remembers, so that no other test gets them.
func (s *Server) Close() {
	source := oidc.FromRequest().(interface {
		Leaves(leaf.Seal) []leaf.Leaf[oidc.Token]
	})
	source.Leaves(leaf.Seal{})[0].Request.Recent().Forget(func(raw string) bool {
		t, err := oidc.ParseUnverified(raw)
		return err == nil && s.isIssuer(t.Issuer)
	})
	s.client.CloseIdleConnections()
	s.http.CloseClientConnections()
	s.http.Close()
}

// Client returns an HTTP client that reaches the server.
func (s *Server) Client() *http.Client { return s.client }

// Issuer returns the iss of the tokens that Mint makes: the server's URL and
// the team, or the URL alone in global mode.
func (s *Server) Issuer() string {
	if s.options.Global {
		return s.URL
	}
	return s.teamIssuer()
}

// isIssuer reports whether iss is one of the server's issuers: its own or a team's.
func (s *Server) isIssuer(iss string) bool { return iss == s.URL || strings.HasPrefix(iss, s.URL+"/") }

func (s *Server) teamIssuer() string { return s.URL + "/" + s.options.Team }

// Audience returns the aud of the tokens that Mint makes:
// "https://vercel.com/" and the team.
func (s *Server) Audience() string { return "https://vercel.com/" + s.options.Team }

// ExchangeURL returns where tokens are exchanged for ones with another
// audience, as https://oidc.vercel.com/~token does. It fits
// oidc.ExchangeOptions.Endpoint.
func (s *Server) ExchangeURL() string { return s.URL + "/~token" }

func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	issuer := s.URL
	if team := r.PathValue("team"); team != "" {
		issuer += "/" + team
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              issuer + "/.well-known/jwks",
		"authorization_endpoint":                issuer + "/authorize",
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"claims_supported":                      []string{"sub", "aud", "exp", "iat", "iss", "scope", "owner", "owner_id", "project", "project_id", "environment"},
		"scopes_supported":                      []string{"openid"},
	})
}

func (s *Server) keys(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.keySet())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
