package oidctest

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// key is a signing key with its ID.
type key struct {
	id      string
	private *rsa.PrivateKey
}

// pool holds the RSA keys of the process. Making one takes a good part of a
// second, so servers share them: each takes the keys in order.
var pool struct {
	mu   sync.Mutex
	keys []*rsa.PrivateKey
}

// nth returns the n-th key of the pool, counted from 0.
func nth(n int) key {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	for len(pool.keys) <= n {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(fmt.Sprintf("oidctest: cannot make a key: %v", err))
		}
		pool.keys = append(pool.keys, k)
	}
	return key{id: fmt.Sprintf("mrk-%d", n+1), private: pool.keys[n]}
}

// stranger is a key that no server publishes.
var stranger = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(fmt.Sprintf("oidctest: cannot make a key: %v", err))
	}
	return k
})

// RotateKey has tokens signed with a new key from now on. The old ones stay
// published, so tokens that were signed with them remain good.
func (s *Server) RotateKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if s.signer.private != nil {
		_, _ = fmt.Sscanf(s.signer.id, "mrk-%d", &n)
	}
	s.signer = nth(n)
	s.published = append(s.published[:len(s.published):len(s.published)], jose.JSONWebKey{
		Key: s.signer.private.Public(), KeyID: s.signer.id, Algorithm: string(jose.RS256), Use: "sig",
	})
}

// DropOldKeys stops publishing all keys but the newest, so that tokens which
// were signed with the others no longer verify.
func (s *Server) DropOldKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published = s.published[len(s.published)-1:]
}
