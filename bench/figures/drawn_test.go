//go:build go1.25

package figures

import (
	"fmt"
	"strings"
)

// picture is an SVG of lines and words, in the reader's ink.
type picture struct {
	strings.Builder
}

func newPicture(width, height int) *picture {
	p := &picture{}
	fmt.Fprintf(p, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-size="13" font-family="system-ui,sans-serif">%s`, width, height, width, height, scheme)
	p.WriteString(`<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0,0L8,4L0,8z" fill="currentColor"/></marker></defs>`)
	return p
}

func (p *picture) line(x1, y1, x2, y2 int, more string) {
	fmt.Fprintf(p, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="currentColor" %s/>`, x1, y1, x2, y2, more)
}

func (p *picture) text(x, y int, anchor, words string) {
	fmt.Fprintf(p, `<text x="%d" y="%d" text-anchor="%s" fill="currentColor">%s</text>`, x, y, anchor, words)
}

func (p *picture) end() string { return p.String() + "</svg>\n" }

// sequence is one request's way to credentials.
func sequence() string {
	names := []string{"Vercel", "your handler", "SDK client", "provider", "STS", "AWS service"}
	at := func(i int) int { return 65 + 135*i }
	p := newPicture(810, 400)
	for i, name := range names {
		fmt.Fprintf(p, `<rect x="%d" y="10" width="110" height="28" rx="5" fill="none" stroke="currentColor"/>`, at(i)-55)
		p.text(at(i), 29, "middle", name)
		p.line(at(i), 38, at(i), 390, `stroke-opacity="0.35" stroke-dasharray="3 4"`)
	}
	y := 66
	for _, step := range []struct {
		from, to int
		words    string
		answer   bool
	}{
		{0, 1, "request with token", false},
		{1, 2, "call with context", false},
		{2, 3, "Retrieve", false},
		{3, 4, "token, role", false},
		{4, 3, "credentials", true},
		{3, 2, "credentials", true},
		{2, 5, "signed request", false},
		{5, 2, "answer", true},
		{2, 1, "result", true},
	} {
		more := `marker-end="url(#tip)"`
		if step.answer {
			more += ` stroke-dasharray="5 4"`
		}
		p.line(at(step.from), y, at(step.to), y, more)
		p.text((at(step.from)+at(step.to))/2, y-6, "middle", step.words)
		y += 34
	}
	p.text(405, y+8, "middle", "The next calls find the credentials in the SDK&#8217;s cache: provider and STS are not asked.")
	return p.end()
}

// life is the life of credentials of an hour.
func life() string {
	const left, width = 30, 740
	at := func(minute float64) int { return left + int(width*minute/60) }
	p := newPicture(800, 330)
	for _, part := range []struct {
		from, to float64
		colour   string
		words    string
	}{
		{0, 45, "#2f81f7", "fresh: served from the cache"},
		{45, 60, "#bf8700", "refresh window"},
	} {
		fmt.Fprintf(p, `<rect x="%d" y="90" width="%d" height="34" fill="%s" fill-opacity="0.35" stroke="%s"/>`, at(part.from), at(part.to)-at(part.from), part.colour, part.colour)
		p.text((at(part.from)+at(part.to))/2, 112, "middle", part.words)
	}
	for _, mark := range []struct {
		minute float64
		label  string
	}{{0, "0 min"}, {15, "15"}, {30, "30"}, {45, "45"}, {52.5, "52:30"}, {60, "60"}} {
		p.line(at(mark.minute), 124, at(mark.minute), 131, "")
		p.text(at(mark.minute), 147, "middle", mark.label)
	}
	p.line(at(45), 72, at(52.5), 72, `stroke-width="4" stroke-opacity="0.7"`)
	p.text(at(52.5), 40, "end", "the refresh: at a random point here, one starts in the background;")
	p.text(at(52.5), 58, "end", "the old credentials serve meanwhile, and after a failed refresh too")
	p.line(at(15), 170, at(52.5), 170, `stroke-width="4" stroke-opacity="0.4"`)
	p.text(at(52.5), 190, "end", "the first refresh of an instance: at a random point here")
	p.text(at(58.5), 216, "end", "the last minute: an instance that slept waits half a second at most for a refresh")
	p.line(at(59), 154, at(59), 218, `stroke-dasharray="3 3"`)
	p.text(at(59.5), 242, "end", "the end: nothing is served from here; the next caller fetches and the others wait for it")
	p.line(at(60), 84, at(60), 130, `stroke-width="2"`)
	p.line(at(60), 154, at(60), 244, `stroke-dasharray="3 3"`)
	// What is signed now lives no longer than the credentials.
	for i, signed := range []struct{ from, words string }{
		{"no ExpiryWindow", "7:30 to 60 minutes left when a caller gets them"},
		{"ExpiryWindow: 15 minutes", "15 to 60 minutes left, while STS answers"},
		{"Duration: 12 hours, ExpiryWindow: 1 hour", "1 to 12 hours left, while STS answers"},
	} {
		p.text(at(22), 276+18*i, "end", signed.from)
		p.text(at(23), 276+18*i, "start", signed.words)
	}
	return p.end()
}
