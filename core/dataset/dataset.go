package dataset

import (
	"cmp"
	"runtime"
	"slices"
	"strconv"
	"sync"
)

// Item is one thing that can be recommended. Its dense id is its place in Dataset.Items.
type Item struct {
	ID       string // the id in the original data
	Title    string // the clean title: what an interpretation is expected to say
	RawTitle string // the title as the source has it, whitespace collapsed
}

// Event is one interaction, in 24 bytes.
type Event struct {
	User   int32   // dense id: place in Dataset.Users
	Item   int32   // dense id: place in Dataset.Items
	Time   int64   // since 1970 in seconds or a smaller unit (UnitOf), or any number that grows with time
	Rating float32 // finite, or NaN where there is none; an event counts as an interaction with any rating
}

// compare orders events by user, time, item and rating, an absent rating first.
func compare(a, b Event) int {
	switch {
	case a.User != b.User:
		return cmp.Compare(a.User, b.User)
	case a.Time != b.Time:
		return cmp.Compare(a.Time, b.Time)
	case a.Item != b.Item:
		return cmp.Compare(a.Item, b.Item)
	}
	return cmp.Compare(a.Rating, b.Rating)
}

// Attributes are further columns of items or users. A value is "" where it is unknown; several
// values are separated by "|".
type Attributes struct {
	Names  []string
	Values [][]string // Values[i] belongs to item or user i and follows Names; nil where there are no names
}

// Dataset is a catalogue and the interactions of its users.
type Dataset struct {
	Name           string
	Licence        string    // the terms under which the data may be used, in words
	Source         string    // where the data came from, in words
	SplitBy        SplitKind // how Split divides it; "" means Chronological
	Items          []Item
	ItemAttributes Attributes
	Events         []Event  // in any order; Load and Sort order them by user, time, item and rating
	Users          []string // original ids; every user has at least one event
	UserAttributes Attributes
	Parts          Split // the sequences of a data set whose SplitBy is Given, which has neither users nor events

	recorded string // the hash of the folder that it was read from, which in older versions depended on the order of events
}

// User returns the dense id of a user by the original id.
func (d *Dataset) User(id string) (int32, bool) {
	u := slices.Index(d.Users, id)
	return int32(max(u, 0)), u >= 0
}

// Sort orders users and events independently of the order of events: users by number where every id
// is a decimal integer, else as text; events by user, time, item and rating. Users without events
// are removed.
func (d *Dataset) Sort() {
	d.sortUsers()
	d.sortEvents()
}

// sortUsers removes users without events and gives the others new ids.
func (d *Dataset) sortUsers() {
	active := make([]bool, len(d.Users))
	for _, e := range d.Events {
		active[e.User] = true
	}
	ids := make([]int32, len(d.Users))
	var users []string
	var attributes [][]string
	for _, old := range OrderIDs(d.Users) {
		if active[old] {
			ids[old] = int32(len(users))
			users = append(users, d.Users[old])
			if d.UserAttributes.Values != nil {
				attributes = append(attributes, d.UserAttributes.Values[old])
			}
		}
	}
	d.Users, d.UserAttributes.Values = users, attributes
	for i := range d.Events {
		d.Events[i].User = ids[d.Events[i].User]
	}
}

// OrderIDs returns the places of ids in their order: by number where every one is a decimal
// integer, else as text.
func OrderIDs(ids []string) []int32 {
	order := make([]int32, len(ids))
	numbers := make([]int64, len(ids))
	numeric := true
	for i, id := range ids {
		var err error
		order[i] = int32(i)
		numbers[i], err = strconv.ParseInt(id, 10, 64)
		numeric = numeric && err == nil
	}
	slices.SortFunc(order, func(a, b int32) int {
		if numeric && numbers[a] != numbers[b] {
			return cmp.Compare(numbers[a], numbers[b])
		}
		return cmp.Compare(ids[a], ids[b])
	})
	return order
}

// sortEvents sorts in place: each event is moved to its user's, then each user's are sorted, on all
// processors.
func (d *Dataset) sortEvents() {
	if slices.IsSortedFunc(d.Events, compare) {
		return
	}
	starts := d.starts()
	next := slices.Clone(starts)
	for user := range d.Users {
		for next[user] < starts[user+1] {
			e := &d.Events[next[user]]
			to := &next[e.User]
			*e, d.Events[*to] = d.Events[*to], *e
			*to++
		}
	}
	var workers sync.WaitGroup
	for n := runtime.GOMAXPROCS(0); n > 0; n-- {
		workers.Go(func() {
			for user := n - 1; user < len(d.Users); user += runtime.GOMAXPROCS(0) {
				slices.SortFunc(d.Events[starts[user]:starts[user+1]], compare)
			}
		})
	}
	workers.Wait()
}

// starts returns where each user's events begin in d.Events once these are sorted, and their end.
func (d *Dataset) starts() []int {
	starts := make([]int, len(d.Users)+1)
	for _, e := range d.Events {
		starts[e.User+1]++
	}
	for user := range d.Users {
		starts[user+1] += starts[user]
	}
	return starts
}

// sorted returns the data set with its events sorted; all else is shared.
func (d *Dataset) sorted() *Dataset {
	if slices.IsSortedFunc(d.Events, compare) {
		return d
	}
	s := *d
	s.Events = slices.Clone(d.Events)
	s.sortEvents()
	return &s
}
