package dataset

import (
	"math"
	"strings"
)

// Columns of events and of items, in the order of row.fields.
const (
	userColumn = iota
	itemColumn
	timeColumn
	ratingColumn
)

const (
	idColumn = iota
	titleColumn
	yearColumn // RecBole keeps the year of a film apart from its title
)

const (
	historyColumn = iota
	nextColumn
)

// catalogueIDs gives the dense ids of items.
type catalogueIDs struct {
	file  string           // where the items stand, for messages
	dense map[string]int32 // by original id
}

// untitled is the error of a row with an item that the catalogue does not have.
type untitled struct{ error }

func (u untitled) Unwrap() error { return u.error }

// item gives the dense id of an item that stands in a column.
func (r row) item(items catalogueIDs, column int, id string) (int32, error) {
	item, ok := items.dense[id]
	if !ok {
		return 0, untitled{r.errorf("add the item there or remove the line", "%s %.60q is not in %s", r.columns[column].noun, id,
			items.file)}
	}
	return item, nil
}

// plainID refuses an id that the folder format cannot hold.
func (r row) plainID(column int) error {
	id := r.fields[column]
	if id == "" {
		return r.errorf("give it one or remove the line", "%s is empty", r.columns[column].noun)
	}
	if !plain(id) {
		return r.errorf("ids must be without tabs and line breaks", "%s is %.60q", r.columns[column].noun, id)
	}
	return nil
}

// event reads a row of events, but for its user. Without a column of ratings each is 1.
func (r row) event(items catalogueIDs) (e Event, err error) {
	if err = r.plainID(userColumn); err != nil {
		return e, err
	}
	if e.Time, err = r.time(timeColumn); err != nil {
		return e, err
	}
	e.Rating = 1
	if r.has(ratingColumn) {
		if e.Rating, err = r.rating(ratingColumn); err != nil {
			return e, err
		}
	}
	e.Item, err = r.item(items, itemColumn, r.fields[itemColumn])
	return e, err
}

// keep adds the event of the row to the data set.
func (r row) keep(e Event, users userIDs, d *Dataset) error {
	if len(d.Events) == math.MaxInt32 {
		return r.errorf("", "more than %d events", math.MaxInt32)
	}
	e.User = users.of(r.fields[userColumn], d)
	d.Events = append(r.grow(d.Events), e)
	return nil
}

// sequence reads a row of sequences: the items of the history, separated by spaces, and the next one.
func (r row) sequence(items catalogueIDs) (s Sequence, err error) {
	for id := range strings.FieldsSeq(r.fields[historyColumn]) {
		item, err := r.item(items, historyColumn, id)
		if err != nil {
			return s, err
		}
		s.History = append(s.History, item)
	}
	if len(s.History) == 0 {
		return s, r.errorf("name at least one item or remove the line", "history is empty")
	}
	s.Next, err = r.item(items, nextColumn, r.fields[nextColumn])
	return s, err
}
