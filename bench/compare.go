package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
)

// Comparison is what two results say beside each other.
type Comparison struct {
	Differences []Difference `json:"differences"` // of what was measured on; they may be why figures differ
	Changes     []Change     `json:"changes"`     // figures of both results
	OnlyBefore  []Figure     `json:"only_before"` // of one result only
	OnlyAfter   []Figure     `json:"only_after"`
}

// Difference is something other than speed in which two results differ.
type Difference struct {
	What   string `json:"what"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Change is a figure in two results.
type Change struct {
	Figure Figure   `json:"figure"` // of the second result
	Before Spread   `json:"before"`
	After  Spread   `json:"after"`
	Unit   string   `json:"unit"`
	Faster *float64 `json:"faster_by"` // times; below 1: slower; nil where one of the medians is 0
	P      float64  `json:"p"`         // of the rounds being this different by chance (Mann and Whitney's U-test)
	Word   string   `json:"verdict"`
}

// Verdicts of a change.
const (
	Faster  = "faster"
	Slower  = "slower"
	Same    = "no difference shown"
	TooFew  = "too few rounds to tell"
	certain = 0.05 // p at most, for a difference to be called one
)

// Compare compares our sides of two results, figure by figure.
func Compare(before, after *Result) (*Comparison, error) {
	type key struct {
		bench, name            string
		batch, length, threads int
	}
	of := func(f Figure) key { return key{f.Bench, f.Name, f.Batch, f.Length, f.Threads} }
	old := map[key]Figure{}
	for _, f := range before.Figures {
		old[of(f)] = f
	}
	c := &Comparison{Changes: []Change{}, OnlyBefore: []Figure{}, OnlyAfter: []Figure{}}
	var err error
	if c.Differences, err = differences(before, after); err != nil {
		return nil, err
	}
	for _, f := range after.Figures {
		other, ok := old[of(f)]
		if !ok {
			c.OnlyAfter = append(c.OnlyAfter, f)
			continue
		}
		delete(old, of(f))
		if other.FLOP != f.FLOP || other.Unit != f.Unit {
			c.Differences = append(c.Differences, Difference{"work of a sample, " + f.Bench + ", " + f.title(), other.work(), f.work()})
		}
		c.Changes = append(c.Changes, change(other, f))
	}
	for _, f := range before.Figures {
		if _, left := old[of(f)]; left {
			c.OnlyBefore = append(c.OnlyBefore, f)
		}
	}
	return c, nil
}

// work says what a figure's sample costs.
func (f *Figure) work() string { return fmt.Sprintf("%s, %g FLOP", f.Unit, f.FLOP) }

// differences compares all that results say beside their figures, whatever it is; speeds and dates
// are no conditions.
func differences(before, after *Result) ([]Difference, error) {
	var sides [2]map[string]string
	for i, r := range []*Result{before, after} {
		conditions := *r
		conditions.Figures, conditions.Probes, conditions.Machine.Date = nil, Probes{}, ""
		text, err := json.Marshal(conditions)
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		delete(fields, "probes")
		sides[i] = map[string]string{}
		flatten(sides[i], "", fields)
	}
	all := maps.Clone(sides[0])
	maps.Copy(all, sides[1])
	found := []Difference{}
	for _, what := range slices.Sorted(maps.Keys(all)) {
		if a, b := cmp.Or(sides[0][what], "not said"), cmp.Or(sides[1][what], "not said"); a != b {
			found = append(found, Difference{what, a, b})
		}
	}
	return found, nil
}

// flatten writes the leaves of a JSON value under their paths; lists are one leaf.
func flatten(to map[string]string, path string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			flatten(to, strings.TrimPrefix(path+"."+name, "."), inner)
		}
	case nil:
	case []any:
		words := make([]string, len(value))
		for i, word := range value {
			words[i] = fmt.Sprint(word)
		}
		to[path] = strings.Join(words, " ")
	default:
		to[path] = fmt.Sprint(value)
	}
}

// change compares a figure of two results.
func change(before, after Figure) Change {
	a, b := before.Sides[0], after.Sides[0]
	c := Change{Figure: after, Before: a.Rate, After: b.Rate, Unit: after.Unit + "/s"}
	ratio := b.Rate.Median / a.Rate.Median
	if a.P50 != nil && b.P50 != nil {
		c.Before, c.After, c.Unit, ratio = *a.P50, *b.P50, "µs (p50)", a.P50.Median/b.P50.Median
	}
	c.judge(ratio)
	if !math.IsNaN(ratio) && !math.IsInf(ratio, 0) {
		c.Faster = &ratio
	}
	return c
}

// judge says whether the rounds of both results differ by more than chance would have it.
func (c *Change) judge(faster float64) {
	thresholds := &benchmath.Thresholds{CompareAlpha: certain}
	test := benchmath.AssumeNothing.Compare(benchmath.NewSample(c.Before.Values, thresholds), benchmath.NewSample(c.After.Values, thresholds))
	if c.P = test.P; math.IsNaN(c.P) { // all rounds of both are alike
		c.P = 1
	}
	// With so few rounds even two that do not overlap come about by chance too often.
	least := 2.0
	n, m := len(c.Before.Values), len(c.After.Values)
	for k := 1; k <= n; k++ {
		least *= float64(k) / float64(m+k)
	}
	switch {
	case least > certain:
		c.Word = TooFew
	case c.P > certain:
		c.Word = Same
	case faster > 1:
		c.Word = Faster
	default:
		c.Word = Slower
	}
}

// Write writes a report for people.
func (c *Comparison) Write(w io.Writer) error {
	for _, d := range c.Differences {
		fmt.Fprintf(w, "note: %s differs: %s before, %s after\n", d.What, d.Before, d.After)
	}
	if len(c.Differences) > 0 {
		fmt.Fprintln(w, "note: where conditions differ, a change of speed may be theirs and not the program's")
	}
	if len(c.Changes) == 0 {
		fmt.Fprintln(w, "note: no figure is in both results")
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "bench\twhat\tbefore\tafter\tunit\tfaster by\tp\t")
	for _, c := range c.Changes {
		faster := "–"
		if c.Faster != nil {
			faster = fmt.Sprintf("%.3f ×", *c.Faster)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%.3f\t%s\n", c.Figure.Bench, c.Figure.title(), c.Before, c.After, c.Unit, faster, c.P, c.Word)
	}
	for _, f := range c.OnlyBefore {
		fmt.Fprintf(table, "%s\t%s\t%s\t–\t%s\t\t\t%s\n", f.Bench, f.title(), f.Sides[0].Rate, f.Unit+"/s", "only before")
	}
	for _, f := range c.OnlyAfter {
		fmt.Fprintf(table, "%s\t%s\t–\t%s\t%s\t\t\t%s\n", f.Bench, f.title(), f.Sides[0].Rate, f.Unit+"/s", "only after")
	}
	return table.Flush()
}
