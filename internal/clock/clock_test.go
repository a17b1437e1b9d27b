package clock

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// set returns t as it would be read if the wall clock had been moved by d. Package
// time has no function for that. The first word of a Time holds the wall clock's
// seconds above 30 bits of nanoseconds.
func set(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(int64(d/time.Second)) << 30
	return t
}

func TestElapsedIsByTheClockThatMovedFurther(t *testing.T) {
	since := time.Now()
	now := since.Add(10 * time.Second)
	assert.Equal(t, 10*time.Second, Elapsed(since, now))
	back := set(now, -24*time.Hour)
	assert.Equal(t, -24*time.Hour+10*time.Second, back.Round(0).Sub(since.Round(0)), "the test sets the wall clock")
	assert.Equal(t, 10*time.Second, Elapsed(since, back), "set back")
	assert.Equal(t, 24*time.Hour+10*time.Second, Elapsed(since, set(now, 24*time.Hour)), "set forward, or frozen")
	assert.Equal(t, 10*time.Second, Elapsed(since, now.Round(0)), "a date")
	assert.Greater(t, Elapsed(time.Time{}, now), 100*365*24*time.Hour, "never is long ago")
	assert.Greater(t, Elapsed(time.Time{}, back), 100*365*24*time.Hour)
}

func TestNow(t *testing.T) {
	before := time.Now()
	assert.NotContains(t, Wall().String(), " m=")
	assert.InDelta(t, 0, float64(Wall().Sub(before.Round(0))), float64(time.Minute))
	assert.GreaterOrEqual(t, Since(before.Add(-time.Hour)), time.Hour)
}
