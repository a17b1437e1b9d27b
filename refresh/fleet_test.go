package refresh

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/assert"
)

const (
	fleetSize   = 10_000
	fleetDay    = 24 * time.Hour
	fleetSettle = 2 * time.Minute // all have started
)

// load is STS calls of a fleet after its start.
type load struct {
	mean, second, minute float64 // calls a second: on average, in the worst second, in the worst minute
}

// fleet simulates instances that started within one minute. Each makes a call
// at its start and at every time that its schedule says.
func fleet(schedule func() func(now time.Time) time.Time) load {
	epoch := time.Unix(1_800_000_000, 0)
	calls := make([]float64, fleetDay/time.Second)
	for range fleetSize {
		next := schedule()
		for now := epoch.Add(rand.N(time.Minute)); now.Before(epoch.Add(fleetDay)); now = next(now) {
			calls[now.Sub(epoch)/time.Second]++
		}
	}
	var l load
	calls = calls[fleetSettle/time.Second:]
	minute := 0.0
	for i, n := range calls {
		l.mean += n / float64(len(calls))
		l.second = max(l.second, n)
		minute += n
		if i >= 60 {
			minute -= calls[i-60]
		}
		l.minute = max(l.minute, minute/60)
	}
	return l
}

// TestFleetSpreadsOut prints the peak of STS calls of 10,000 instances over 24
// hours: with the first refresh spread out, with jitter alone, and without.
//
// For sessions of an hour, the mean is 3.4 calls a second. Even instances that refresh
// at perfectly random times (a Poisson distribution) have some second in a day with
// more than four times the mean. So the worst second is compared with that of such a
// fleet. The bound of two times the mean is for the worst minute, from the first one
// after the start on.
func TestFleetSpreadsOut(t *testing.T) {
	for _, life := range []time.Duration{time.Hour, 15 * time.Minute} {
		t.Run(life.String(), func(t *testing.T) {
			due := func(now time.Time, x float64, first bool) time.Time {
				return hold(aws.Credentials{CanExpire: true, Expires: now.Add(life)}, now, 0, x, first).refresh
			}
			jittered := func(spread bool) func() func(time.Time) time.Time {
				return func() func(time.Time) time.Time {
					jitter, first := rand.Float64(), spread
					return func(now time.Time) time.Time {
						if first {
							first = false
							return due(now, rand.Float64(), true)
						}
						return due(now, jitter, false)
					}
				}
			}
			ours, jitter := fleet(jittered(true)), fleet(jittered(false))
			without := fleet(func() func(time.Time) time.Time {
				return func(now time.Time) time.Time { return due(now, 0, false) }
			})
			random := fleet(func() func(time.Time) time.Time {
				period := due(time.Unix(0, 0), 0.5, false).Sub(time.Unix(0, 0))
				first := true
				return func(now time.Time) time.Time {
					if first {
						first = false
						return now.Add(rand.N(period))
					}
					return now.Add(period)
				}
			})
			for name, l := range map[string]load{"spread": ours, "with jitter alone": jitter, "without jitter": without, "perfectly random": random} {
				t.Logf("%-17s mean %5.2f calls a second, worst second %4.0f (%.1f times), worst minute %6.2f a second (%.1f times)",
					name, l.mean, l.second, l.second/l.mean, l.minute, l.minute/l.mean)
			}
			assert.LessOrEqual(t, ours.minute, 2*ours.mean)
			assert.LessOrEqual(t, ours.mean, 1.1*jitter.mean)
			assert.LessOrEqual(t, ours.second, 2*random.second)
			assert.Greater(t, jitter.minute, 3*ours.minute, "the simulation can tell a fleet that does not spread out")
		})
	}
}
