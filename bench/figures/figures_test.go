//go:build go1.25

// Package figures measures and draws the pictures of docs/figures, beside the
// SDK's own provider and Vercel's for JavaScript. `make figures` runs it.
//
// All numbers of a picture are of one run on one machine. Lifetimes are seconds
// here and an hour in the world; the shapes are what counts.
package figures

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	write = flag.String("write", "", "the folder for the pictures")
	peers = flag.String("peers", "", "the folder where npm has installed the JavaScript provider")
)

// TestFigures draws the pictures and writes the numbers beside them.
func TestFigures(t *testing.T) {
	if *write == "" {
		t.Skip("make figures draws them")
	}
	save := func(name, svg string) {
		require.NoError(t, os.WriteFile(filepath.Join(*write, name+".svg"), []byte(svg), 0o644))
	}
	var said strings.Builder
	fmt.Fprintf(&said, `# Figures

Made by `+"`make figures`"+` in one run on %d cores (%s/%s) with %s, from the code in bench/figures.

`, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())

	save("sequence", sequence())
	save("life", life())

	calls := fleets(t)
	save("fleet", plotFleets(t, calls))
	fmt.Fprintf(&said, `## fleet.svg: STS calls of %d instances

Instances that started within a minute, credentials of an hour, each asked for every %s on average, in simulated time.

| | mean, calls a second | busiest minute, calls a second |
|---|---|---|
`, fleetSize, fleetAsk)
	for _, f := range calls {
		mean, busiest := f.load()
		fmt.Fprintf(&said, "| %s | %.1f | %.1f |\n", f.name, mean, busiest)
	}

	for _, story := range []struct {
		name, title string
		during      time.Duration
		from, to    time.Duration // of the outage
	}{
		{"waits", "the wait of every caller over three lifetimes", 3*lifetime + time.Second, 0, 0},
		{"outage", "the wait of every caller through an outage of STS", 2 * lifetime, outageFrom, outageTo},
	} {
		measured := measure(t, story.during, story.from, story.to)
		save(story.name, plotWaits(t, measured, story.during, story.from, story.to))
		fmt.Fprintf(&said, "\n## %s.svg: %s\n\n%d callers, each asking again 10 ms after its answer; STS takes %s; credentials live %s.",
			story.name, story.title, callers, latency, lifetime)
		if story.to > 0 {
			fmt.Fprintf(&said, " STS answers 500 from second %.1f to second %.1f.", story.from.Seconds(), story.to.Seconds())
		}
		fmt.Fprintf(&said, `
The JavaScript provider is used as the AWS SDK for JavaScript uses it, which fetches five minutes before the end: so its
credentials live five minutes more here.

| | calls | failed | waited over 50 ms | longest wait, ms |
|---|---|---|---|---|
`)
		for _, m := range measured {
			failed, slow, longest := m.sums()
			fmt.Fprintf(&said, "| %s | %d | %d | %d | %.0f |\n", m.name, len(m.samples), failed, slow, longest)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(*write, "README.md"), []byte(said.String()), 0o644))
}
