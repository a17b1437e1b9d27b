//go:build go1.25

package recent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vercelaws/vercelaws/internal/candidate"
)

// story runs f under fake time with an empty store.
func story(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		reset := func() { Forget(func(string) bool { return true }) }
		reset()
		defer reset()
		f(t)
	})
}

func live(string) (Facts, bool) { return Facts{Expiry: time.Now().Add(2 * time.Hour)}, true }

func add(raws ...string) {
	for _, raw := range raws {
		Add(raw, live)
	}
}

func anyone(string, Facts) bool { return true }

// order is how tokens are drawn at turns of one kind.
func order(turn int) []string {
	var drawn []string
	for {
		raw, ok := Draw(turn, func(raw string, _ Facts) bool { return !slices.Contains(drawn, raw) })
		if !ok {
			return drawn
		}
		drawn = append(drawn, raw)
	}
}

func TestDrawGoesByCountAndByNewnessInTurn(t *testing.T) {
	story(t, func(t *testing.T) {
		assert.Empty(t, order(0))
		add("often", "often", "often", "twice", "once", "twice", "late")
		assert.Equal(t, []string{"often", "twice", "late", "once"}, order(0), "by count, the newest among equals")
		assert.Equal(t, []string{"late", "twice", "once", "often"}, order(1), "by newness")
		add("often")
		assert.Equal(t, "often", order(1)[0], "it came again")
	})
}

func TestGarbageAndTheDeadTakeNoPlace(t *testing.T) {
	story(t, func(t *testing.T) {
		before := Arrivals()
		for i := range 3 {
			raw := fmt.Sprint("garbage", i)
			assert.Equal(t, raw, *Add(raw, func(string) (Facts, bool) { return Facts{}, false }))
		}
		ended := time.Now().Add(-candidate.Grace)
		add(strings.Repeat("x", longest+1))
		Add("dead", func(string) (Facts, bool) { return Facts{Expiry: ended}, true })
		assert.Empty(t, order(0))
		assert.Zero(t, Arrivals()-before)
		Add("in grace", func(string) (Facts, bool) { return Facts{Expiry: ended.Add(time.Second)}, true })
		assert.Equal(t, []string{"in grace"}, order(0))
		time.Sleep(time.Second)
		assert.Empty(t, order(0), "it is gone when STS takes it no more")
		assert.Zero(t, bytes)
	})
}

func TestATokenIsInspectedOnlyWhenItIsNew(t *testing.T) {
	story(t, func(t *testing.T) {
		inspected := 0
		look := func(raw string) (Facts, bool) { inspected++; return live(raw) }
		before := Arrivals()
		for range 10 {
			Add("a", look)
			Add("b", look)
			Add("b", look)
		}
		assert.Equal(t, 2, inspected)
		assert.EqualValues(t, 2, Arrivals()-before, "the arrivals of new ones")
	})
}

func TestForget(t *testing.T) {
	story(t, func(t *testing.T) {
		add("a", "b")
		Forget(func(raw string) bool { return raw == "b" })
		assert.Equal(t, []string{"a"}, order(1))
		add("b") // the fast path must not think b is still there
		assert.Equal(t, []string{"b", "a"}, order(1))
	})
}

func TestCountsAge(t *testing.T) {
	story(t, func(t *testing.T) {
		for range 100 {
			add("once popular", "other")
		}
		time.Sleep(10 * time.Minute)
		add("now", "other", "now")
		assert.Equal(t, "now", order(0)[0])
		assert.Contains(t, order(0), "once popular", "until it expires")
	})
}

// What stands out is kept and drawn: a good token that comes twice a second
// among forged ones, each of them new, and some that are repeated.
func TestAGoodTokenStandsOutInAFlood(t *testing.T) {
	for perSecond, seconds := range map[int]int{20: 600, 200: 180, 1000: 90, 5000: 15} {
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			story(t, func(t *testing.T) {
				pause := time.Second / time.Duration(perSecond)
				for i := range seconds * perSecond {
					add(fmt.Sprint("forged", i))
					if i%(perSecond/2) == 0 {
						add("good")
					}
					if i > perSecond && i%(perSecond/4) == perSecond/8 {
						raw, ok := Draw(0, anyone)
						require.True(t, ok)
						require.Equal(t, "good", raw, "after %s", time.Duration(i)*pause)
						newest, _ := Draw(1, anyone)
						require.Equal(t, fmt.Sprint("forged", i), newest)
					}
					time.Sleep(pause)
				}
			})
		})
	}
}

func TestRepeatingDoesNotKeepANewTokenOut(t *testing.T) {
	story(t, func(t *testing.T) {
		for i := range 100 * most {
			add(fmt.Sprint("repeated", i%(2*most)))
		}
		add("good")
		assert.Equal(t, "good", order(1)[0])
		for i := range Least/2 - 1 { // as many newer ones as newness protects from
			add(fmt.Sprint("repeated", i))
		}
		assert.Contains(t, order(1), "good")
	})
}

func TestBounds(t *testing.T) {
	story(t, func(t *testing.T) {
		long := strings.Repeat("x", 19_990)
		for i := range 4 * most {
			add(fmt.Sprint(long, i))
			require.LessOrEqual(t, bytes, maxBytes)
			require.GreaterOrEqual(t, len(tokens), min(i+1, Least))
		}
		for i := range 4 * most {
			add(fmt.Sprint(i))
			require.LessOrEqual(t, len(tokens), most)
		}
		sum := 0
		for raw := range maps.Keys(tokens) {
			sum += len(raw)
		}
		assert.Equal(t, sum, bytes)
	})
}

func TestAddIsCheap(t *testing.T) {
	a, b := strings.Repeat("a", 1200), strings.Repeat("b", 1200)
	add(a, b)
	assert.Zero(t, testing.AllocsPerRun(100, func() { Add(b, live) }), "the same again")
	assert.Zero(t, testing.AllocsPerRun(100, func() { Add(a, live); Add(b, live) }), "two in turn")
	mu.Lock() // with it, a call that took the lock would never return
	defer mu.Unlock()
	Add(b, live)
}

func TestConcurrent(t *testing.T) {
	story(t, func(t *testing.T) {
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 300 {
					add(fmt.Sprint(g, "-", i), "shared")
					Draw(i, anyone)
					if i%100 == 0 {
						Forget(func(raw string) bool { return raw == "shared" })
					}
				}
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, len(tokens), most)
	})
}

func BenchmarkAddSame(b *testing.B) {
	raw := strings.Repeat("a", 1200)
	b.ReportAllocs()
	for b.Loop() {
		Add(raw, live)
	}
}

func BenchmarkAddInTurn(b *testing.B) {
	raws := []string{strings.Repeat("a", 1200), strings.Repeat("b", 1200)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		Add(raws[i%2], live)
	}
}

func BenchmarkAddNew(b *testing.B) {
	long := strings.Repeat("a", 1200)
	for i := 0; b.Loop(); i++ {
		Add(fmt.Sprint(long, i), live)
	}
}

func BenchmarkDrawOfMany(b *testing.B) {
	for i := range 2 * most {
		add(fmt.Sprint("many", i))
	}
	for i := 0; b.Loop(); i++ {
		Draw(i, anyone)
	}
}
