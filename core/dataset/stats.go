package dataset

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// Stats describes a data set in numbers. The JSON names are stable.
type Stats struct {
	Name            string      `json:"name"`
	Hash            string      `json:"hash"`
	Users           int         `json:"users"`
	Items           int         `json:"items"`
	Events          int         `json:"events"`
	Density         float64     `json:"density"`        // events / (users · items)
	FirstTime       int64       `json:"first_time"`     // of the earliest event
	LastTime        int64       `json:"last_time"`      // of the latest event
	TimeUnit        string      `json:"time_unit"`      // of these: "s", "ms", "us" or "ns", told by their size
	MedianEvents    int         `json:"median_events"`  // of a user; the upper of two middles
	SingleEvents    int         `json:"single_events"`  // users with one event, of whom no sequence can be made
	MedianHistory   int         `json:"median_history"` // length over all sequences; the upper of two middles
	SplitBy         SplitKind   `json:"split"`
	Train           int         `json:"train"` // sequences of the split
	Validation      int         `json:"validation"`
	Test            int         `json:"test"`
	Leakage         Leakage     `json:"leakage"`                // of the split
	DuplicateTitles int         `json:"duplicate_titles"`       // items whose clean title an earlier item has
	TopItems        []ItemCount `json:"top_items"`              // the ten with most events (given data: targets), ties in catalogue order
	ItemColumns     []Column    `json:"item_columns,omitempty"` // attributes of items
	UserColumns     []Column    `json:"user_columns,omitempty"` // and of users
}

// ItemCount is an item with its number of events.
type ItemCount struct {
	Title  string `json:"title"`
	Events int    `json:"events"`
}

// Column is a column of attributes, summed up.
type Column struct {
	Name   string       `json:"name"`
	Known  int          `json:"known"`  // rows that have a value
	Values int          `json:"values"` // different ones
	Top    []ValueCount `json:"top"`    // the five of most rows, ties by name
}

// ValueCount is a value with the number of rows that have it.
type ValueCount struct {
	Value string `json:"value"`
	Rows  int    `json:"rows"`
}

// columns sums attributes up.
func (a Attributes) columns() (all []Column) {
	const top = 5
	for at, name := range a.Names {
		c, rows := Column{Name: name}, map[string]int{}
		for _, row := range a.Values {
			if row[at] == "" {
				continue
			}
			c.Known++
			for value := range strings.SplitSeq(row[at], "|") {
				rows[value]++
			}
		}
		for value, n := range rows {
			c.Top = append(c.Top, ValueCount{value, n})
		}
		slices.SortFunc(c.Top, func(a, b ValueCount) int { return cmp.Or(b.Rows-a.Rows, strings.Compare(a.Value, b.Value)) })
		c.Values, c.Top = len(rows), c.Top[:min(top, len(rows))]
		all = append(all, c)
	}
	return all
}

// Describe computes the statistics, also of data too small to split: parts of the split may be 0. A
// wrong protocol and the end of the context are errors. Memory: the data set and about 20 bytes for
// each event.
func Describe(ctx context.Context, d *Dataset, p Protocol) (Stats, error) {
	const top = 10
	d = d.sorted()
	all, err := d.targets(p)
	if err != nil {
		return Stats{}, err
	}
	hash := make(chan string, 1)
	go func() { hash <- d.Hash() }()
	targets := func(yield func(part, Sequence) bool) {
		for in, s := range all {
			if ctx.Err() != nil || !yield(in, s) {
				return
			}
		}
	}
	s := Stats{Name: d.Name, Users: len(d.Users), Items: len(d.Items), Events: len(d.Events), SplitBy: d.Kind()}
	s.ItemColumns, s.UserColumns = d.ItemAttributes.columns(), d.UserAttributes.columns()
	perUser := make([]int, s.Users)
	perItem := make([]ItemCount, s.Items)
	for i, e := range d.Events {
		if i == 0 {
			s.FirstTime, s.LastTime = e.Time, e.Time
		}
		s.FirstTime, s.LastTime = min(s.FirstTime, e.Time), max(s.LastTime, e.Time)
		perUser[e.User]++
		perItem[e.Item].Events++
	}
	unit, _ := UnitOf(s.LastTime)
	s.TimeUnit = unit.Name
	if s.Events > 0 {
		s.Density = float64(s.Events) / (float64(s.Users) * float64(s.Items))
	}
	slices.Sort(perUser)
	for _, n := range perUser {
		if n == 1 {
			s.SingleEvents++
		}
	}
	if s.Users > 0 {
		s.MedianEvents = perUser[s.Users/2]
	}
	lengths := make([]int, p.MaxHistory+1) // number of sequences by length of history
	var sizes [parts]int
	for in, q := range targets {
		sizes[in]++
		lengths[len(q.History)]++
		if d.Kind() == Given {
			perItem[q.Next].Events++
		}
	}
	s.Train, s.Validation, s.Test = sizes[train], sizes[validation], sizes[test]
	if n := s.Train + s.Validation + s.Test; n > 0 {
		for half := n / 2; half >= lengths[s.MedianHistory]; s.MedianHistory++ {
			half -= lengths[s.MedianHistory]
		}
	}
	s.Leakage = leakage(targets, s.Users)
	catalogue := d.Catalogue()
	for i, item := range d.Items {
		perItem[i].Title = item.Title
		if catalogue.TitleID(int32(i)) != int32(i) {
			s.DuplicateTitles++
		}
	}
	slices.SortStableFunc(perItem, func(a, b ItemCount) int { return cmp.Compare(b.Events, a.Events) })
	s.TopItems = perItem[:min(top, len(perItem))]
	s.Hash = <-hash
	return s, ctx.Err()
}
