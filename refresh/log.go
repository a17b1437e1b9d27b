package refresh

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/vercelaws/vercelaws/internal/clock"
)

const (
	// sameNews is how long the same failure is logged at level Debug.
	sameNews = 10 * time.Second

	// mostNews is how many different failures are logged at level Warn in that
	// time. Whoever sends a request chooses a part of a failure's text.
	mostNews = 4
)

// logger writes a record for each event. Its queue calls it, one event at a
// time.
type logger struct {
	to     *slog.Logger
	window time.Duration // Options.ExpiryWindow
	said   []saying      // at level Warn, the oldest first; mostNews at most
}

// saying is a failure that was logged.
type saying struct {
	failure string
	at      time.Time
}

func (l *logger) record(e Event) {
	level, message := slog.LevelInfo, "AWS credentials refreshed"
	if e.Err == nil {
		l.said = nil
	} else {
		level = l.level(e.Err.Error())
		message = "AWS credentials could not be fetched"
		if !e.NextTry.IsZero() { // there are credentials that have not expired
			message = "AWS credentials not refreshed; the old ones serve"
		}
	}
	attrs := []slog.Attr{slog.String("reason", string(e.Reason)), slog.Duration("took", e.Took)}
	if !e.Expires.IsZero() {
		attrs = append(attrs, slog.Time("expires", e.Expires))
	}
	if e.ExpiryWindow > 0 && e.ExpiryWindow < l.window {
		attrs = append(attrs, slog.Duration("expiry_window", e.ExpiryWindow))
	}
	if !e.NextTry.IsZero() {
		attrs = append(attrs, slog.Time("next_try", e.NextTry))
	}
	if e.Dropped > 0 {
		attrs = append(attrs, slog.Int("dropped", e.Dropped))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	l.to.LogAttrs(context.Background(), level, message, attrs...)
}

func (l *logger) level(failure string) slog.Level {
	l.said = slices.DeleteFunc(l.said, func(s saying) bool { return clock.Since(s.at) >= sameNews })
	if len(l.said) == mostNews || slices.ContainsFunc(l.said, func(s saying) bool { return s.failure == failure }) {
		return slog.LevelDebug
	}
	l.said = append(l.said, saying{failure, time.Now()})
	return slog.LevelWarn
}
