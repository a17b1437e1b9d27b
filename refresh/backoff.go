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

// backOff says when refreshes may be tried again. The zero value says at once.
type backOff struct {
	failures int       // in a row
	since    time.Time // of the last failure
	pause    time.Duration
}

// fail counts a failure. The longest pause doubles with each failure, up to
// lastBackOff. The pause is random, between a half and the whole of that.
func (b *backOff) fail() {
	whole := min(firstBackOff<<min(b.failures, 5), lastBackOff)
	b.failures++
	b.since, b.pause = time.Now(), whole/2+rand.N(whole/2)
}

func (b *backOff) over() bool { return clock.Since(b.since) >= b.pause }

// end returns the end of the pause as a date, or zero if there is no pause.
func (b *backOff) end() time.Time { return b.since.Round(0).Add(b.pause) }
