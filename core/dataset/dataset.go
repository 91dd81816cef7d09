// Package dataset holds interactions and titles: the folder format on disk, importers, the chronological split into
// sequences, and the catalogue in which titles are looked up.
//
// A data set folder has three files that a person can open: dataset.json (name, licence, source, counts, content hash),
// items.tsv (item_id, title, raw_title) and events.tsv (user_id, item_id, time, rating). Fields are separated by tabs,
// text is UTF-8, nothing is quoted, and the first line names the columns, which may stand in any order beside others.
package dataset

import (
	"cmp"
	"slices"
	"strconv"
)

// Item is one thing that can be recommended. Its dense id is its place in Dataset.Items.
type Item struct {
	ID       string // the id in the original data
	Title    string // the clean title: what an interpretation is expected to say
	RawTitle string // the title as the source has it, whitespace collapsed
}

// Event is one interaction.
type Event struct {
	User   int32   // dense id: place in Dataset.Users
	Item   int32   // dense id: place in Dataset.Items
	Time   int64   // seconds since 1970, or any number that grows with time
	Rating float32 // finite; every event counts as an interaction, whatever its rating
}

// Dataset is a catalogue and what users did with it. Users are sorted (see Load), events keep the order of their file.
type Dataset struct {
	Name    string
	Licence string // the terms under which the data may be used, in words
	Source  string // where the data came from, in words
	Items   []Item
	Events  []Event
	Users   []string // original ids; every user has at least one event
}

// User returns the dense id of a user by the original id.
func (d *Dataset) User(id string) (int32, bool) {
	u := slices.Index(d.Users, id)
	return int32(max(u, 0)), u >= 0
}

// rawEvent is an event whose user has no dense id yet.
type rawEvent struct {
	user string
	Event
}

// setEvents gives users their dense ids and stores the events. Users are sorted by number where every id is a decimal
// integer, else as text, so that the order does not depend on the order of events.
func (d *Dataset) setEvents(raw []rawEvent) {
	ids := map[string]int32{}
	numeric := true
	for _, e := range raw {
		if _, ok := ids[e.user]; !ok {
			ids[e.user] = 0
			d.Users = append(d.Users, e.user)
			_, err := strconv.ParseInt(e.user, 10, 64)
			numeric = numeric && err == nil
		}
	}
	slices.SortFunc(d.Users, func(a, b string) int {
		if numeric {
			x, _ := strconv.ParseInt(a, 10, 64)
			y, _ := strconv.ParseInt(b, 10, 64)
			return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
		}
		return cmp.Compare(a, b)
	})
	for i, user := range d.Users {
		ids[user] = int32(i)
	}
	d.Events = make([]Event, len(raw))
	for i, e := range raw {
		e.Event.User = ids[e.user]
		d.Events[i] = e.Event
	}
}
