//go:build go1.25

package model

import (
	"testing"
	"time"
)

// TestFoundOnce plays histories that random ones have failed with, shortened.
func TestFoundOnce(t *testing.T) {
	const ms = time.Millisecond
	for name, h := range map[string]history{
		"requests of an HTTP client that ends its goroutine count as faults": {
			Life: time.Hour, TokenLife: 40 * time.Minute, SDK: true, Environment: good,
			Steps: []step{
				{Action: breakSTS, Fault: empty},
				{Action: keepAsking, N: 10, Token: recurring, Limit: 600 * ms, For: 5 * time.Second},
				{Action: sleep, For: 2 * time.Hour},
				{Action: ask, Who: 0, N: 1, Token: background, Limit: 600 * ms},
				{Action: breakSTS, Fault: exits},
				{Action: breakHandler, Mode: uses},
				{Action: keepAsking, N: 25, Token: background, For: 5 * time.Second},
			},
		},
		"exchanges that end in an expired token count as faults": {
			Life: time.Hour, TokenLife: 40 * time.Minute, SDK: true, Environment: forged,
			Steps: []step{
				{Action: keepAsking, N: 25, Token: fresh, For: time.Second}, // a's are remembered for d
				{Action: breakExchange, Who: 3, Fault: expiredOnArrival},
				{Action: ask, Who: 3, N: 1, Token: garbage, Limit: 600 * ms},
				{Action: sleep, For: 9 * time.Second},
			},
		},
		"exchanges that overlap leave four requests hanging": {
			Life: 15 * time.Minute, TokenLife: 2 * time.Hour,
			Steps: []step{
				{Action: breakExchange, Who: 3, Fault: hangsForGood},
				{Action: keepAsking, Who: 3, N: 10, Token: fresh, For: 30 * time.Second},
			},
		},
		"a step that gives a zero token ends there, and the exchange is not asked with it": {
			Life: 15 * time.Minute, TokenLife: 2 * time.Hour,
			Steps: []step{
				{Action: breakSource, Who: 3, N: 1, Mode: uses},
				{Action: ask, Who: 3, N: 1, Token: good},
			},
		},
		"a second crowd at an endpoint that fails is paced from its first request on": {
			Life: time.Hour, TokenLife: 2 * time.Hour, KnownProject: true,
			Steps: []step{
				{Action: breakExchange, Who: 3, Fault: resets},
				{Action: crowd, Who: 3, N: 100, Token: explicit},
				{Action: crowd, Who: 3, N: 100, Token: explicit, Mode: 1},
			},
		},
		"a crowd at an endpoint that hangs is paced while its requests hang": {
			Life: time.Hour, TokenLife: 2 * time.Hour,
			Steps: []step{
				{Action: breakSTS, Fault: hangs},
				{Action: breakSTS, Who: 1, Fault: hangs},
				{Action: crowd, N: 100, Token: explicit},
				{Action: crowd, Who: 1, N: 100, Token: explicit},
			},
		},
		"an operation that waited before it was refused leaves room for three beside it": {
			Life: 15 * time.Minute, TokenLife: 2 * time.Hour,
			Steps: []step{
				{Action: keepAsking, Who: 3, N: 10, Token: forged, Limit: 600 * ms, For: 5 * time.Minute},
				{Action: breakExchange, Who: 3, Fault: unavailable},
				{Action: ask, Who: 3, N: 1, Token: forged, Limit: time.Second},
			},
		},
	} {
		t.Run(name, func(t *testing.T) { replay(t, h) })
	}
	if !canJump {
		return
	}
	for name, h := range map[string]history{
		"a refusal that is given again by design": {
			Life: 15 * time.Minute, TokenLife: 2 * time.Hour, Environment: missing,
			Steps: []step{
				{Action: breakSTS, Who: 1, Fault: badPolicy},
				{Action: ask, Who: 1, N: 1, Token: good},
				{Action: breakSTS, Who: 1, Fault: healthy},
				{Action: jump, For: time.Minute},
				{Action: setRight},
			},
		},
		"credentials live again while callers wait": {
			Life: time.Hour, TokenLife: 40 * time.Minute, SDK: true, Environment: good,
			Steps: []step{
				{Action: ask, N: 1, Token: good},
				{Action: jump, For: 14 * time.Minute},
				{Action: sleep, For: 59*time.Minute + 10*time.Second},
				{Action: breakSTS, Fault: hangs},
				{Action: ask, N: 1, Token: fresh, Limit: 600 * ms},
				{Action: setRight},
				{Action: ask, N: 2, Token: explicit, Limit: 600 * ms},
				{Action: sleep, For: 9 * time.Second},
			},
		},
		"a good token comes when refused ones have used up a fetch's turns": {
			Life: 15 * time.Minute, TokenLife: 2 * time.Hour, SDK: true, KnownProject: true, Environment: missing, Uncached: true,
			Steps: []step{
				{Action: keepAsking, Who: 3, N: 10, Token: forged, Limit: 100 * ms, For: 30 * time.Second},
				{Action: keepAsking, Who: 1, N: 10, Token: expired, For: 5 * time.Second},
				{Action: ask, Who: 0, N: 2, Token: good, Limit: time.Second},
				{Action: breakSource, Who: 0, Mode: uses},
				{Action: jump, For: -50 * time.Minute},
				{Action: rejection, Who: 0, N: 1, Token: good},
				{Action: ask, Who: 0, N: 5, Token: good, Limit: time.Second},
				{Action: jump, For: 50 * time.Minute},
				{Action: ask, Who: 3, N: 2, Token: good, Limit: time.Second},
				{Action: ask, Who: 2, N: 1, Token: good, Limit: 30 * time.Second},
				{Action: ask, Who: 0, N: 2, Token: expired, Limit: time.Second},
				{Action: ask, Who: 0, N: 5, Token: missing, Limit: 600 * ms},
				{Action: keepAsking, Who: 1, N: 10, Token: forged, For: time.Second, Limit: 30 * time.Second},
				{Action: hear, Who: 0, N: 7, Token: good, Limit: 600 * ms},
				{Action: breakSource, Who: 0, Mode: none},
				{Action: ask, Who: 0, N: 5, Token: forged, Limit: 600 * ms},
				{Action: setRight},
			},
		},
		"a replacement that nobody has seen lives again": {
			Life: 15 * time.Minute, TokenLife: 2 * time.Hour,
			Steps: []step{
				{Action: ask, Who: 1, N: 1, Token: fresh},
				{Action: rejection, Who: 1, N: 1, Token: fresh},
				{Action: jump, For: 2 * time.Hour},
				{Action: ask, Who: 1, N: 1, Token: foreign, Limit: 600 * ms},
				{Action: sleep, For: time.Second},
				{Action: ask, Who: 1, N: 1, Token: foreign, Limit: 600 * ms},
				{Action: sleep, For: time.Second},
				{Action: breakSTS, Who: 1, Fault: unavailable},
				{Action: setRight},
				{Action: ask, Who: 1, N: 1, Token: fresh, Limit: 600 * ms},
				{Action: sleep, For: time.Second},
			},
		},
	} {
		t.Run(name, func(t *testing.T) { replay(t, h) })
	}
}

func replay(t *testing.T, h history) {
	t.Helper()
	for _, p := range play(t, h) {
		t.Error(p)
	}
}
