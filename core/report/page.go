package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"percent":     func(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) },
	"interval":    func(s evaluate.Share) string { return fmt.Sprintf("%.1f–%.1f", 100*s.Low, 100*s.High) },
	"width":       func(x float64) string { return fmt.Sprintf("%.2f", 100*x) },
	"number":      func(x float64) string { return fmt.Sprintf("%.2f", x) },
	"probability": func(x float64) string { return fmt.Sprintf("%.2g", x) },
	"share":       func(n, of int) float64 { return float64(n) / float64(max(of, 1)) },
	"name":        func(condition string) string { return conditionNames[condition] },
	"curves":      curves,
	"lines":       func(text string) []string { return strings.Split(text, "\n") },
}).Parse(pageText))

var conditionNames = map[string]string{
	evaluate.TrueState:       "own states, free",
	evaluate.RestrictedState: "own states, restricted to titles",
	evaluate.ZeroState:       "control: a state of zeros",
	evaluate.ShuffledState:   "control: somebody else's states",
}

// WriteHTML writes the page: one file, with no address of another in it.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }

// The places of curves in a drawing, in its units.
const (
	chartWidth, chartHeight = 640.0, 240.0
	chartLeft, chartBottom  = 44.0, 28.0
)

// drawing is a chart of losses, for the page to draw.
type drawing struct {
	Width, Height, Left, Right, Bottom float64
	Training, Validation               string // points of polylines
	Marks                              []mark
	Ticks                              []tick
}

type mark struct {
	X, Y  float64
	Label string
}

// tick is a line across at a loss, or a place below with a number of samples.
type tick struct {
	At     float64
	Label  string
	Below  bool
	Anchor string // of a label below
}

// curves draws the losses of a run from 0 up; nil where there are none.
func curves(r Run) *drawing {
	most, samples := 0.0, 0
	for _, points := range [][]Point{r.Training, r.Validation} {
		for _, p := range points {
			most, samples = max(most, p.Loss), max(samples, p.Samples)
		}
	}
	if samples == 0 || !(most > 0) || math.IsInf(most, 0) {
		return nil
	}
	x := func(at int) float64 { return chartLeft + (chartWidth-chartLeft-12)*float64(at)/float64(samples) }
	y := func(loss float64) float64 { return (chartHeight-chartBottom-10)*(1-loss/most) + 10 }
	line := func(points []Point) string {
		var text strings.Builder
		for _, p := range points {
			fmt.Fprintf(&text, "%.1f,%.1f ", x(p.Samples), y(p.Loss))
		}
		return text.String()
	}
	d := &drawing{Width: chartWidth, Height: chartHeight, Left: chartLeft, Right: chartWidth - 12, Bottom: chartHeight - chartBottom,
		Training: line(r.Training), Validation: line(r.Validation)}
	for _, p := range r.Validation {
		d.Marks = append(d.Marks, mark{x(p.Samples), y(p.Loss), fmt.Sprintf("%.3f after %d samples", p.Loss, p.Samples)})
	}
	for i, anchor := range []string{"start", "middle", "middle", "middle", "end"} {
		part := float64(i) / 4
		at := int(part * float64(samples))
		d.Ticks = append(d.Ticks, tick{At: y(most * part), Label: fmt.Sprintf("%.2f", most*part)},
			tick{At: x(at), Label: fmt.Sprint(at), Below: true, Anchor: anchor})
	}
	return d
}
