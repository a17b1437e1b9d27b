//go:build !race

package vercelfn

// race says that the tests run without the race detector: functions do too.
const race = false
