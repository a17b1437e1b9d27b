package recent

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

func reset() { Forget(func(string) bool { return true }) }

func TestNewestFirstAndBounded(t *testing.T) {
	reset()
	for i := range Size + 3 {
		Add(fmt.Sprint("t", i))
	}
	all := All()
	assert.Len(t, all, Size)
	assert.Equal(t, fmt.Sprint("t", Size+2), all[0])

	Add(all[3]) // seen again: moves to the front, nothing is lost
	again := All()
	assert.Equal(t, all[3], again[0])
	assert.ElementsMatch(t, all, again)
}

func TestNotRemembered(t *testing.T) {
	reset()
	Add("")
	Add(strings.Repeat("x", maxLen+1))
	assert.Empty(t, All())
}

func TestForget(t *testing.T) {
	reset()
	Add("a")
	Add("b")
	Forget(func(raw string) bool { return raw == "b" })
	assert.Equal(t, []string{"a"}, All())
	Add("b") // the fast path must not think b is still the newest
	assert.Equal(t, []string{"b", "a"}, All())
}

func TestArrivals(t *testing.T) {
	reset()
	before := Arrivals()
	Add("a")
	Add("a")
	assert.EqualValues(t, 1, Arrivals()-before)
	Add("b")
	Add("a")
	assert.EqualValues(t, 3, Arrivals()-before)
}

func TestDemote(t *testing.T) {
	reset()
	for _, raw := range []string{"a", "b", "c"} {
		Add(raw)
	}
	Demote("c")
	Demote("unknown")
	assert.Equal(t, []string{"b", "a", "c"}, All())
	Add("c")
	assert.Equal(t, []string{"c", "b", "a"}, All())
}

func TestSameTokenAgainAllocatesNothing(t *testing.T) {
	reset()
	Add("same")
	assert.Zero(t, testing.AllocsPerRun(100, func() { Add("same") }))
}

func TestConcurrent(t *testing.T) {
	reset()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 200 {
				Add(fmt.Sprint(g, "-", i%12))
				assert.LessOrEqual(t, len(All()), Size)
			}
		}()
	}
	wg.Wait()
}
