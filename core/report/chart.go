package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Positions of lines in a chart, in its units.
const (
	chartWidth, chartHeight = 640.0, 240.0
	chartLeft, chartBottom  = 44.0, 28.0
)

// drawing is a chart in the form of the page's template.
type drawing struct {
	Width, Height, Left, Right, Bottom float64
	Lines                              []line
	Ticks                              []tick
}

// line is a polyline with marks on it.
type line struct {
	Class  string // of the style sheet
	Points string
	Marks  []mark
}

type mark struct {
	X, Y  float64
	Label string
}

// tick is a line across the chart at a value, or a place on the axis below.
type tick struct {
	At     float64
	Label  string
	Below  bool
	Anchor string // of a label below
}

// series is a line to draw; the positions of its marks are values.
type series struct {
	class string
	marks []mark // without labels: only a line
}

// chart draws lines over positions of at least first, with 0 on the axis of values; nil if there is
// nothing to draw.
func chart(first float64, lines ...series) *drawing {
	low, high, last := 0.0, 0.0, first
	for _, s := range lines {
		for _, m := range s.marks {
			low, high, last = min(low, m.Y), max(high, m.Y), max(last, m.X)
		}
	}
	if last == first || !(high > low) || math.IsInf(high-low, 0) {
		return nil
	}
	x := func(at float64) float64 { return chartLeft + (chartWidth-chartLeft-12)*(at-first)/(last-first) }
	y := func(value float64) float64 { return (chartHeight-chartBottom-10)*(high-value)/(high-low) + 10 }
	d := &drawing{Width: chartWidth, Height: chartHeight, Left: chartLeft, Right: chartWidth - 12, Bottom: chartHeight - chartBottom}
	for _, s := range lines {
		l := line{Class: s.class}
		var points strings.Builder
		for _, m := range s.marks {
			fmt.Fprintf(&points, "%.1f,%.1f ", x(m.X), y(m.Y))
			if m.Label != "" {
				l.Marks = append(l.Marks, mark{x(m.X), y(m.Y), m.Label})
			}
		}
		l.Points = points.String()
		d.Lines = append(d.Lines, l)
	}
	decimals := 2
	if high-low >= 20 { // such as percentages
		decimals = 0
	}
	for i, anchor := range []string{"start", "middle", "middle", "middle", "end"} {
		part := float64(i) / 4
		value, at := low+part*(high-low), math.Round(first+part*(last-first))
		d.Ticks = append(d.Ticks, tick{At: y(value), Label: fmt.Sprintf("%.*f", decimals, value)},
			tick{At: x(at), Label: fmt.Sprint(at), Below: true, Anchor: anchor})
	}
	return d
}

// losses draws the losses of a run by samples trained on.
func losses(r Run) *drawing {
	training, validation := series{class: "training"}, series{class: "validation"}
	for _, p := range r.Training {
		training.marks = append(training.marks, mark{X: float64(p.Samples), Y: p.Loss})
	}
	for _, p := range r.Validation {
		validation.marks = append(validation.marks,
			mark{float64(p.Samples), p.Loss, fmt.Sprintf("%.3f after %d samples", p.Loss, p.Samples)})
	}
	return chart(0, training, validation)
}

// reliability draws how often answers are right, in %, by their probability.
func reliability(c evaluate.Calibration) *drawing {
	perfect := series{class: "training", marks: []mark{{X: 0, Y: 0}, {X: 100, Y: 100}}}
	answers := series{class: task.Right}
	for _, bin := range c.Bins {
		answers.marks = append(answers.marks, mark{100 * bin.Confidence, 100 * bin.Accuracy,
			fmt.Sprintf("%.1f %% of %d answers are right, of mean probability %.1f %%", 100*bin.Accuracy, bin.N, 100*bin.Confidence)})
	}
	return chart(0, perfect, answers)
}

// fewest is the number of tokens that a mean in a chart needs; the table shows all means.
const fewest = 5

// sureness draws the mean log-probabilities of right and wrong titles by the token's place.
func sureness(c task.Curve) *drawing {
	of := func(class string, mean func(task.Place) task.Mean) series {
		s := series{class: class}
		for _, p := range c.Places {
			if m := mean(p); m.N >= fewest {
				s.marks = append(s.marks, mark{float64(p.Number), m.LogProb,
					fmt.Sprintf("%.3f, token %d of %s titles, mean of %d", m.LogProb, p.Number, class, m.N)})
			}
		}
		return s
	}
	return chart(1, of(task.Right, func(p task.Place) task.Mean { return p.Right }), of(task.Wrong, func(p task.Place) task.Mean { return p.Wrong }))
}
