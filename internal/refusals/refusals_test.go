//go:build go1.25

package refusals

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errNo = errors.New("no")

func TestHowLongARefusalCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		require.NoError(t, m.Answer("a"))
		require.False(t, m.Has("a"))
		m.Add("a", errNo)
		assert.NoError(t, m.Answer("b"))
		assert.False(t, m.Has("b"))
		time.Sleep(SameAnswer - time.Nanosecond)
		assert.Equal(t, errNo, m.Answer("a"))
		time.Sleep(time.Nanosecond)
		assert.NoError(t, m.Answer("a"))
		time.Sleep(LastChoice - SameAnswer - time.Nanosecond)
		assert.True(t, m.Has("a"))
		time.Sleep(time.Nanosecond)
		assert.False(t, m.Has("a"))

		m.Add("a", errNo)
		m.Forget("a")
		assert.NoError(t, m.Answer("a"))
		assert.False(t, m.Has("a"))
	})
}

// Refused tokens take no memory beyond a bound: so many are not refused in half
// a minute.
func TestBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		for i := range 200 {
			m.Add(fmt.Sprint(i), errNo)
			require.Len(t, m.known, min(i+1, 60))
			time.Sleep(500 * time.Millisecond)
		}
		for i := range 200 {
			require.Equal(t, i > 200-60, m.Has(fmt.Sprint(i)), i)
		}
	})
}
