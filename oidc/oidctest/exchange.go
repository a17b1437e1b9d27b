package oidctest

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Exchanges returns how many exchange requests the server has had.
func (s *Server) Exchanges() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exchanged
}

// SetExchange has h answer the exchange in place of the server, for tests of
// faults. Nil restores the server's own answers.
func (s *Server) SetExchange(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exchange = h
}

func (s *Server) serveExchange(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.exchanged++
	other := s.exchange
	s.mu.Unlock()
	if other != nil {
		other.ServeHTTP(w, r)
		return
	}
	s.ServeExchange(w, r)
}

// ServeExchange answers an exchange as the server does without SetExchange. A
// handler that was given to SetExchange can call it.
func (s *Server) ServeExchange(w http.ResponseWriter, r *http.Request) {
	var in struct{ Token, Aud, JTI string }
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&in); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "the body is not JSON"})
		return
	}
	if in.Aud == "" {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "aud is missing"})
		return
	}
	claims, problem := s.verify(in.Token)
	if problem != "" {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": problem})
		return
	}
	claims["act"] = map[string]any{"sub": claims["sub"], "aud": claims["aud"]}
	claims["aud"] = in.Aud
	claims["iat"] = s.options.Now().Unix()
	if claims["iss"] == s.URL { // an exchanged token has the team's, whatever the project's issuer mode is
		claims["iss"] = s.teamIssuer()
	}
	if in.JTI != "" {
		claims["jti"] = in.JTI
	}
	k := s.key()
	writeJSON(w, http.StatusOK, map[string]any{
		"token":  sign(k.private, k.id, must(json.Marshal(claims))),
		"expiry": claims["exp"],
	})
}

// verify returns the claims of a live token of this server, or what is wrong.
func (s *Server) verify(raw string) (claims map[string]any, problem string) {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, "the token is malformed"
	}
	if err := token.Claims(s.keySet(), &claims); err != nil {
		return nil, "the token's signature does not verify"
	}
	if iss, _ := claims["iss"].(string); !s.isIssuer(iss) {
		return nil, "the token is another issuer's"
	}
	if exp, _ := claims["exp"].(float64); s.options.Now().After(time.Unix(int64(exp), 0)) {
		return nil, "the token has expired"
	}
	return claims, ""
}
