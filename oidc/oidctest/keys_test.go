package oidctest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The keys are whole, as long as RS256 wants them, and no two are alike.
func TestKeysAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for range 30 {
		k := newKey()
		require.NoError(t, k.Validate())
		assert.Equal(t, 2048, k.N.BitLen())
		assert.False(t, seen[k.N.String()])
		seen[k.N.String()] = true
	}
	assert.LessOrEqual(t, len(pool.primes), 12, "few primes were looked for")
}

func BenchmarkNewKey(b *testing.B) {
	for range b.N {
		newKey()
	}
}
