// Package dataset holds interactions and titles: the folder format on disk, importers, the splits into sequences, and the
// catalogue in which titles are looked up.
//
// A data set folder has files that a person can open: dataset.json (name, licence, source, split, counts, content hash),
// items.tsv (item_id, title, raw_title) and events.tsv (user_id, item_id, time, rating), or, for data that came split into
// sequences, train.tsv, validation.tsv and test.tsv (history, next) in place of events.tsv. Fields are separated by tabs,
// text is UTF-8, nothing is quoted, and the first line names the columns, which may stand in any order beside others.
package dataset

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
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
	Time   int64   // seconds since 1970, or any number that grows with time
	Rating float32 // finite; every event counts as an interaction, whatever its rating
}

// Dataset is a catalogue and what users did with it. Users are sorted (see Load), events keep the order of their file.
type Dataset struct {
	Name    string
	Licence string    // the terms under which the data may be used, in words
	Source  string    // where the data came from, in words
	SplitBy SplitKind // how Split divides it; "" means Chronological
	Items   []Item
	Events  []Event
	Users   []string // original ids; every user has at least one event
	Parts   Split    // the sequences of a data set whose SplitBy is Given, which has neither users nor events
}

// User returns the dense id of a user by the original id.
func (d *Dataset) User(id string) (int32, bool) {
	u := slices.Index(d.Users, id)
	return int32(max(u, 0)), u >= 0
}

// userIDs gives ids to users in the order in which they are met.
type userIDs map[string]int32

// of gives the user's id; a new user is noted in d.Users.
func (ids userIDs) of(user string, d *Dataset) int32 {
	id, ok := ids[user]
	if !ok {
		user = strings.Clone(user) // it is a piece of a line
		id = int32(len(ids))
		ids[user] = id
		d.Users = append(d.Users, user)
	}
	return id
}

// sortUsers removes users without events and gives the others new ids: by number where every id is a decimal integer, else
// as text, so that they do not depend on the order of events.
func (d *Dataset) sortUsers() {
	type user struct {
		name   string
		number int64
		old    int32
	}
	var users []user
	numeric := true
	active := make([]bool, len(d.Users))
	for _, e := range d.Events {
		active[e.User] = true
	}
	for i, name := range d.Users {
		if active[i] {
			number, err := strconv.ParseInt(name, 10, 64)
			numeric = numeric && err == nil
			users = append(users, user{name, number, int32(i)})
		}
	}
	slices.SortFunc(users, func(a, b user) int {
		if numeric && a.number != b.number {
			return cmp.Compare(a.number, b.number)
		}
		return cmp.Compare(a.name, b.name)
	})
	ids := make([]int32, len(d.Users))
	d.Users = make([]string, len(users))
	for i, u := range users {
		ids[u.old] = int32(i)
		d.Users[i] = u.name
	}
	for i := range d.Events {
		d.Events[i].User = ids[d.Events[i].User]
	}
}
