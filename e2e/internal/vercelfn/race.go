//go:build race

package vercelfn

// race says that the tests run with the race detector: functions do too.
const race = true
