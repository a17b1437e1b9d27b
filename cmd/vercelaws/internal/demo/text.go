package demo

import (
	"strings"
	"time"
)

// indent moves every line in by two spaces.
func indent(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// wrap breaks a line at spaces where it would be longer than width.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// rounded returns a duration to the minute, as "2h", "1h59m" or "52m".
func rounded(d time.Duration) string {
	d = d.Round(time.Minute)
	if d > 0 && d%time.Hour == 0 {
		return strings.TrimSuffix(d.String(), "0m0s")
	}
	return strings.TrimSuffix(d.String(), "0s")
}
