package dataset

import (
	"cmp"
	"slices"
)

// Stats describes a data set in numbers. The JSON names are stable.
type Stats struct {
	Name            string      `json:"name"`
	Hash            string      `json:"hash"`
	Users           int         `json:"users"`
	Items           int         `json:"items"`
	Events          int         `json:"events"`
	Density         float64     `json:"density"`          // events / (users · items)
	FirstTime       int64       `json:"first_time"`       // of the earliest event
	LastTime        int64       `json:"last_time"`        // of the latest event
	MedianEvents    int         `json:"median_events"`    // of a user; the upper of two middles
	MedianHistory   int         `json:"median_history"`   // length over all sequences; the upper of two middles
	Train           int         `json:"train"`            // sequences of the chronological split
	Validation      int         `json:"validation"`       //
	Test            int         `json:"test"`             //
	DuplicateTitles int         `json:"duplicate_titles"` // items whose clean title an earlier item has
	TopItems        []ItemCount `json:"top_items"`        // the ten with most events, ties in catalogue order
}

// ItemCount is an item with its number of events.
type ItemCount struct {
	Title  string `json:"title"`
	Events int    `json:"events"`
}

// Describe counts. Data too small to split is described, too: parts of the split may be 0. A wrong protocol is an
// error.
func Describe(d *Dataset, p Protocol) (Stats, error) {
	const top = 10
	all, err := Sequences(d, p)
	if err != nil {
		return Stats{}, err
	}
	split := cut(all)
	s := Stats{
		Name: d.Name, Hash: d.Hash(), Users: len(d.Users), Items: len(d.Items), Events: len(d.Events),
		Train: len(split.Train), Validation: len(split.Validation), Test: len(split.Test),
	}
	if s.Events == 0 {
		return s, nil
	}
	s.Density = float64(s.Events) / (float64(s.Users) * float64(s.Items))
	perUser := make([]int, s.Users)
	perItem := make([]ItemCount, s.Items)
	s.FirstTime, s.LastTime = d.Events[0].Time, d.Events[0].Time
	for _, e := range d.Events {
		s.FirstTime, s.LastTime = min(s.FirstTime, e.Time), max(s.LastTime, e.Time)
		perUser[e.User]++
		perItem[e.Item].Events++
	}
	s.MedianEvents = median(perUser)
	lengths := make([]int, len(all))
	for i, q := range all {
		lengths[i] = len(q.History)
	}
	s.MedianHistory = median(lengths)
	catalogue := d.Catalogue()
	for i, item := range d.Items {
		perItem[i].Title = item.Title
		if catalogue.TitleID(int32(i)) != int32(i) {
			s.DuplicateTitles++
		}
	}
	slices.SortStableFunc(perItem, func(a, b ItemCount) int { return cmp.Compare(b.Events, a.Events) })
	s.TopItems = perItem[:min(top, len(perItem))]
	return s, nil
}

// median sorts values and returns the middle one, the upper of two, or 0 of none.
func median(values []int) int {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}
