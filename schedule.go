package vercelaws

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// askAgain is how long the SDK's cache keeps an answer that is due to be
	// replaced.
	askAgain = time.Second

	firstBackOff = time.Second
	lastBackOff  = 30 * time.Second
)

// lease is credentials and the times at which their life changes. Its times
// have no monotonic reading: an instance that was frozen must see how late it
// is, and the monotonic clock may have stood still.
type lease struct {
	creds aws.Credentials // Expires as STS gave it; never moved later
	soft  time.Time       // from here on a refresh runs in the background
	last  time.Time       // from here on a caller waits for a refresh, if none has been tried
}

// newLease plans the life of credentials that were fetched at now. The refresh
// comes in the first half of the window before expiry, at the part of it that
// jitter says (0 to 1).
//
// Each provider keeps one random jitter for life. Instances that started
// together then drift apart by a constant amount with each refresh; with a new
// random number each time they would part only with its square root.
func newLease(creds aws.Credentials, now time.Time, jitter float64) lease {
	life := creds.Expires.Sub(now)
	window := min(advisoryWindow(life), life/4)
	return lease{
		creds: creds,
		soft:  creds.Expires.Add(-window + time.Duration(jitter*float64(window/2))),
		last:  creds.Expires.Add(-min(time.Minute, life/8)),
	}
}

// advisoryWindow is how long before expiry AWS's SDKs begin to refresh, by the
// lifetime of the credentials; see https://github.com/aws/aws-sdk-java-v2/pull/7028.
func advisoryWindow(life time.Duration) time.Duration {
	switch {
	case life < 20*time.Minute:
		return 5 * time.Minute
	case life < 90*time.Minute:
		return 15 * time.Minute
	default:
		return time.Hour
	}
}

func (l lease) alive(now time.Time) bool { return now.Before(l.creds.Expires) }
func (l lease) fresh(now time.Time) bool { return now.Before(l.soft) }

// until returns the credentials as an answer that the SDK's cache may keep
// until t.
func (l lease) until(t time.Time) aws.Credentials {
	c := l.creds
	if t.Before(c.Expires) {
		c.Expires = t
	}
	return c
}

// backOff is the pause after a number of failures in a row. The doubling stops
// before it can overflow.
func backOff(failures int) time.Duration {
	pause := firstBackOff
	for range failures - 1 {
		if pause *= 2; pause >= lastBackOff {
			return lastBackOff
		}
	}
	return pause
}

// wall is the time without its monotonic reading.
func wall() time.Time { return time.Now().Round(0) }
