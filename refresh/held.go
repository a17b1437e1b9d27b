package refresh

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// askAgain is how long the SDK's cache keeps an answer that is in its refresh
// window.
const askAgain = time.Second

// held is credentials and the times at which something happens to them. The times have
// no monotonic reading: the monotonic clock may stand still while an instance is
// frozen, and the instance must see afterwards how late it is.
type held struct {
	creds  aws.Credentials // as the provider gave them; Expires is never moved later
	window time.Duration   // the ExpiryWindow that they have

	refresh time.Time // when their refresh starts
	usual   time.Time // when it would, were it not the cache's first
	last    time.Time // when the last minute starts: a request signed later may arrive after their expiry

	dependent bool // refresh is set to the time before the end of a dependency
	rejected  bool // a service has rejected them, and its report was believed
}

// hold returns credentials that came at now, with the times of their life. Their
// refresh window ends where their ExpiryWindow begins. The refresh starts in the
// first half of it, at the point x (0 to 1). The first refresh of a cache can start
// from a quarter of the life on, so that instances that start together do not
// refresh together.
func hold(creds aws.Credentials, now time.Time, window time.Duration, x float64, first bool) *held {
	if !creds.CanExpire {
		return &held{creds: creds}
	}
	creds.Expires = creds.Expires.Round(0)
	life := creds.Expires.Sub(now)
	half := min(advisoryWindow(life), (life-window)/4) / 2
	to := creds.Expires.Add(-window - half)
	usual := between(to.Add(-half), to, x)
	refresh := usual
	if first {
		refresh = between(now.Add(life/4), to, x)
	}
	return &held{
		creds:   creds,
		window:  window,
		refresh: refresh,
		usual:   usual,
		// At most a sixteenth of the life, so that it starts after the latest time of the
		// refresh: a caller in between starts that without waiting.
		last: creds.Expires.Add(-min(time.Minute, life/16)),
	}
}

// between returns the time at the point x (0 to 1) between from and to.
func between(from, to time.Time, x float64) time.Time {
	return from.Add(time.Duration(x * float64(to.Sub(from))))
}

// advisoryWindow returns how long before expiry AWS's SDKs start to refresh
// credentials that live for life; see https://github.com/aws/aws-sdk-java-v2/pull/7028.
// It leaves out their five minutes for lifetimes under twenty minutes, since hold
// allows a quarter of the life at most.
func advisoryWindow(life time.Duration) time.Duration {
	if life < 90*time.Minute {
		return 15 * time.Minute
	}
	return time.Hour
}

// longest returns the longest ExpiryWindow of credentials that live for life: three
// fifths of it. So the refresh window begins after a quarter of the life.
func longest(life time.Duration) time.Duration { return life / 5 * 3 }

// before moves the refresh of credentials that came at now to a time before end, when
// their dependency ends (see [Dependent]). The time is at the point x (0 to 1) of the
// first half of the last tenth of the time until end, of which five minutes at most
// count. It reports false, and changes nothing, if the credentials never expire, if
// their refresh is earlier anyway, or if that would not move their expiry by enough.
func (h *held) before(end, now time.Time, x float64) bool {
	end = end.Round(0)
	tenth := min(end.Sub(now)/10, 5*time.Minute)
	at := between(end.Add(-tenth), end.Add(-tenth/2), x)
	gain, enough := at.Sub(now), min(h.creds.Expires.Sub(now)/10, 5*time.Minute)
	if !at.Before(h.refresh) || gain < enough {
		return false
	}
	h.refresh, h.dependent = at, true
	return true
}

// postpone moves an early first refresh, which brought nothing that lives longer, to
// the usual time. It reports false, and changes nothing, if that has passed, or if
// there is another reason for the refresh.
func (h *held) postpone(now time.Time) bool {
	if h.rejected || h.dependent || !now.Before(h.usual) {
		return false
	}
	h.refresh = h.usual
	return true
}

// end returns when the credentials expire, or zero if they never do.
func (h *held) end() time.Time {
	if !h.creds.CanExpire {
		return time.Time{}
	}
	return h.creds.Expires
}

func (h *held) alive(now time.Time) bool {
	return !h.creds.CanExpire || now.Before(h.creds.Expires)
}

func (h *held) fresh(now time.Time) bool {
	return !h.rejected && (!h.creds.CanExpire || now.Before(h.refresh))
}

// late reports whether the last minute of the credentials has begun.
func (h *held) late(now time.Time) bool { return h.creds.CanExpire && !now.Before(h.last) }

// short reports whether the ExpiryWindow has begun.
func (h *held) short(now time.Time) bool { return h.window > 0 && !now.Before(h.windowStart()) }

func (h *held) windowStart() time.Time { return h.creds.Expires.Add(-h.window) }

// answer returns the credentials for the SDK's cache. Their Expires is the time of
// their refresh. Once that has passed, it is a second from now.
func (h *held) answer(now time.Time) aws.Credentials {
	c, until := h.creds, h.refresh
	if !h.fresh(now) {
		until = now.Add(askAgain)
		if start := h.windowStart(); h.window > 0 && now.Before(start) && start.Before(until) {
			until = start // whoever asks in the window waits
		}
	} else if !c.CanExpire {
		return c
	}
	if !c.CanExpire || until.Before(c.Expires) {
		c.CanExpire, c.Expires = true, until
	}
	return c
}

// replacedBy reports whether creds are to replace h, which has not expired. They are
// if they expire later: a provider with a cache of its own returns the same ones for a
// while. A key that was rejected is replaced by any other.
func (h *held) replacedBy(creds aws.Credentials) bool {
	if h.rejected {
		return !sameKeys(h.creds, creds)
	}
	return later(creds, h.creds)
}

// sameKeys reports whether a and b are the same session of the same key.
func sameKeys(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SessionToken == b.SessionToken
}

// later reports whether a expires after b.
func later(a, b aws.Credentials) bool {
	return !a.CanExpire || b.CanExpire && a.Expires.After(b.Expires)
}
