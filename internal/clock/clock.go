// Package clock reads the two clocks of a machine. The wall clock can be set back
// and forward. The monotonic clock can stand still while the machine is frozen.
package clock

import "time"

// Wall returns the wall clock's time alone, to compare with a date.
func Wall() time.Time { return time.Now().Round(0) }

// Since returns [Elapsed] from t until now.
func Since(t time.Time) time.Duration { return Elapsed(t, time.Now()) }

// Elapsed returns the time from since to now, by the clock that has moved further.
// So nothing is remembered for too long, neither if the wall clock was set back nor
// if the monotonic clock stood still.
func Elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
