package refresh

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// askAgain is how long the SDK's cache keeps an answer that is in its refresh
// window.
const askAgain = time.Second

// held is credentials and the times at which their life changes. Its times have
// no monotonic reading: an instance that was frozen must see how late it is, and
// the monotonic clock may have stood still.
type held struct {
	creds  aws.Credentials // as the provider gave them; Expires is never moved later
	window time.Duration   // the ExpiryWindow that they have

	refresh time.Time // from here on they are to be replaced
	last    time.Time // from here on a request signed with them may arrive after their end

	dependent bool // refresh is before the end of what they were fetched with
	rejected  bool // a service said so, which is believed: they are to be replaced
}

// hold plans the life of credentials that came at now. Their refresh window is
// before their ExpiryWindow, and the refresh begins in its first half, at the
// point that x says (0 to 1). The first refresh of a cache may begin from a
// quarter of the life on, so that instances which start together part at once.
func hold(creds aws.Credentials, now time.Time, window time.Duration, x float64, first bool) *held {
	if !creds.CanExpire {
		return &held{creds: creds}
	}
	creds.Expires = creds.Expires.Round(0)
	life := creds.Expires.Sub(now)
	half := min(advisoryWindow(life), (life-window)/4) / 2
	to := creds.Expires.Add(-window - half)
	from := to.Add(-half)
	if first {
		from = now.Add(life / 4)
	}
	return &held{
		creds:   creds,
		window:  window,
		refresh: between(from, to, x),
		// A sixteenth, since the refresh begins no later than an eighth before
		// the end: whoever is awake asks in between, and does not wait.
		last: creds.Expires.Add(-min(time.Minute, life/16)),
	}
}

// between is the time between from and to that x says (0 to 1).
func between(from, to time.Time, x float64) time.Time {
	return from.Add(time.Duration(x * float64(to.Sub(from))))
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

// longest is the longest ExpiryWindow of credentials that live for life: three
// fifths of it. That leaves a quarter of the life, and some more, before the
// refresh window.
func longest(life time.Duration) time.Duration { return life / 5 * 3 }

// before has credentials that came at now replaced before end, when what they
// were fetched with ends: in the last tenth of what that has left, five minutes
// at most, at the point of its first half that x says (0 to 1). It reports false,
// and changes nothing, where they are replaced by then anyway or never end, or
// where it would not move their end by enough.
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

// end is when the credentials end, zero if they never do.
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

// late reports whether it is the last minute.
func (h *held) late(now time.Time) bool { return h.creds.CanExpire && !now.Before(h.last) }

// short reports whether less is left than the ExpiryWindow.
func (h *held) short(now time.Time) bool {
	return h.window > 0 && now.After(h.creds.Expires.Add(-h.window))
}

// answer is the credentials as the SDK's cache gets them: until their refresh, or
// until a second from now if that has come.
func (h *held) answer(now time.Time) aws.Credentials {
	c, until := h.creds, h.refresh
	if !h.fresh(now) {
		until = now.Add(askAgain)
	} else if !c.CanExpire {
		return c
	}
	if !c.CanExpire || until.Before(c.Expires) {
		c.CanExpire, c.Expires = true, until
	}
	return c
}

// sameKeys reports whether a and b are one set of credentials.
func sameKeys(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SessionToken == b.SessionToken
}

// later reports whether a ends after b.
func later(a, b aws.Credentials) bool {
	return !a.CanExpire || b.CanExpire && a.Expires.After(b.Expires)
}
