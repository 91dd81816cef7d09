package bench

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// CheckPlot reports why a sweep ("" is none) cannot be drawn to a file, or nil.
func CheckPlot(path, sweep string) error {
	switch filepath.Ext(path) {
	case ".png", ".svg":
	default:
		return fmt.Errorf("bench: %s: plots end in .png or .svg", path)
	}
	if sweep == "" {
		return errors.New("bench: there is nothing to plot without a sweep; add --sweep")
	}
	return nil
}

// Plot draws a sweep: samples a second of each side above what is varied, and beside it the time
// that one call takes. The name's end says how: .png or .svg.
func (r *Result) Plot(path string) error {
	if err := CheckPlot(path, r.Sweep); err != nil {
		return err
	}
	rate, err := r.panel("throughput", "samples a second", func(_ Figure, s Spread) Spread { return s })
	if err != nil {
		return err
	}
	call, err := r.panel("latency", "milliseconds of a call", func(f Figure, s Spread) Spread {
		ms := func(rate float64) float64 { return 1000 * float64(max(1, f.Batch)) / rate }
		return Spread{Median: ms(s.Median), Min: ms(s.Max), Max: ms(s.Min)}
	})
	if err != nil {
		return err
	}
	canvas, err := draw.NewFormattedCanvas(14*vg.Inch, 6*vg.Inch, strings.TrimPrefix(filepath.Ext(path), "."))
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: 0.3 * vg.Inch, PadTop: 0.1 * vg.Inch, PadBottom: 0.1 * vg.Inch, PadLeft: 0.1 * vg.Inch,
		PadRight: 0.2 * vg.Inch}
	panels := [][]*plot.Plot{{rate, call}}
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	for i, c := range plot.Align(panels, tiles, whole)[0] {
		panels[0][i].Draw(c)
	}
	return artifact.WriteAtomic(path, func(w io.Writer) error {
		_, err := canvas.WriteTo(w)
		return err
	})
}

// swept is the value of what a figure's sweep varies.
func (f *Figure) swept() int { return max(f.Batch, f.Length, f.Threads) }

// panel draws a line for each work and side; value returns the value on the upright axis.
func (r *Result) panel(title, upright string, value func(Figure, Spread) Spread) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, r.Sweep, upright
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.Y.Tick.Marker = plot.TickerFunc(decades)
	p.Legend.Top, p.Legend.Left = true, true
	lines := map[string]plotter.XYs{}
	var names []string
	marks := map[int]bool{}
	for _, f := range r.Figures {
		for _, s := range f.Sides {
			name := f.Bench + ", " + f.Name
			if s.Program != Program {
				name += ": " + s.Program
			}
			if _, ok := lines[name]; !ok {
				names = append(names, name)
			}
			x := f.swept()
			marks[x] = true
			lines[name] = append(lines[name], plotter.XY{X: float64(x), Y: value(f, s.Rate).Median})
		}
	}
	var ticks plot.ConstantTicks
	for x := range marks {
		ticks = append(ticks, plot.Tick{Value: float64(x), Label: strconv.Itoa(x)})
	}
	slices.SortFunc(ticks, func(a, b plot.Tick) int { return int(a.Value - b.Value) })
	p.X.Tick.Marker = ticks
	for i, name := range names {
		line, points, err := plotter.NewLinePoints(lines[name])
		if err != nil {
			return nil, fmt.Errorf("bench: %s: %w", name, err)
		}
		line.Color, points.Color = plotutil.Color(i), plotutil.Color(i)
		line.Dashes, points.Shape = plotutil.Dashes(i/len(plotutil.DefaultColors)), plotutil.Shape(i)
		p.Add(line, points)
		p.Legend.Add(name, line, points)
	}
	p.Add(plotter.NewGrid())
	for _, axis := range []*plot.Axis{&p.X, &p.Y} { // which a single value would leave without a length
		axis.Min, axis.Max = axis.Min/1.1, axis.Max*1.1
	}
	for range names { // room for the legend
		p.Y.Max *= 1.1
	}
	return p, nil
}

// decades puts ticks at 1, 2 and 5 times the powers of ten.
func decades(least, most float64) (ticks []plot.Tick) {
	for power := math.Floor(math.Log10(least)); power <= math.Log10(most); power++ {
		for _, step := range []float64{1, 2, 5} {
			if x := step * math.Pow(10, power); x >= least && x <= most {
				ticks = append(ticks, plot.Tick{Value: x, Label: strconv.FormatFloat(x, 'g', 6, 64)})
			}
		}
	}
	return ticks
}

// WritePage writes a page of results that were saved, in the order given, and a plot of each sweep
// beside it.
func WritePage(path string, results []string) error {
	var page strings.Builder
	page.WriteString("# Benchmarks\n\nThis page is made by `recint bench page` from the files in [bench/results](../bench/results), and not " +
		"to be edited.\n[bench/README.md](../bench/README.md) says what is measured, and how to repeat it.\n")
	for _, file := range results {
		r, err := Read(file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		fmt.Fprintf(&page, "\n## %s\n", name)
		if err := r.writeMarkdown(&page); err != nil {
			return err
		}
		if r.Sweep == "" {
			continue
		}
		folder := strings.TrimSuffix(path, ".md")
		if err := os.MkdirAll(folder, 0o777); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		if err := r.Plot(filepath.Join(folder, name+".svg")); err != nil {
			return err
		}
		fmt.Fprintf(&page, "\n![%s](%s/%s.svg)\n", name, filepath.Base(folder), name)
	}
	return artifact.WriteAtomic(path, func(w io.Writer) error {
		_, err := io.WriteString(w, page.String())
		return err
	})
}
