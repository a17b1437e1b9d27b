package oidcverify

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// set returns t as it would be read after the wall clock was set by d. The
// time package offers no way to make a Time whose two clocks disagree; its
// first word holds the wall clock's seconds above 30 bits of nanoseconds.
func set(t time.Time, d time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(int64(d/time.Second)) << 30
	return t
}

// Setting the clock stretches no cool-down and no key's time.
func TestElapsed(t *testing.T) {
	since := time.Now()
	now := since.Add(10 * time.Second)
	assert.Equal(t, 10*time.Second, elapsed(since, now))
	back := set(now, -24*time.Hour)
	assert.Equal(t, -24*time.Hour+10*time.Second, back.Round(0).Sub(since.Round(0)), "the test sets the wall clock")
	assert.Equal(t, 10*time.Second, elapsed(since, back), "set back")
	assert.Equal(t, 24*time.Hour+10*time.Second, elapsed(since, set(now, 24*time.Hour)), "set forward, or the machine slept")
	assert.Greater(t, elapsed(time.Time{}, now), 100*365*24*time.Hour, "never is long ago")
	assert.Greater(t, elapsed(time.Time{}, back), 100*365*24*time.Hour)
}
