package refresh

import (
	"context"
	"log/slog"
	"time"
)

// sameNews is how long the same failure again is no news.
const sameNews = 10 * time.Second

// logger writes a record for each event. Its queue calls it, one event at a
// time.
type logger struct {
	to   *slog.Logger
	said string    // the last failure
	at   time.Time // when it was logged at level Warn
}

func (l *logger) record(e Event) {
	level, message := slog.LevelInfo, "AWS credentials refreshed"
	switch {
	case e.Err == nil && !e.NextTry.IsZero():
		level, message = slog.LevelDebug, "AWS credentials are the same as before"
	case e.Err == nil:
		l.said = ""
	default:
		level = l.level(e.Err.Error())
		message = "AWS credentials could not be fetched"
		if !e.NextTry.IsZero() { // credentials live, though they may have no end
			message = "AWS credentials not refreshed; the old ones serve"
		}
	}
	attrs := []slog.Attr{slog.Bool("background", e.Background), slog.Duration("took", e.Took)}
	if e.BeforeEnd {
		attrs = append(attrs, slog.Bool("before_end", true))
	}
	if e.ReportRejected {
		attrs = append(attrs, slog.Bool("called_dead", true))
	}
	if !e.Expires.IsZero() {
		attrs = append(attrs, slog.Time("expires", e.Expires))
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
	if failure == l.said && elapsed(l.at) < sameNews {
		return slog.LevelDebug
	}
	l.said, l.at = failure, time.Now()
	return slog.LevelWarn
}
