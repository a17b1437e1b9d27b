package demo

import (
	"strings"
	"time"
)

// indent moves every line in by two spaces.
func indent(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// rounded returns a duration to the minute, as "2h", "1h59m" or "52m".
func rounded(d time.Duration) string {
	d = d.Round(time.Minute)
	if d > 0 && d%time.Hour == 0 {
		return strings.TrimSuffix(d.String(), "0m0s")
	}
	return strings.TrimSuffix(d.String(), "0s")
}
