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
	fleetSettle = 3 * time.Hour
)

// load is STS calls of a fleet after the third hour.
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
// hours, with jitter and without.
//
// For sessions of an hour, the mean is 3.4 calls a second. Even instances that
// refresh at perfectly random times then have some second in a day with more
// than four times the mean, as a Poisson distribution has, so the bound of
// three times the mean is held against the worst minute, and the worst second
// against that of such a fleet. Sessions of 15 minutes have a mean high enough
// for the bound to hold in every second.
func TestFleetSpreadsOut(t *testing.T) {
	for _, life := range []time.Duration{time.Hour, 15 * time.Minute} {
		t.Run(life.String(), func(t *testing.T) {
			due := func(now time.Time, jitter float64) time.Time {
				return newLease(aws.Credentials{CanExpire: true, Expires: now.Add(life)}, now, jitter).soft
			}
			ours := fleet(func() func(time.Time) time.Time {
				jitter := rand.Float64()
				return func(now time.Time) time.Time { return due(now, jitter) }
			})
			without := fleet(func() func(time.Time) time.Time {
				return func(now time.Time) time.Time { return due(now, 0) }
			})
			random := fleet(func() func(time.Time) time.Time {
				period := due(time.Unix(0, 0), 0.5).Sub(time.Unix(0, 0))
				first := true
				return func(now time.Time) time.Time {
					if first {
						first = false
						return now.Add(rand.N(period))
					}
					return now.Add(period)
				}
			})
			for name, l := range map[string]load{"with jitter": ours, "without jitter": without, "perfectly random": random} {
				t.Logf("%-16s mean %5.2f calls a second, worst second %4.0f (%.1f times), worst minute %6.2f a second (%.1f times)",
					name, l.mean, l.second, l.second/l.mean, l.minute, l.minute/l.mean)
			}
			assert.LessOrEqual(t, ours.minute, 3*ours.mean)
			if life < time.Hour {
				assert.LessOrEqual(t, ours.second, 3*ours.mean)
			}
			assert.LessOrEqual(t, ours.second, 2*random.second)
			assert.Greater(t, without.minute, 3*without.mean, "the simulation can tell a fleet that does not spread out")
		})
	}
}
