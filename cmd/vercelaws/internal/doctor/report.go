package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/vercelaws/vercelaws/cmd/vercelaws/internal/terminal"
)

// Status is the result of a check.
type Status string

// The statuses of a check.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Failed  Status = "failed"
	Skipped Status = "skipped" // an earlier check did not find what it needs
	Unknown Status = "unknown" // it cannot be checked here
)

// Check is one check with its findings.
type Check struct {
	Name    string   `json:"name"`
	Status  Status   `json:"status"`
	Summary string   `json:"summary"`
	Details []string `json:"details,omitempty"` // can have several lines each
	ToDo    []string `json:"to_do,omitempty"`   // can have several lines each
}

// summarize adds to the summary.
func (c *Check) summarize(text string) {
	if c.Summary != "" && text != "" {
		c.Summary += "; "
	}
	c.Summary += text
}

// warn makes a check that is ok a warning, and says what to do.
func (c *Check) warn(todo string) {
	if c.Status == OK {
		c.Status = Warning
	}
	c.ToDo = append(c.ToDo, todo)
}

// fail makes the check a failure, and says what to do.
func (c *Check) fail(summary, todo string) {
	c.Status = Failed
	c.summarize(summary)
	c.ToDo = append(c.ToDo, todo)
}

// Report is all checks, in the order in which they were made.
type Report struct {
	Healthy bool    `json:"healthy"` // no check failed
	Checks  []Check `json:"checks"`
}

func (r *Report) add(c Check) {
	r.Checks = append(r.Checks, c)
	r.Healthy = !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Status == Failed })
}

// WriteText writes the report for a person, fitted to the terminal.
func (r Report) WriteText(w io.Writer) error {
	width := terminal.Width(w)
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%-8s %-13s %s\n", c.Status, c.Name, fit(c.Summary, width, 23))
		for _, d := range c.Details {
			fmt.Fprintf(&b, "%23s%s\n", "", fit(d, width, 23))
		}
		for _, todo := range c.ToDo {
			fmt.Fprintf(&b, "%23sto do: %s\n", "", fit(todo, width, 30))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// commands moves a command to paste to a line of its own.
var commands = strings.NewReplacer(": aws ", ":\n\taws ", ": vercelaws ", ":\n\tvercelaws ")

// fit wraps a text that begins in the column indent. It does not wrap commands. It
// replaces control characters, since a report has text from servers, and from a
// token that has not been verified.
func fit(text string, width, indent int) string {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.TrimRightFunc(text, unicode.IsSpace))
	if indent+len(text) > width {
		text = commands.Replace(text)
	}
	return terminal.Wrap(text, width, indent)
}
