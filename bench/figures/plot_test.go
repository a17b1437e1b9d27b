//go:build go1.25

package figures

import (
	"bytes"
	"fmt"
	"image/color"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours are read well on white and on black alike. Ink follows the
// reader's choice: see adapt.
var (
	ink   = color.NRGBA{1, 2, 3, 255}
	blue  = color.NRGBA{0x2f, 0x81, 0xf7, 255}
	red   = color.NRGBA{0xe5, 0x53, 0x4b, 255}
	shade = color.NRGBA{0x80, 0x80, 0x80, 60}
)

// scheme is what has a picture's ink follow the reader's light or dark mode.
const scheme = `<style>svg{color:#24292f}text{font-family:system-ui,sans-serif}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>`

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.BackgroundColor = nil
	p.Title.TextStyle.Color = ink
	p.Title.Padding = vg.Points(4)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle.Color, a.Label.TextStyle.Color, a.Tick.Label.Color, a.Tick.LineStyle.Color = ink, ink, ink, ink
	}
	return p
}

// stack draws plots of one width above each other.
func stack(t *testing.T, plots ...*plot.Plot) string {
	t.Helper()
	canvas := vgsvg.New(vg.Points(640), vg.Points(150*float64(len(plots))))
	var column [][]*plot.Plot
	for _, p := range plots {
		column = append(column, []*plot.Plot{p})
	}
	tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadTop: 6, PadBottom: 6, PadLeft: 6, PadRight: 14, PadY: 10}
	for i, row := range plot.Align(column, tiles, draw.New(canvas)) {
		plots[i].Draw(row[0])
	}
	var out bytes.Buffer
	_, err := canvas.WriteTo(&out)
	require.NoError(t, err)
	return adapt(out.String())
}

// adapt has the ink of gonum's SVG follow the reader's mode, and takes out its
// choice of font.
func adapt(svg string) string {
	svg = strings.NewReplacer("#010203", "currentColor", "font-family:Liberation Serif;", "").Replace(svg)
	end := strings.Index(svg, "<g ")
	return svg[:end] + scheme + svg[end:]
}

// plotWaits draws, for each provider, the longest wait of each twentieth of a
// second, and the calls that failed.
func plotWaits(t *testing.T, measured []measurement, during, from, to time.Duration) string {
	const bucket = 50.0 // milliseconds
	var plots []*plot.Plot
	for i, m := range measured {
		p := newPlot(m.name, "", "wait, ms")
		if i == len(measured)-1 {
			p.X.Label.Text = "seconds since the first credentials"
		}
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, during.Seconds(), 0, 400
		p.X.Tick.Marker = ticks(during.Seconds(), lifetime.Seconds()/4)
		if to > 0 {
			area, err := plotter.NewPolygon(plotter.XYs{{X: from.Seconds()}, {X: from.Seconds(), Y: 400}, {X: to.Seconds(), Y: 400}, {X: to.Seconds()}})
			require.NoError(t, err)
			area.Color, area.LineStyle.Width = shade, 0
			p.Add(area)
			label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: from.Seconds() + 0.1, Y: 355}}, Labels: []string{"STS answers 500"}})
			require.NoError(t, err)
			label.TextStyle[0].Color = ink
			p.Add(label)
		}
		longest := map[int]sample{}
		for _, s := range m.samples {
			b := int(s.At / bucket)
			s.Failed = s.Failed || longest[b].Failed
			s.Wait = max(s.Wait, longest[b].Wait)
			longest[b] = s
		}
		var served, failed plotter.XYs
		for b, s := range longest {
			at := plotter.XY{X: (float64(b) + 0.5) * bucket / 1000, Y: min(s.Wait, 400)}
			if s.Failed {
				failed = append(failed, at)
			} else {
				served = append(served, at)
			}
		}
		for points, style := range map[*plotter.XYs]draw.GlyphStyle{
			&served: {Color: blue, Radius: 2, Shape: draw.CircleGlyph{}},
			&failed: {Color: red, Radius: 3, Shape: draw.CrossGlyph{}},
		} {
			scatter, err := plotter.NewScatter(*points)
			if len(*points) == 0 {
				continue
			}
			require.NoError(t, err)
			scatter.GlyphStyle = style
			p.Add(scatter)
			if style.Color == color.Color(red) {
				p.Legend.Add("failed", scatter)
				p.Legend.TextStyle.Color, p.Legend.Top = ink, true
			}
		}
		plots = append(plots, p)
	}
	return stack(t, plots...)
}

// ticks marks an axis from nought to the end.
func ticks(end, step float64) plot.ConstantTicks {
	var marks plot.ConstantTicks
	for at := 0.0; at <= end; at += step {
		marks = append(marks, plot.Tick{Value: at, Label: fmt.Sprint(at)})
	}
	return marks
}

// plotFleets draws the calls of each fleet in each minute.
func plotFleets(t *testing.T, fleets []fleet) string {
	var plots []*plot.Plot
	for i, f := range fleets {
		p := newPlot(f.name, "", "STS calls a second")
		if i == len(fleets)-1 {
			p.X.Label.Text = "hours since the start"
		}
		var line plotter.XYs
		for minute, n := range f.minutes {
			line = append(line, plotter.XY{X: (float64(minute) + 0.5) / 60, Y: n})
		}
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, fleetTime.Hours(), 0, fleetSize/60*1.1
		p.X.Tick.Marker = ticks(fleetTime.Hours(), 1)
		l, err := plotter.NewLine(line)
		require.NoError(t, err)
		l.Color, l.Width = blue, vg.Points(1.5)
		p.Add(l)
		plots = append(plots, p)
	}
	return stack(t, plots...)
}
