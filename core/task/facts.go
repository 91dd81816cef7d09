package task

import (
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Facts are the source of true answers: a data set, and counts of it.
type Facts struct {
	Data     *dataset.Dataset
	Trained  []int          // how often each item came next in training
	Quarters []int          // of each item: 1 for the quarter of the catalogue that came next most often in training, to 4
	Hidden   map[int32]bool // items that no answer may mention, such as those held out of training
}

// NewFacts counts the training targets of a data set.
func NewFacts(d *dataset.Dataset, split dataset.Split) *Facts {
	f := &Facts{Data: d, Trained: make([]int, len(d.Items)), Quarters: make([]int, len(d.Items))}
	for _, s := range split.Train {
		f.Trained[s.Next]++
	}
	order := make([]int32, len(d.Items))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return f.Trained[b] - f.Trained[a] })
	for place, item := range order {
		f.Quarters[item] = 1 + 4*place/len(order)
	}
	return f
}

// Without returns the facts with items hidden.
func (f *Facts) Without(items map[int32]bool) *Facts {
	other := *f
	other.Hidden = items
	return &other
}

// valuesOf returns the values of a column in a row of attributes; none if they are unknown.
func valuesOf(a dataset.Attributes, row int32, column string) []string {
	at := slices.Index(a.Names, column)
	if at < 0 || a.Values == nil || row < 0 {
		return nil
	}
	return strings.FieldsFunc(a.Values[row][at], func(r rune) bool { return r == '|' })
}

// genres returns the genres of an item.
func (f *Facts) genres(item int32) []string { return valuesOf(f.Data.ItemAttributes, item, "genres") }

// decade returns the decade of an item's year, such as 1990s.
func (f *Facts) decade(item int32) []string {
	year, err := strconv.Atoi(strings.Join(valuesOf(f.Data.ItemAttributes, item, "year"), ""))
	if err != nil {
		return nil
	}
	return []string{strconv.Itoa(year/10*10) + "s"}
}

// distinct gives all values that rows of attributes have, sorted, and the most that one of them
// has.
func distinct(a dataset.Attributes, values func(row int32) []string) (all []string, most int) {
	known := map[string]bool{}
	for row := range a.Values {
		own := values(int32(row))
		most = max(most, len(own))
		for _, value := range own {
			known[value] = true
		}
	}
	for value := range known {
		all = append(all, value)
	}
	slices.Sort(all)
	return all, most
}

// frequent returns the most frequent values, up to a number of them and each at least twice; among
// equals by name.
func frequent(values []string, most int) []string {
	times := map[string]int{}
	for _, value := range values {
		times[value]++
	}
	var common []string
	for value, n := range times {
		if n >= 2 {
			common = append(common, value)
		}
	}
	slices.SortFunc(common, func(a, b string) int {
		if times[a] != times[b] {
			return times[b] - times[a]
		}
		return strings.Compare(a, b)
	})
	return common[:min(most, len(common))]
}
