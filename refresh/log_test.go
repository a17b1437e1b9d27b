//go:build go1.25

package refresh

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRecords(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name string
		e    Event
		want string
	}{
		{"the first", Event{Reason: ReasonMissing, Took: time.Second, Expires: at},
			`level=INFO msg="AWS credentials refreshed" reason=missing took=1s expires=2026-01-02T03:04:05.000Z`},
		{"that never end", Event{Reason: ReasonExpiring},
			`level=INFO msg="AWS credentials refreshed" reason=expiring took=0s`},
		{"rejected", Event{Reason: ReasonRejected, Dropped: 2},
			`level=INFO msg="AWS credentials refreshed" reason=rejected took=0s dropped=2`},
		{"one event lost", Event{Reason: ReasonDependency, Dropped: 1},
			`level=INFO msg="AWS credentials refreshed" reason=dependency took=0s dropped=1`},
		{"an ExpiryWindow", Event{Reason: ReasonExpiring, ExpiryWindow: time.Hour},
			`level=INFO msg="AWS credentials refreshed" reason=expiring took=0s`},
		{"an ExpiryWindow that was cut", Event{Reason: ReasonExpiring, ExpiryWindow: 36 * time.Minute},
			`level=INFO msg="AWS credentials refreshed" reason=expiring took=0s expiry_window=36m0s`},
		{"failed", Event{Reason: ReasonMissing, Err: errDown},
			`level=WARN msg="AWS credentials could not be fetched" reason=missing took=0s error=down`},
		{"failed while others live", Event{Reason: ReasonExpiring, Err: errDown, Expires: at, NextTry: at},
			`level=WARN msg="AWS credentials not refreshed; the old ones serve" reason=expiring took=0s expires=2026-01-02T03:04:05.000Z next_try=2026-01-02T03:04:05.000Z error=down`},
		{"failed while others live that never end", Event{Reason: ReasonRejected, Err: errDown, NextTry: at},
			`level=WARN msg="AWS credentials not refreshed; the old ones serve" reason=rejected took=0s next_try=2026-01-02T03:04:05.000Z error=down`},
	} {
		var text bytes.Buffer
		(&logger{to: toText(&text), window: time.Hour}).record(c.e)
		assert.Equal(t, c.want+"\n", text.String(), c.name)
	}
}

// Who sends a request chooses a part of the failure's text.
func TestFewDifferentFailuresAreNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		l := &logger{to: toText(&text)}
		for i := range 3000 { // in half a minute
			l.record(Event{Err: fmt.Errorf("it has %d characters", i%1000)})
			time.Sleep(10 * time.Millisecond)
		}
		assert.Equal(t, 3*mostNews, strings.Count(text.String(), "level=WARN"))
		time.Sleep(sameNews)
		text.Reset()
		for range 10 { // two in turn
			l.record(Event{Err: errDown})
			l.record(Event{Err: errors.New("another")})
		}
		assert.Equal(t, 2, strings.Count(text.String(), "level=WARN"))
	})
}

func TestTheSameFailureAgainIsNoNewsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		l := &logger{to: toText(&text)}
		level := func(e Event) string {
			text.Reset()
			l.record(e)
			level, _, _ := strings.Cut(strings.TrimPrefix(text.String(), "level="), " ")
			return level
		}
		down, other := Event{Err: errDown}, Event{Err: errors.New("another")}
		assert.Equal(t, "WARN", level(down))
		assert.Equal(t, "DEBUG", level(down))
		time.Sleep(10*time.Second - time.Nanosecond)
		assert.Equal(t, "DEBUG", level(down))
		time.Sleep(time.Nanosecond)
		assert.Equal(t, "WARN", level(down), "ten seconds after it was last said")
		assert.Equal(t, "WARN", level(other))
		assert.Equal(t, "DEBUG", level(down))
		assert.Equal(t, "INFO", level(Event{}))
		assert.Equal(t, "WARN", level(down), "after a success")
	})
}

// The logger of Options gets a record for each event, on a goroutine that no
// caller waits for.
func TestTheLoggerOfOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		p := newFake()
		c := NewCredentialsCache(p, func(o *Options) { o.Logger, o.ExpiryWindow = toText(&text), time.Hour })
		p.key(t, c)
		synctest.Wait()
		assert.Equal(t, `level=INFO msg="AWS credentials refreshed" reason=missing took=0s expires=`+
			p.end("AKIA1").Format("2006-01-02T15:04:05.000Z07:00")+" expiry_window=36m0s\n", text.String())
	})
}

func toText(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}
