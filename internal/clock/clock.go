// Package clock reads the two clocks of a machine: the wall clock, which can be
// set back and forward, and the monotonic one, which can stand still while the
// machine is frozen.
package clock

import "time"

// Wall is the time without its monotonic reading, for what ends by a date.
func Wall() time.Time { return time.Now().Round(0) }

// Since is [Elapsed] until now.
func Since(t time.Time) time.Duration { return Elapsed(t, time.Now()) }

// Elapsed is the time from since to now by the clock that has moved further, for
// what is remembered for a while. Neither a wall clock that was set back nor a
// monotonic one that stood still makes a memory longer.
func Elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
