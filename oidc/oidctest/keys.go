package oidctest

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// key is a signing key with its ID.
type key struct {
	id      string
	private *rsa.PrivateKey
}

// pool makes the keys of the process, each a different one. Finding primes takes
// a good part of a second on a busy machine, so each prime is combined with every
// earlier one: 45 keys take 5 searches. A signature by one key does not verify with
// another that shares a prime. Both private keys could be computed from the two
// public ones, which does not matter in tests.
var pool struct {
	mu            sync.Mutex
	primes        []*big.Int
	first, second int // the primes of the newest key
}

// newKey returns a new key.
func newKey() *rsa.PrivateKey {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.first++; pool.first >= pool.second {
		pool.first, pool.second = 0, pool.second+1
	}
	if pool.second >= len(pool.primes) {
		pool.primes = append(pool.primes, must(rsa.GenerateKey(rand.Reader, 2048)).Primes...)
	}
	p, q, one := pool.primes[pool.first], pool.primes[pool.second], big.NewInt(1)
	order := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	const exponent = 65537
	k := &rsa.PrivateKey{Primes: []*big.Int{p, q}, D: new(big.Int).ModInverse(big.NewInt(exponent), order)}
	k.N, k.E = new(big.Int).Mul(p, q), exponent
	k.Precompute()
	return k
}

// stranger is a key that no server publishes.
var stranger = sync.OnceValue(newKey)

// RotateKey has tokens signed with a new key from now on. The old ones stay
// published, so tokens that were signed with them remain good.
func (s *Server) RotateKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotated++
	s.signer = key{id: fmt.Sprintf("mrk-%d", s.rotated), private: newKey()}
	s.published = append(s.published[:len(s.published):len(s.published)], jose.JSONWebKey{
		Key: s.signer.private.Public(), KeyID: s.signer.id, Algorithm: string(jose.RS256), Use: "sig",
	})
}

// key is the newest.
func (s *Server) key() key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signer
}

// keySet is what the server publishes. RotateKey and DropOldKeys leave the slice as
// it is, and make another.
func (s *Server) keySet() *jose.JSONWebKeySet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &jose.JSONWebKeySet{Keys: s.published}
}

// DropOldKeys stops publishing all keys but the newest, so that tokens which
// were signed with the others no longer verify.
func (s *Server) DropOldKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published = s.published[len(s.published)-1:]
}
