package refresh

import (
	"math/rand/v2"
	"time"

	"github.com/vercelaws/vercelaws/internal/clock"
)

const (
	firstBackOff = time.Second
	lastBackOff  = 30 * time.Second
)

// backOff is when refreshes may be tried again. The zero value is at once.
type backOff struct {
	failures int       // in a row
	since    time.Time // the last one
	pause    time.Duration
}

// fail takes note of a failure. The pause is random between a half and the
// whole of a number that doubles; the doubling stops before it can overflow.
func (b *backOff) fail() {
	whole := lastBackOff
	if b.failures < 5 {
		whole = firstBackOff << b.failures
	}
	b.failures++
	b.since, b.pause = time.Now(), whole/2+rand.N(whole/2)
}

func (b *backOff) over() bool { return clock.Since(b.since) >= b.pause }

// end is the end of the pause as a date, zero if there is none.
func (b *backOff) end() time.Time { return b.since.Round(0).Add(b.pause) }
