package dataset

import (
	"cmp"
	"fmt"
	"slices"
)

// Protocol says how sequences are made from events.
type Protocol struct {
	MaxHistory int // the last so many items before the target, at most
	MinHistory int // targets with fewer items before them are dropped
}

// DefaultProtocol is the paper's: histories of 10, positions with fewer than 3 items before them dropped.
func DefaultProtocol() Protocol { return Protocol{MaxHistory: 10, MinHistory: 3} }

// Validate names the field that is out of range.
func (p Protocol) Validate() error {
	if p.MinHistory < 1 {
		return fmt.Errorf("dataset: MinHistory is %d, expected at least 1", p.MinHistory)
	}
	if p.MaxHistory < p.MinHistory {
		return fmt.Errorf("dataset: MaxHistory is %d, expected at least MinHistory, %d", p.MaxHistory, p.MinHistory)
	}
	return nil
}

// Sequence is one thing to predict: the item that a user took next after a history.
type Sequence struct {
	User    int32
	History []int32 // 1 to MaxHistory dense item ids, oldest first; shared memory, not to be changed
	Next    int32   // dense item id
	Time    int64   // of Next
}

// Split holds the sequences for training, choosing and reporting.
type Split struct {
	Train, Validation, Test []Sequence
}

// SplitChronological makes all sequences (Sequences) and cuts them by time 8:1:1 at ⌊8n/10⌋ and ⌊9n/10⌋, so that no
// training target is later than a validation target, and none of these later than a test target. A user may occur in
// all three parts. Data too small to fill every part is an error.
func SplitChronological(d *Dataset, p Protocol) (Split, error) {
	all, err := Sequences(d, p)
	if err != nil {
		return Split{}, err
	}
	s := cut(all)
	if len(s.Train) == 0 || len(s.Validation) == 0 || len(s.Test) == 0 {
		return Split{}, fmt.Errorf("dataset: %s gives %d sequences with at least %d earlier items, too few to split 8:1:1",
			d.Name, len(all), p.MinHistory)
	}
	return s, nil
}

func cut(all []Sequence) Split {
	n := len(all)
	a, b := n*8/10, n*9/10
	return Split{Train: all[:a:a], Validation: all[a:b:b], Test: all[b:]}
}

// Sequences makes a sequence of every event that has at least MinHistory earlier events of its user. A user's events
// are ordered by time, ties by item, so that the order of a file's lines, which means nothing, changes nothing; sequences by
// the time of the target, ties by user, then by position. Where clocks are coarse the rule for ties matters: in
// MovieLens-100K three events of four share their second with another one of the same user.
func Sequences(d *Dataset, p Protocol) ([]Sequence, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	var all []Sequence
	for user, events := range byUser(d) {
		items := make([]int32, len(events))
		for i, e := range events {
			items[i] = e.Item
		}
		for at := p.MinHistory; at < len(events); at++ {
			from := max(0, at-p.MaxHistory)
			all = append(all, Sequence{
				User: int32(user), History: items[from:at:at], Next: items[at], Time: events[at].Time,
			})
		}
	}
	slices.SortStableFunc(all, func(a, b Sequence) int { return cmp.Compare(a.Time, b.Time) })
	return all, nil
}

// History returns the user's latest items, at most max of them, oldest first: what a recommender would be asked now.
func (d *Dataset) History(user int32, max int) []int32 {
	events := byUser(d)[user]
	var items []int32
	for _, e := range events[len(events)-min(max, len(events)):] {
		items = append(items, e.Item)
	}
	return items
}

// byUser groups the events, each user's by time, ties by item.
func byUser(d *Dataset) [][]Event {
	groups := make([][]Event, len(d.Users))
	for _, e := range d.Events {
		groups[e.User] = append(groups[e.User], e)
	}
	for _, events := range groups {
		slices.SortStableFunc(events, func(a, b Event) int {
			return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Item, b.Item))
		})
	}
	return groups
}
