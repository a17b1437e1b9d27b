// Package terminal wraps text to the width of the terminal.
package terminal

import (
	"io"
	"os"
	"strconv"
	"strings"
)

// Width returns how many columns there are: what COLUMNS says, or else those of
// the terminal that w is, or else 80.
func Width(w io.Writer) int {
	columns, _ := strconv.Atoi(os.Getenv("COLUMNS"))
	if file, ok := w.(*os.File); ok && columns <= 0 {
		columns = width(file)
	}
	if columns <= 0 {
		return 80
	}
	return columns
}

// least is how many columns a text gets, however narrow the terminal is.
const least = 20

// Wrap breaks the lines of a text at spaces, so that they end before the column
// width. It indents all lines but the first by indent, and a continued line also by
// the spaces at the beginning of its first part. It does not break a word that is
// too long, nor a line that begins with a tab, and removes that tab.
func Wrap(text string, width, indent int) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		if whole, ok := strings.CutPrefix(line, "\t"); ok {
			lines = append(lines, whole)
			continue
		}
		words := strings.TrimLeft(line, " ")
		margin := line[:len(line)-len(words)]
		room := max(width-indent-len(margin), least)
		for len(words) > room {
			cut := strings.LastIndexByte(words[:room+1], ' ')
			if cut < 0 {
				cut = strings.IndexByte(words, ' ')
			}
			if cut < 0 {
				break
			}
			lines = append(lines, margin+strings.TrimRight(words[:cut], " "))
			words = strings.TrimLeft(words[cut:], " ")
		}
		lines = append(lines, margin+words)
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", indent))
}

// Flow joins the lines of each paragraph, so that Wrap can break them anew. A
// line that begins with a space stays a line.
func Flow(text string) string {
	var b strings.Builder
	before := ""
	for i, line := range strings.Split(text, "\n") {
		switch apart := func(s string) bool { return s == "" || s[0] == ' ' }; {
		case i == 0:
		case apart(before) || apart(line):
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(line)
		before = line
	}
	return b.String()
}
