//go:build go1.25 && walljump

package model

import "time"

// canJump says that this is built with an overlay of package time, in which
// SetTestWallOffset moves the wall clock apart from the monotonic one; see
// TestHistoriesWithClockJumps.
const canJump = true

var jumps int // number of them; no history runs beside another

func offset() time.Duration { return time.TestWallOffset() }

func setOffset(d time.Duration) {
	jumps++
	time.SetTestWallOffset(d)
}
