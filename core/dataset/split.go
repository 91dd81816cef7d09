package dataset

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
)

// Protocol says how sequences are made from events.
type Protocol struct {
	MaxHistory int // the most items before the target that count, the last ones
	MinHistory int // targets with fewer items before them are dropped
}

// DefaultProtocol is the paper's: histories of 10, positions with fewer than 3 items before them
// dropped.
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
	User    int32   // 0 where sequences were given
	History []int32 // 1 to MaxHistory dense item ids, oldest first; shared memory, not to be changed
	Next    int32   // dense item id
	Time    int64   // of Next; 0 where sequences were given
	Row     int32   // of Next among the sorted events, or in a file of states; 0 where sequences were given
}

// Rows gives the rows of the history's items, with that of Next or without it: -1-r for row r,
// which no item's id can be.
func (s Sequence) Rows(next bool) []int32 {
	rows := make([]int32, 0, len(s.History)+1)
	for r := s.Row - int32(len(s.History)); r <= s.Row; r++ {
		rows = append(rows, -1-r)
	}
	if !next {
		rows = rows[:len(s.History)]
	}
	return rows
}

// Split holds the sequences for training, choosing and reporting.
type Split struct {
	Train, Validation, Test []Sequence
}

// all gives the parts in the order train, validation, test.
func (s *Split) all() [parts]*[]Sequence { return [parts]*[]Sequence{&s.Train, &s.Validation, &s.Test} }

// SplitKind says how the sequences of a data set are divided into three parts. It is recorded in
// dataset.json.
type SplitKind string

const (
	// Chronological cuts all sequences by time 8:1:1 at ⌊8n/10⌋ and ⌊9n/10⌋, so that no training
	// target is later than a validation target, and none of these later than a test target. A user
	// may occur in all three parts.
	Chronological SplitKind = "chronological"
	// LeaveOneOut tests on the last event of each user, validates on the one before it and trains
	// on the rest. Training includes later events of other users: see Leakage.
	LeaveOneOut SplitKind = "leave-one-out"
	// Given is for data that came as sequences in three parts. They are used unchanged, except that
	// only the last MaxHistory items of a history count; MinHistory was the source's choice.
	Given SplitKind = "given"
)

// Validate refuses an unknown kind and lists the known ones.
func (k SplitKind) Validate() error {
	if k == Chronological || k == LeaveOneOut || k == Given {
		return nil
	}
	return fmt.Errorf("dataset: no split is called %q; known are %s, %s and %s", string(k), Chronological, LeaveOneOut, Given)
}

// Kind is SplitBy, Chronological where that is empty.
func (d *Dataset) Kind() SplitKind { return cmp.Or(d.SplitBy, Chronological) }

// Split makes sequences by the kind of split that the data set records. There is one for every
// event that has at least MinHistory earlier events of its user. A user's events are ordered by
// time, ties by item, so that the order of a file's lines, which has no meaning, has no effect; the
// sequences of a part by the time of the target, ties by user, then by position. Where clocks are
// coarse the rule for ties matters: in MovieLens-100K three events of four share their second with
// another one of the same user. Data too small to fill every part is an error.
func (d *Dataset) Split(p Protocol) (Split, error) {
	targets, err := d.targets(p)
	if err != nil {
		return Split{}, err
	}
	var sizes [parts]int
	for in := range targets {
		sizes[in]++
	}
	if slices.Min(sizes[:]) == 0 {
		return Split{}, fmt.Errorf("dataset: %s gives %d sequences to train, %d to validate and %d to test (%s, at least %d earlier "+
			"items), too few for every part to have one", d.Name, sizes[train], sizes[validation], sizes[test], d.Kind(), p.MinHistory)
	}
	var sequences [parts][]Sequence
	for i := range sequences {
		sequences[i] = make([]Sequence, 0, sizes[i])
	}
	for in, s := range targets {
		sequences[in] = append(sequences[in], s)
	}
	var sorting sync.WaitGroup
	for _, s := range sequences {
		sorting.Go(func() { sortByTime(s) })
	}
	sorting.Wait()
	return Split{sequences[train], sequences[validation], sequences[test]}, nil
}

// sortByTime sorts sequences by time, those of the same time in their order. It moves each sequence
// once: they are large.
func sortByTime(sequences []Sequence) {
	type target struct {
		time int64
		from int32
	}
	order := make([]target, len(sequences))
	for i, s := range sequences {
		order[i] = target{s.Time, int32(i)}
	}
	slices.SortFunc(order, func(a, b target) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.from, b.from)) })
	for start := range order { // each cycle of the permutation
		first := sequences[start]
		for to := start; order[to].from >= 0; {
			from := int(order[to].from)
			order[to].from = -1
			if from == start {
				sequences[to] = first
				break
			}
			sequences[to] = sequences[from]
			to = from
		}
	}
}

// SplitChronological is Split by time, also for a data set that records another kind.
func SplitChronological(d *Dataset, p Protocol) (Split, error) {
	as := *d
	as.SplitBy = Chronological
	return as.Split(p)
}

// part is one of the three of a split.
type part int

const (
	train part = iota
	validation
	test
	parts = 3
)

// targets yields every sequence with its part, user by user, each user's in order. It can be
// iterated more than once.
func (d *Dataset) targets(p Protocol) (iter.Seq2[part, Sequence], error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if d.Kind() == Given {
		return d.given(p), nil
	}
	d = d.sorted()
	starts := d.starts()
	var validationFrom, testFrom cut
	if d.Kind() == Chronological {
		validationFrom, testFrom = d.cuts(starts, p)
	}
	return func(yield func(part, Sequence) bool) {
		a, b := validationFrom, testFrom
		for user := range d.Users {
			events := d.Events[starts[user]:starts[user+1]]
			items := make([]int32, len(events))
			for i, e := range events {
				items[i] = e.Item
			}
			for at := p.MinHistory; at < len(events); at++ {
				s := Sequence{User: int32(user), History: items[max(0, at-p.MaxHistory):at:at], Next: items[at],
					Time: events[at].Time, Row: int32(starts[user] + at)}
				in := part(max(0, at-len(events)+parts)) // leave-one-out
				if d.Kind() == Chronological {
					in = test
					inTrain, inValidation := a.takes(s.Time), b.takes(s.Time)
					if inTrain {
						in = train
					} else if inValidation {
						in = validation
					}
				}
				if !yield(in, s) {
					return
				}
			}
		}
	}, nil
}

// given returns the sequences of a data set that was already split.
func (d *Dataset) given(p Protocol) iter.Seq2[part, Sequence] {
	return func(yield func(part, Sequence) bool) {
		for i, sequences := range d.Parts.all() {
			for _, s := range *sequences {
				s.History = s.History[max(0, len(s.History)-p.MaxHistory):]
				if !yield(part(i), s) {
					return
				}
			}
		}
	}
}

// cut is a position among the targets in order of time. Before it are the targets earlier than
// time, and the first `ties` of those at that time.
type cut struct {
	time int64
	ties int
}

// takes reports whether a target is before the cut. It must be called once for each target, in the
// order of ties.
func (c *cut) takes(time int64) bool {
	if time == c.time && c.ties > 0 {
		c.ties--
		return true
	}
	return time < c.time
}

// cuts finds the chronological cuts among sorted events. It sorts times alone, 8 bytes for each
// target.
func (d *Dataset) cuts(starts []int, p Protocol) (validationFrom, testFrom cut) {
	times := make([]int64, 0, len(d.Events))
	for user := range d.Users {
		for at := starts[user] + p.MinHistory; at < starts[user+1]; at++ {
			times = append(times, d.Events[at].Time)
		}
	}
	slices.Sort(times)
	at := func(rank int) cut {
		if len(times) == 0 {
			return cut{time: math.MinInt64}
		}
		earlier, _ := slices.BinarySearch(times, times[rank])
		return cut{times[rank], rank - earlier}
	}
	return at(len(times) * 8 / 10), at(len(times) * 9 / 10)
}

// Histories returns the latest items of every user, at most max of each, oldest first.
func (d *Dataset) Histories(max int) [][]int32 {
	d = d.sorted()
	histories := make([][]int32, len(d.Users))
	for user, starts := 0, d.starts(); user < len(d.Users); user++ {
		events := d.Events[starts[user]:starts[user+1]]
		for _, e := range events[len(events)-min(max, len(events)):] {
			histories[user] = append(histories[user], e.Item)
		}
	}
	return histories
}

// History returns the user's latest items, at most max of them, oldest first: the input of a
// recommender now.
func (d *Dataset) History(user int32, max int) []int32 {
	var events []Event
	for _, e := range d.Events {
		if e.User == user {
			events = append(events, e)
		}
	}
	slices.SortFunc(events, compare)
	var items []int32
	for _, e := range events[len(events)-min(max, len(events)):] {
		items = append(items, e.Item)
	}
	return items
}
