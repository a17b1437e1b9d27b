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

func TestHowLongARefusalIsGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		require.NoError(t, m.Answer("a"))
		require.Zero(t, m.When("a"))
		began := time.Now()
		m.Add("a", errNo)
		assert.NoError(t, m.Answer("b"))
		assert.Zero(t, m.When("b"))
		time.Sleep(SameAnswer - time.Nanosecond)
		assert.Equal(t, errNo, m.Answer("a"))
		time.Sleep(time.Nanosecond)
		assert.NoError(t, m.Answer("a"))
		time.Sleep(time.Hour)
		assert.Equal(t, began, m.When("a"), "that it was refused is remembered longer")
		m.Add("b", errNo)
		assert.NoError(t, m.known[digest("a")].err, "and its error is not")

		m.Add("a", errNo)
		m.Forget("a")
		assert.NoError(t, m.Answer("a"))
		assert.Zero(t, m.When("a"))
	})
}

func TestTheOldestIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		for i := range most + 10 {
			m.Add(fmt.Sprint(i), errNo)
			require.Len(t, m.known, min(i+1, most))
			time.Sleep(time.Millisecond)
		}
		for i := range most + 10 {
			require.Equal(t, i < 10, m.When(fmt.Sprint(i)).IsZero(), i)
		}
	})
}
