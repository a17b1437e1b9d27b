package refresh

import (
	"context"
	"log/slog"
	"time"

	"github.com/vercelaws/vercelaws/internal/clock"
)

// sameNews is how long the same failure is logged at level Debug.
const sameNews = 10 * time.Second

// logger writes a record for each event. Its queue calls it, one event at a
// time.
type logger struct {
	to     *slog.Logger
	window time.Duration // Options.ExpiryWindow
	said   string        // the last failure
	at     time.Time     // when it was logged at level Warn
}

func (l *logger) record(e Event) {
	level, message := slog.LevelInfo, "AWS credentials refreshed"
	if e.Err == nil {
		l.said = ""
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
	if failure == l.said && clock.Since(l.at) < sameNews {
		return slog.LevelDebug
	}
	l.said, l.at = failure, time.Now()
	return slog.LevelWarn
}
