package bench

import (
	"fmt"
	"io"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
)

// Change is a figure in two results.
type Change struct {
	Figure Figure  `json:"figure"` // of the second result
	Before Spread  `json:"before"`
	After  Spread  `json:"after"`
	Unit   string  `json:"unit"`
	Faster float64 `json:"faster_by"` // times; below 1: slower
	P      float64 `json:"p"`         // of the rounds being this different by chance (Mann and Whitney's U-test)
	Word   string  `json:"verdict"`
}

// Verdicts of a change.
const (
	Faster  = "faster"
	Slower  = "slower"
	Same    = "no difference shown"
	TooFew  = "too few rounds to tell"
	certain = 0.05 // p at most, for a difference to be called one
)

// Compare holds our sides of two results together, figure by figure; what only one of them has is left out. An error: they have
// nothing in common.
func Compare(before, after *Result) (changes []Change, err error) {
	type key struct {
		bench, name            string
		batch, length, threads int
	}
	of := func(f Figure) key { return key{f.Bench, f.Name, f.Batch, f.Length, f.Threads} }
	old := map[key]Figure{}
	for _, f := range before.Figures {
		old[of(f)] = f
	}
	for _, f := range after.Figures {
		other, ok := old[of(f)]
		if !ok {
			continue
		}
		a, b := other.Sides[0], f.Sides[0]
		c := Change{Figure: f, Before: a.Rate, After: b.Rate, Unit: f.Unit + "/s", Faster: b.Rate.Median / a.Rate.Median}
		if a.P50 != nil && b.P50 != nil {
			c.Before, c.After, c.Unit, c.Faster = *a.P50, *b.P50, "µs (p50)", a.P50.Median/b.P50.Median
		}
		c.judge()
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil, fmt.Errorf("bench: the two results have no figure in common")
	}
	return changes, nil
}

// judge says whether the rounds of both results differ by more than chance would have it.
func (c *Change) judge() {
	thresholds := &benchmath.Thresholds{CompareAlpha: certain}
	test := benchmath.AssumeNothing.Compare(benchmath.NewSample(c.Before.Values, thresholds), benchmath.NewSample(c.After.Values, thresholds))
	c.P = test.P
	// With so few rounds even two that do not overlap come about by chance too often.
	least := 2.0
	n, m := len(c.Before.Values), len(c.After.Values)
	for k := 1; k <= n; k++ {
		least *= float64(k) / float64(m+k)
	}
	switch {
	case least > certain:
		c.Word = TooFew
	case test.P > certain:
		c.Word = Same
	case c.Faster > 1:
		c.Word = Faster
	default:
		c.Word = Slower
	}
}

// WriteChanges writes a table for people.
func WriteChanges(w io.Writer, changes []Change) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "bench\twhat\tbefore\tafter\tunit\tfaster by\tp\t")
	for _, c := range changes {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.3f ×\t%.3f\t%s\n", c.Figure.Bench, c.Figure.title(), c.Before, c.After, c.Unit, c.Faster, c.P,
			c.Word)
	}
	return table.Flush()
}
