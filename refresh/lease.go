package refresh

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// askAgain is how long the SDK's cache keeps an answer that is due to be
// replaced.
const askAgain = time.Second

// lease is credentials and the times at which their life changes. Its times
// have no monotonic reading: an instance that was frozen must see how late it
// is, and the monotonic clock may have stood still.
type lease struct {
	creds aws.Credentials // as the provider gave them; Expires is never moved later
	soft  time.Time       // from here on they are due to be replaced
	last  time.Time       // from here on a request signed with them may arrive after their end

	ending bool // soft is before the end of what they were fetched with
	dead   bool // a service said so, which is believed: they are due
}

// newLease plans the life of credentials that came at now. They are due in the
// first half of the window before their end, at the part of it that jitter says
// (0 to 1).
//
// Each cache keeps one random jitter for life. Instances that started together
// then drift apart by a constant amount with each refresh; with a new random
// number each time they would part only with its square root.
func newLease(creds aws.Credentials, now time.Time, jitter float64) *lease {
	if !creds.CanExpire {
		return &lease{creds: creds}
	}
	creds.Expires = creds.Expires.Round(0)
	life := creds.Expires.Sub(now)
	window := min(advisoryWindow(life), life/4)
	return &lease{
		creds: creds,
		soft:  creds.Expires.Add(-within(window, jitter)),
		// A sixteenth, since they are due no later than an eighth before their
		// end: whoever is awake asks in between, and does not wait.
		last: creds.Expires.Add(-min(time.Minute, life/16)),
	}
}

// within is the part of a window that is left at the point of its first half
// that jitter says.
func within(window time.Duration, jitter float64) time.Duration {
	return window - time.Duration(jitter*float64(window/2))
}

// advisoryWindow is how long before expiry AWS's SDKs begin to refresh, by the
// lifetime of the credentials; see https://github.com/aws/aws-sdk-java-v2/pull/7028.
// Their five minutes for lifetimes of less than twenty are more than a quarter.
func advisoryWindow(life time.Duration) time.Duration {
	if life < 90*time.Minute {
		return 15 * time.Minute
	}
	return time.Hour
}

// before makes credentials that came at now due before end, when what they are
// fetched with ends: in the last tenth of what that has left, five minutes at
// most. It reports false, and changes nothing, where they are due by then
// anyway or never end, or where it would not move their end by enough.
func (l *lease) before(end, now time.Time, jitter float64) bool {
	end = end.Round(0)
	at := end.Add(-within(min(end.Sub(now)/10, 5*time.Minute), jitter))
	gain, enough := at.Sub(now), min(l.creds.Expires.Sub(now)/10, 5*time.Minute)
	if !at.Before(l.soft) || gain < enough {
		return false
	}
	l.soft, l.ending = at, true
	return true
}

func (l *lease) alive(now time.Time) bool {
	return !l.creds.CanExpire || now.Before(l.creds.Expires)
}

func (l *lease) fresh(now time.Time) bool {
	return !l.dead && (!l.creds.CanExpire || now.Before(l.soft))
}

func (l *lease) late(now time.Time) bool { return l.creds.CanExpire && !now.Before(l.last) }

// answer is the credentials as the SDK's cache gets them: until they are due,
// or until a second from now if they already are.
func (l *lease) answer(now time.Time) aws.Credentials {
	c, until := l.creds, l.soft
	if !l.fresh(now) {
		until = now.Add(askAgain)
	} else if !c.CanExpire {
		return c
	}
	if !c.CanExpire || until.Before(c.Expires) {
		c.CanExpire, c.Expires = true, until
	}
	return c
}
