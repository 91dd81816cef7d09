package explain

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Measured summarises how often the top k of histories could be changed.
type Measured struct {
	Top      int            `json:"top"`
	Fidelity evaluate.Share `json:"fidelity"` // histories for which changes were found
	Removals evaluate.Share `json:"removals"` // of these, with removals alone
	ByFirst  evaluate.Share `json:"by_first"` // histories for which the changes found for the top 1 also change the top k
	Changes  float64        `json:"changes"`  // mean number
	Median   float64        `json:"median_ms"`
}

// MeasureTest measures explanations of the recommendations after test sequences, as far as the
// recommender looks at them, for the k of Scarcelli et al. (2025) that leave enough other items.
func MeasureTest(ctx context.Context, s Scorer, test []dataset.Sequence, positions int, o Options, progress func(done, total int)) (
	[]Measured, error) {
	var histories [][]int32
	for _, sequence := range test {
		histories = append(histories, sequence.History[max(0, len(sequence.History)-positions):])
	}
	tops := slices.DeleteFunc([]int{1, 5, 10, 20}, func(top int) bool { return top >= o.Items/2 })
	return Measure(ctx, s, histories, tops, o, progress)
}

// Measure explains the recommendations after each history for several k, the first of which is 1.
// progress may be nil.
func Measure(ctx context.Context, s Scorer, histories [][]int32, tops []int, o Options, progress func(done, total int)) ([]Measured, error) {
	if len(histories) == 0 {
		return nil, fmt.Errorf("explain: there are no histories")
	}
	measured, done, first := []Measured{}, 0, make([][]Change, len(histories))
	for _, o.Top = range tops {
		var milliseconds []float64
		found, removals, changes, byFirst := 0, 0, 0, 0
		for i, history := range histories {
			start := time.Now()
			e, err := Find(ctx, s, history, o)
			if err != nil {
				return nil, err
			}
			milliseconds = append(milliseconds, 1000*time.Since(start).Seconds())
			if len(e.Changes) > 0 {
				found++
				changes += len(e.Changes)
				if !slices.ContainsFunc(e.Changes, func(c Change) bool { return c.By != Removed }) {
					removals++
				}
			}
			if o.Top == 1 {
				first[i] = e.Changes
			}
			if len(first[i]) > 0 {
				f := finder{Scorer: s, Options: o, history: history, before: e.Before}
				tried, err := f.try(ctx, []attempt{{changes: first[i]}})
				if err != nil {
					return nil, err
				}
				if tried[0].likeness < sameAgain {
					byFirst++
				}
			}
			if done++; progress != nil {
				progress(done, len(tops)*len(histories))
			}
		}
		slices.Sort(milliseconds)
		measured = append(measured, Measured{o.Top, evaluate.NewShare(found, len(histories)), evaluate.NewShare(removals, max(1, found)),
			evaluate.NewShare(byFirst, len(histories)), float64(changes) / float64(max(1, found)), milliseconds[len(milliseconds)/2]})
	}
	return measured, nil
}

// WriteMeasured writes a row for each k.
func WriteMeasured(to io.Writer, measured []Measured) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "top\tn\tchanged\t95 % interval\tby removals alone\tby the changes of the top 1\tmean changes\tmedian ms")
	for _, m := range measured {
		fmt.Fprintf(w, "%d\t%d\t%.1f %%\t%.1f–%.1f\t%.1f %%\t%.1f %%\t%.2f\t%.1f\n", m.Top, m.Fidelity.N, 100*m.Fidelity.Value, 100*m.Fidelity.Low,
			100*m.Fidelity.High, 100*m.Removals.Value, 100*m.ByFirst.Value, m.Changes, m.Median)
	}
	return w.Flush()
}
