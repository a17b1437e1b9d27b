//go:build go1.25

package recent

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withStore runs f under fake time with a store whose tokens live two hours. A text
// that begins with "garbage" is not a token.
func withStore(t *testing.T, f func(t *testing.T, s *Store[string])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, New(func(raw string) (string, time.Time, bool) {
			return raw, time.Now().Add(2 * time.Hour), !strings.HasPrefix(raw, "garbage")
		}))
	})
}

func none(string) bool { return false }

func all(s *Store[string]) []Seen[string] {
	all := s.All(none)
	slices.SortFunc(all, func(a, b Seen[string]) int { return int(b.Arrived) - int(a.Arrived) })
	return all
}

func texts(s *Store[string]) []string {
	var texts []string
	for _, seen := range all(s) {
		texts = append(texts, seen.Token)
	}
	return texts
}

func count(s *Store[string], raw string) float64 {
	for _, seen := range all(s) {
		if seen.Token == raw {
			return seen.Count
		}
	}
	return -1
}

func TestNewestFirst(t *testing.T) {
	withStore(t, func(t *testing.T, s *Store[string]) {
		for _, raw := range []string{"a", "b", "c", "a"} {
			assert.Equal(t, raw, *s.Add(raw))
		}
		assert.Equal(t, []string{"a", "c", "b"}, texts(s))
	})
}

func TestATokenCountsOnceInASlot(t *testing.T) {
	withStore(t, func(t *testing.T, s *Store[string]) {
		for range 1000 {
			s.Add("many at once")
			s.Add("other")
		}
		assert.Equal(t, 1.0, count(s, "many at once"))
		for range 3 {
			time.Sleep(slot)
			s.Add("stays")
			s.Add("other")
		}
		assert.InDelta(t, 3, count(s, "stays"), 0.1)
		assert.InDelta(t, 4, count(s, "other"), 0.1)
	})
}

func TestACountIsHalfAfterAMinute(t *testing.T) {
	withStore(t, func(t *testing.T, s *Store[string]) {
		s.Add("a")
		time.Sleep(halfLife)
		assert.Equal(t, 0.5, count(s, "a"))
		s.Add("b")
		s.Add("a")
		assert.Equal(t, 1.5, count(s, "a"))
	})
}

// The newest token's further arrivals are counted, though they take no lock.
func TestTheFastPathCounts(t *testing.T) {
	withStore(t, func(t *testing.T, s *Store[string]) {
		s.Add("a")
		time.Sleep(slot)
		s.mu.Lock()
		assert.Zero(t, testing.AllocsPerRun(10, func() { s.Add("a") }))
		s.mu.Unlock()
		assert.InDelta(t, 2, count(s, "a"), 0.1)
		time.Sleep(slot)
		assert.InDelta(t, 2, count(s, "a"), 0.1, "once")
	})
}

// A text is read once, by All and not by the request.
func TestATextIsReadOnce(t *testing.T) {
	read := map[string]int{}
	s := New(func(raw string) (string, time.Time, bool) {
		read[raw]++
		return raw, time.Now().Add(time.Hour), true
	})
	for range 10 {
		s.Add("a")
		s.Add("b")
	}
	assert.Empty(t, read)
	for range 10 {
		s.All(none)
		s.Add("b")
		s.Add("a")
	}
	assert.Equal(t, map[string]int{"a": 1, "b": 1}, read)
}

func TestWhichTokensAreRemoved(t *testing.T) {
	withStore(t, func(t *testing.T, s *Store[string]) {
		for _, raw := range []string{"a", "garbage", "foreign"} {
			s.Add(raw)
		}
		assert.Len(t, s.All(func(raw string) bool { return raw == "foreign" }), 1)
		assert.Equal(t, []string{"a"}, texts(s))
		time.Sleep(2*time.Hour - time.Nanosecond)
		assert.Equal(t, []string{"a"}, texts(s))
		time.Sleep(time.Nanosecond)
		assert.Empty(t, texts(s), "it has ended")
		assert.Zero(t, s.bytes)
		s.Add("a")
		s.Add("b")
		s.Forget(func(raw string) bool { return raw == "a" })
		assert.Equal(t, []string{"b"}, texts(s))
		s.Forget(func(string) bool { return true })
		assert.Empty(t, texts(s))
		assert.Equal(t, "b", *s.Add("b"))
		assert.Equal(t, []string{"b"}, texts(s))
	})
}

// A flood of tokens removes neither a new token nor one that many requests bring, and
// the store stays within its bounds.
func TestAFloodKeepsNewAndFrequentTokens(t *testing.T) {
	for name, size := range map[string]int{"short": 10, "long": longest} {
		t.Run(name, func(t *testing.T) {
			withStore(t, func(t *testing.T, s *Store[string]) {
				forged := func(i int) string { return fmt.Sprintf("%0*d", size, i) }
				s.Add("often")
				time.Sleep(slot)
				s.Add("other")
				s.Add("often")
				s.Add("once")
				var last string
				for i := range 8000 {
					last = forged(i)
					s.Add(last)
					if i%100 == 0 {
						require.LessOrEqual(t, len(s.entries), most+1)
						require.LessOrEqual(t, s.bytes, maxBytes+longest)
					}
				}
				have := texts(s)
				assert.Contains(t, have, "often")
				assert.Contains(t, have, last)
				assert.NotContains(t, have, "once")
				s.Add("once")
				assert.InDelta(t, 2, count(s, "once"), 0.1, "what was dropped is known when it comes again")
				assert.LessOrEqual(t, len(s.dropped[0])+len(s.dropped[1]), 2*mostDropped+most)
			})
		})
	}
}

// Where room is made, the newest stay whatever the others' counts, and Least in all.
func TestTheNewestStayBesideFrequentOnes(t *testing.T) {
	withStore(t, func(t *testing.T, s *Store[string]) {
		const fresh = 25
		for range 2 {
			for i := range most - fresh + 1 {
				s.Add(fmt.Sprint("frequent ", i))
			}
			time.Sleep(slot)
		}
		for i := range fresh {
			assert.Len(t, s.entries, most-fresh+1+i)
			s.Add(fmt.Sprint("new ", i))
		}
		have := texts(s)
		assert.Len(t, have, Least)
		for i := range fresh {
			assert.Contains(t, have, fmt.Sprint("new ", i))
		}
	})
}

// Of the tokens that were dropped, the last are known when they come again, and all are
// forgotten with the tokens.
func TestHowManyDroppedTokensAreKnown(t *testing.T) {
	withStore(t, func(t *testing.T, s *Store[string]) {
		flood := func(n int) {
			for i := range n {
				s.Add(fmt.Sprint(i))
			}
		}
		flood(4 * mostDropped)
		known := 0
		for i := range 4 * mostDropped {
			if s.wasDropped(fmt.Sprint(i)) {
				known++
			}
		}
		assert.GreaterOrEqual(t, known, mostDropped)
		assert.LessOrEqual(t, known, 2*mostDropped+most)
		assert.True(t, s.wasDropped(fmt.Sprint(4*mostDropped-most-1)), "a late one")

		s.Forget(func(string) bool { return true })
		s.Add("0")
		s.Add(fmt.Sprint(4*mostDropped - most - 1))
		assert.Equal(t, 1.0, count(s, fmt.Sprint(4*mostDropped-most-1)))
		s.Forget(func(raw string) bool { return raw == "0" })
		flood(2 * most)
		s.Forget(func(raw string) bool { return raw != fmt.Sprint(2*most-1) })
		assert.True(t, s.wasDropped("1"), "one token is left")
	})
}

func TestOverlongTextIsNotKept(t *testing.T) {
	withStore(t, func(t *testing.T, s *Store[string]) {
		long := strings.Repeat("x", longest+1)
		assert.Equal(t, long, *s.Add(long))
		assert.Empty(t, s.entries)
	})
}

func TestConcurrentUse(t *testing.T) {
	s := New(func(raw string) (string, time.Time, bool) { return raw, time.Now().Add(time.Hour), true })
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 2000 {
				raw := fmt.Sprint((g + i) % 700)
				if *s.Add(raw) != raw {
					t.Error("another token's text")
				}
				if i%500 == 0 {
					s.All(func(raw string) bool { return raw == "13" })
				}
			}
		}()
	}
	wg.Wait()
	assert.LessOrEqual(t, len(s.entries), most)
}
