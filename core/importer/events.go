package importer

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// eventReader reads the rows of events.
type eventReader struct {
	im       *importer
	users    map[string]int32
	last     int32 // the user of the row before; -1: none
	times    dataset.TimeReader
	units    [4]tally // of times that are numbers, as dataset.TimeUnits
	numbers  int      // of times
	calendar int      // of numbers: dates such as 20240501 or 20240501083000
	cut      int      // of numbers: small ones whose fraction was dropped
	rated    bool     // a row had a column of ratings
	rowOrder bool
}

// tally counts the times in a unit.
type tally struct {
	n    int
	file string // where the first one is
	line int
}

func (im *importer) newEventReader() *eventReader {
	return &eventReader{im: im, users: map[string]int32{}, last: -1, rowOrder: im.o.Columns.Time == RowOrder}
}

// event reads a row of events.
func (er *eventReader) event(r row) (e dataset.Event, err error) {
	if r.bad != nil {
		return e, r.bad
	}
	user, err := r.id(userRole)
	if err != nil {
		return e, err
	}
	var unit tally
	var unitAt int
	if e.Time = int64(er.im.report.Rows); !er.rowOrder && r.has(timeRole) {
		if e.Time, unitAt, err = er.time(r); err != nil {
			return e, err
		}
		unit = tally{1, r.file, r.line}
	}
	if e.Rating, err = er.rating(r); err != nil {
		return e, err
	}
	id, err := r.id(itemRole)
	if err != nil {
		return e, err
	}
	if e.Item, err = er.im.itemOf(r, itemRole, id); err != nil {
		return e, err
	}
	if unit.n > 0 && unitAt >= 0 {
		if er.units[unitAt].n == 0 {
			er.units[unitAt] = unit
		} else {
			er.units[unitAt].n++
		}
	}
	e.User = er.user(user)
	return e, nil
}

// user numbers users in the order of their first row. Rows of a user are often adjacent.
func (er *eventReader) user(name []byte) int32 {
	d := er.im.d
	if er.last >= 0 && d.Users[er.last] == string(name) {
		return er.last
	}
	id, ok := er.users[string(name)]
	if !ok {
		id = int32(len(d.Users))
		d.Users = append(d.Users, string(name))
		er.users[d.Users[id]] = id
	}
	er.last = id
	return id
}

// dayOrMonth matches dates such as 01/05/2024, which may be in January or in May.
var dayOrMonth = regexp.MustCompile(`^\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b`)

// time reads the time of a row. unit is its index in dataset.TimeUnits, -1 where it is unknown.
func (er *eventReader) time(r row) (t int64, unit int, err error) {
	field, err := r.field(timeRole)
	if err != nil {
		return 0, 0, err
	}
	t, date, ok := er.times.Read(field)
	switch {
	case len(field) == 0:
		return 0, 0, r.errorf("give it one or remove the line", "time is empty")
	case !ok && dayOrMonth.Match(field):
		return 0, 0, r.errorf("write dates as 2024-05-01", "time %.60q does not tell which number is the day and which the month", field)
	case !ok:
		return 0, 0, r.errorf("correct it or remove the line", "time %.60q is not %s", field, dataset.TimeForms)
	case date:
		return t, 0, nil
	}
	of, clear := dataset.UnitOf(t)
	if unit = -1; clear {
		unit = slices.Index(dataset.TimeUnits, of)
	}
	if d := er.im.unit.PerSecond; d > 0 {
		return (t - (t%d+d)%d) / d, unit, nil // rounded down before 1970, too
	}
	er.numbers++
	if _, ok := calendarTime(t); ok {
		er.calendar++
	}
	if !clear && bytes.IndexByte(field, '.') >= 0 && len(wholeNumber(field)) == len(field) {
		er.cut++
	}
	return t, unit, nil
}

// calendarTime reads a number that is written like a date, 20240501 or 20240501083000.
func calendarTime(t int64) (seconds int64, ok bool) {
	layout, first, last := "20060102", int64(1900_01_01), int64(2100_12_31)
	if t > last {
		layout, first, last = "20060102150405", first*1e6, last*1e6+235959
	}
	if t < first || t > last {
		return 0, false
	}
	at, err := time.Parse(layout, strconv.FormatInt(t, 10))
	return at.Unix(), err == nil
}

// checkUnits refuses times in more than one unit and notes an unusual unit. If all times are
// numbers that are written like dates, they are dates.
func (er *eventReader) checkUnits() error {
	if er.cut > 0 {
		er.im.note("the fractions of %d small times were dropped: events with the same whole number have no order", er.cut)
	}
	if er.numbers > 0 && er.calendar == er.numbers {
		er.im.note("times are numbers that are written like dates, such as 20240501, and were read as dates")
		for i := range er.im.d.Events {
			e := &er.im.d.Events[i]
			if t, ok := calendarTime(e.Time); ok {
				e.Time = t
			}
		}
		return nil
	}
	var parts []string
	var last tally
	for at, u := range er.units {
		if u.n == 0 {
			continue
		}
		name := dataset.TimeUnits[at].Words
		parts = append(parts, fmt.Sprintf("in %s in %d rows (the first in %s:%d)", name, u.n, u.file, u.line))
		last = u
		if at > 0 && er.im.unit.PerSecond == 0 {
			er.im.note("times are in %s and stay in %[1]s; name the unit to convert them to seconds", name)
		}
	}
	if len(parts) < 2 {
		return nil
	}
	er.im.report.Notes = nil
	return &dataset.FormatError{File: last.file, Line: last.line, Problem: "the times are in more than one unit: " + strings.Join(parts, ", "),
		Remedy: "write them in one unit"}
}

// absent are the words that programs write for a missing value.
var absent = []string{"null", "none", "na", "n/a", "<na>", "#n/a", "nan", "nat", `\n`}

func isAbsent(field []byte) bool {
	const first = `nN<#\` // first bytes of these words, a quick test
	return len(field) > 0 && strings.IndexByte(first, field[0]) >= 0 && slices.ContainsFunc(absent, func(word string) bool { return bytes.EqualFold(field, []byte(word)) })
}

// thousands matches a number whose comma may separate a fraction or thousands.
var thousands = regexp.MustCompile(`^[+-]?[1-9][0-9]{0,2},[0-9]{3}$`)

// rating reads the rating of a row: a number, true as 1 and false as 0, NaN where there is none.
// Without a column of ratings in any of the files each is 1.
func (er *eventReader) rating(r row) (float32, error) {
	if !r.has(ratingRole) && !er.rated {
		return 1, nil
	} else if !r.has(ratingRole) {
		return float32(math.NaN()), nil
	}
	if !er.rated {
		er.rated = true
		for i := range er.im.d.Events { // events of files, or of the beginning of a file, without ratings
			er.im.d.Events[i].Rating = float32(math.NaN())
		}
	}
	field, err := r.field(ratingRole)
	if err != nil {
		return 0, err
	}
	if len(field) == 0 {
		return float32(math.NaN()), nil
	}
	v, err := strconv.ParseFloat(string(field), 32)
	if err != nil && thousands.Match(field) {
		return 0, r.errorf("write it with a point or without the comma", "in the rating %.60q the comma may separate thousands or a fraction", field)
	}
	if err != nil && bytes.Count(field, []byte{','}) == 1 { // as spreadsheets write fractions in many languages
		v, err = strconv.ParseFloat(strings.Replace(string(field), ",", ".", 1), 32)
	}
	if err != nil {
		switch {
		case strings.EqualFold(string(field), "true"):
			return 1, nil
		case strings.EqualFold(string(field), "false"):
			return 0, nil
		case isAbsent(field):
			return float32(math.NaN()), nil
		}
	}
	if err != nil || math.IsInf(v, 0) {
		return 0, r.errorf("correct it, leave it empty or remove the line", "rating %.60q is not a finite number", field)
	}
	return float32(v), nil
}

// readEvents reads and filters the events, then reads the attributes of users.
func (im *importer) readEvents(s source) error {
	er, d, t := im.newEventReader(), im.d, s.events
	err := im.read(t, &im.report.Malformed, func(r row) error {
		im.report.Rows++
		e, err := er.event(r)
		switch {
		case err != nil:
			return err
		case im.o.MinRating != nil && (!er.rated || !(e.Rating >= *im.o.MinRating)): // or NaN
			im.report.BelowRating++
			return nil
		case len(d.Events) == math.MaxInt32:
			return fmt.Errorf("dataset: %s has more than %d events", r.file, math.MaxInt32)
		}
		d.Events = append(im.grow(d.Events), e)
		return nil
	})
	if err == nil && im.o.MinRating != nil && !er.rated && im.report.Rows > 0 {
		err = fmt.Errorf("dataset: %s has no column of ratings, so that a lowest rating has no meaning", t.label())
	}
	if err == nil {
		err = er.checkUnits()
	}
	if err != nil {
		return err
	}
	if s.users != nil {
		if err := im.readUsers(s.users, er.users); err != nil {
			return err
		}
	}
	im.progress("sorting and filtering", 0)
	if err := im.filter(); err != nil {
		return err
	}
	if im.report.Rows == 0 {
		return &dataset.FormatError{File: t.label(), Problem: "it has no events", Remedy: "add a row for each event"}
	}
	if len(d.Events) == 0 {
		return &dataset.FormatError{File: t.label(), Problem: fmt.Sprintf("none of %d events is left", im.report.Rows),
			Remedy: "loosen the filters, or correct the rows" + im.reasons()}
	}
	im.report.Imported = len(d.Events)
	return nil
}

// grow makes room for one more event. It estimates their number from the share of the file that has
// been read, so that a large file needs one array and no copies of a growing one.
func (im *importer) grow(events []dataset.Event) []dataset.Event {
	n := len(events)
	if n < cap(events) {
		return events
	}
	const first, large = 1 << 10, 1 << 16
	room := max(first, 2*n)
	if share := im.share(); n >= large && share > 0 {
		const margin = 1.02
		room = max(n+n/8, min(int(margin*float64(n)/share), 1000*n))
	}
	bigger := make([]dataset.Event, n, room)
	copy(bigger, events)
	return bigger
}

// filter sorts the events and removes duplicates and events outside the k-core.
func (im *importer) filter() error {
	d := im.d
	d.Sort()
	kept := d.Events[:0]
	for _, e := range d.Events {
		if n := len(kept); n > 0 && kept[n-1].User == e.User && kept[n-1].Item == e.Item && kept[n-1].Time == e.Time {
			if im.o.Strict {
				return fmt.Errorf("dataset: user %q has item %q twice at time %d; remove one of the rows", d.Users[e.User], d.Items[e.Item].ID,
					e.Time)
			}
			im.report.Duplicates++
			continue
		}
		kept = append(kept, e)
	}
	d.Events = kept
	if im.o.KCore > 0 {
		if err := im.core(); err != nil {
			return err
		}
		d.Sort()
	}
	return im.ctx.Err()
}

// core reduces the events to the k-core: the largest set in which every user and every item has at
// least k events. Items outside it leave the catalogue.
func (im *importer) core() error {
	d, before := im.d, len(im.d.Events)
	var byItem []int
	for last := -1; last != len(d.Events); {
		last = len(d.Events)
		byUser := make([]int, len(d.Users))
		byItem = make([]int, len(d.Items))
		for _, e := range d.Events {
			byUser[e.User]++
			byItem[e.Item]++
		}
		d.Events = slices.DeleteFunc(d.Events, func(e dataset.Event) bool {
			return byUser[e.User] < im.o.KCore || byItem[e.Item] < im.o.KCore
		})
		if err := im.ctx.Err(); err != nil {
			return err
		}
	}
	im.report.OutsideCore = before - len(d.Events)
	ids, items, attributes := make([]int32, len(d.Items)), d.Items[:0], d.ItemAttributes.Values[:0]
	for i, item := range d.Items {
		if byItem[i] > 0 {
			ids[i] = int32(len(items))
			items = append(items, item)
			if d.ItemAttributes.Values != nil {
				attributes = append(attributes, d.ItemAttributes.Values[i])
			}
		}
	}
	d.Items, d.ItemAttributes.Values = items, attributes
	for i := range d.Events {
		d.Events[i].Item = ids[d.Events[i].Item]
	}
	return nil
}

// readUsers reads the attributes of users. Users without events are ignored.
func (im *importer) readUsers(t *table, users map[string]int32) error {
	attributes := collector{}
	places := make([]int, len(im.d.Users)) // of users among the collected rows, from 1; 0: not listed
	malformed := 0
	err := im.read(t, &malformed, func(r row) error {
		if r.bad != nil {
			return r.bad
		}
		id, err := r.id(userRole)
		if err != nil {
			return err
		}
		if user, ok := users[string(id)]; ok && places[user] == 0 {
			err = attributes.add(r)
			places[user] = len(attributes.values)
		}
		return err
	})
	if err != nil {
		return err
	}
	if malformed > 0 {
		im.note("%d rows of %s were skipped", malformed, t.label())
	}
	listed := im.keep(attributes, "users")
	if len(listed.Names) == 0 {
		return nil
	}
	unknown := make([]string, len(listed.Names))
	im.d.UserAttributes.Names = listed.Names
	for _, at := range places {
		if at == 0 {
			im.d.UserAttributes.Values = append(im.d.UserAttributes.Values, unknown)
		} else {
			im.d.UserAttributes.Values = append(im.d.UserAttributes.Values, listed.Values[at-1])
		}
	}
	return nil
}

// readParts reads sequences that are already split.
func (im *importer) readParts(tables [3]*table) error {
	im.d.SplitBy = dataset.Given
	for i, sequences := range im.parts() {
		err := im.read(tables[i], &im.report.Malformed, func(r row) error {
			im.report.Rows++
			if r.bad != nil {
				return r.bad
			}
			s, err := im.sequence(r)
			if err == nil {
				*sequences = append(*sequences, s)
				im.report.Imported++
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := im.someIn(*sequences, tables[i]); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) parts() [3]*[]dataset.Sequence {
	return [3]*[]dataset.Sequence{&im.d.Parts.Train, &im.d.Parts.Validation, &im.d.Parts.Test}
}

func (im *importer) someIn(sequences []dataset.Sequence, t *table) error {
	if len(sequences) > 0 {
		return nil
	}
	return &dataset.FormatError{File: t.label(), Problem: "it has no sequences that can be used",
		Remedy: "add a line for each sequence" + im.reasons()}
}

// sequence reads a row of sequences: the items of the history, separated by spaces, and the next
// one.
func (im *importer) sequence(r row) (s dataset.Sequence, err error) {
	history, err := r.field(historyRole)
	if err != nil {
		return s, err
	}
	for id := range bytes.FieldsSeq(history) {
		if id, err = r.idOf(historyRole, id); err != nil {
			return s, err
		}
		item, err := im.itemOf(r, historyRole, id)
		if err != nil {
			return s, err
		}
		s.History = append(s.History, item)
	}
	if len(s.History) == 0 {
		return s, r.errorf("name at least one item or remove the line", "history is empty")
	}
	next, err := r.field(nextRole)
	if err == nil {
		next, err = r.idOf(nextRole, next)
	}
	if err != nil {
		return s, err
	}
	s.Next, err = im.itemOf(r, nextRole, next)
	return s, err
}

// longestHistory is the largest number of items in a history that is made from events.
const longestHistory = 50

// readSplits reads events that are already split into three parts. Every event is predicted from
// those before it, also of earlier parts, so that a user's first one is only history. Where the
// rows have the history themselves, they are sequences.
func (im *importer) readSplits(tables [3]*table) error {
	im.d.SplitBy = dataset.Given
	er := im.newEventReader()
	type event struct {
		dataset.Event
		part int
	}
	var events []event
	for part, sequences := range im.parts() {
		err := im.read(tables[part], &im.report.Malformed, func(r row) error {
			im.report.Rows++
			if r.bad == nil && r.has(historyRole) {
				s, err := im.sequence(r)
				if err == nil {
					*sequences = append(*sequences, s)
					im.report.Imported++
				}
				return err
			}
			e, err := er.event(r)
			if err == nil {
				events = append(events, event{e, part})
				im.report.Imported++
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := er.checkUnits(); err != nil {
		return err
	}
	order := make([]int, len(im.d.Users)) // of users
	for to, from := range dataset.OrderIDs(im.d.Users) {
		order[from] = to
	}
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(order[a.User]-order[b.User], a.part-b.part, cmp.Compare(a.Time, b.Time), cmp.Compare(a.Item, b.Item))
	})
	var history []int32
	for i, e := range events {
		if i == 0 || events[i-1].User != e.User {
			history = nil
		}
		if len(history) > 0 {
			sequences := im.parts()[e.part]
			*sequences = append(*sequences, dataset.Sequence{History: history[max(0, len(history)-longestHistory):len(history):len(history)],
				Next: e.Item})
		}
		history = append(history, e.Item)
	}
	im.d.Users = nil
	for part, sequences := range im.parts() {
		if err := im.someIn(*sequences, tables[part]); err != nil {
			return err
		}
	}
	return nil
}
