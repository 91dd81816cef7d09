package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// Options say how an import reads and what it keeps. The zero value keeps everything.
type Options struct {
	Name      string  // of the data set
	Items     string  // the file, folder or glob with the titles, for a source without titles; "" if they are in the rows of events
	Users     string  // the same with the attributes of users, or ""
	Query     string  // SQL whose rows are the events, instead of a source
	Format    Format  // of the source; "": told from its content
	Columns   Columns // of the source, by name
	TimeUnit  string  // of times that are numbers: "s", "ms", "us" or "ns", which become seconds; "": they stay as they are
	Raw       bool    // only the whitespace of titles is normalised
	MinRating *float32
	KCore     int               // users and items with fewer events are removed, repeatedly until none has fewer
	SplitBy   dataset.SplitKind // to record: Chronological (or ""), LeaveOneOut; a source in three parts is Given in any case
	Strict    bool              // the first row that cannot be used ends the import with an error
	Progress  func(Progress)
}

// Progress is the progress of an import.
type Progress struct {
	Doing string  // in words: "reading ratings.csv"
	Share float64 // of it that is done, 0 to 1
	Rows  int     // events or sequences so far
}

// Report accounts for the rows of an import. Rows is the sum of Imported and of those that were
// skipped: Malformed, Untitled, BelowRating, Duplicates and OutsideCore. The JSON names are stable.
type Report struct {
	Layout      string            `json:"layout"`       // of the source, in words
	Columns     map[string]string `json:"columns"`      // the names of the columns that were used, by role
	Attributes  []string          `json:"attributes"`   // further columns of items and users that are kept
	Rows        int               `json:"rows"`         // of events or sequences in the source
	Imported    int               `json:"imported"`     // of them: in the data set
	Malformed   int               `json:"malformed"`    // of them: cannot be read
	Untitled    int               `json:"untitled"`     // of them: the item has no title
	BelowRating int               `json:"below_rating"` // of them: the rating is below MinRating, or absent
	Duplicates  int               `json:"duplicates"`   // of them: repeat user, item and time of another one
	OutsideCore int               `json:"outside_core"` // of them: outside the k-core
	Items       ItemReport        `json:"items"`
	Latin1      int               `json:"latin1"` // fields that were not UTF-8 and were read as Windows-1252, of which Latin-1 is a part
	Notes       []string          `json:"notes"`  // what else should be known
	First       []string          `json:"first"`  // why the first five malformed or untitled rows were skipped
}

// ItemReport accounts for the rows with titles: Rows is the sum of Imported, Repeated and
// Malformed.
type ItemReport struct {
	Rows      int `json:"rows"`
	Imported  int `json:"imported"`
	Repeated  int `json:"repeated"`  // have the item and the title of an earlier one
	Malformed int `json:"malformed"` // cannot be read, have no title, or another one than an earlier row of the item
}

// Import reads events and titles, filters them, and writes them to a data set folder, which must
// not exist. It writes nothing when the context ends, the disk is full or the source is refused.
// Memory is about 24 bytes for each event plus users and items, independent of the size of the
// files.
func Import(ctx context.Context, from, to string, o Options) (*dataset.Dataset, Report, error) {
	if _, err := os.Stat(to); err == nil {
		return nil, Report{}, fmt.Errorf("dataset: %s exists; choose another folder or remove it", to)
	}
	im := newImporter(ctx, o)
	defer im.close()
	s, err := im.locate(from)
	if err == nil {
		err = im.run(s)
	}
	if err == nil {
		im.progress("writing", 0)
		err = im.d.SaveNew(ctx, to)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("dataset: the import was stopped and wrote nothing: %w", ctx.Err())
	}
	if err != nil {
		return nil, im.report, err
	}
	return im.d, im.report, nil
}

// importer is an import in progress.
type importer struct {
	ctx    context.Context
	o      Options
	d      *dataset.Dataset
	report Report

	items    map[string]int32 // the places of items, by id
	itemsAt  string           // where they are listed, for messages
	share    func() float64   // of the file that is being read
	official bool             // the source is known to be GroupLens's own archive
	unit     dataset.TimeUnit // by which numbers are divided; PerSecond is 0 where they stay unchanged
	db       *duckdb.Database
	queried  bool
	temp     string
}

func newImporter(ctx context.Context, o Options) *importer {
	return &importer{ctx: ctx, o: o, d: &dataset.Dataset{Name: o.Name, SplitBy: o.SplitBy}, items: map[string]int32{},
		report: Report{Columns: map[string]string{}}}
}

func (im *importer) close() {
	if im.db != nil {
		im.db.Close()
	}
	if im.temp != "" {
		os.RemoveAll(im.temp)
	}
}

// run reads a source.
func (im *importer) run(s source) error {
	if err := cmp.Or(im.d.Kind().Validate(), im.o.Format.Validate()); err != nil {
		return err
	}
	im.report.Layout = s.layout
	if im.o.TimeUnit != "" {
		at := slices.IndexFunc(dataset.TimeUnits, func(u dataset.TimeUnit) bool { return u.Name == im.o.TimeUnit })
		if at < 0 {
			return fmt.Errorf("dataset: no unit of time is called %q; known are s, ms, us and ns", im.o.TimeUnit)
		}
		im.unit = dataset.TimeUnits[at]
	}
	switch {
	case s.given() && (im.o.MinRating != nil || im.o.KCore != 0 || im.o.SplitBy != ""):
		return fmt.Errorf("dataset: %s is already split into sequences: it cannot be filtered or split again", s.at)
	case !s.given() && im.o.SplitBy == dataset.Given:
		return fmt.Errorf("dataset: %s is not split; choose %s or %s", s.at, dataset.Chronological, dataset.LeaveOneOut)
	case im.o.KCore < 0:
		return fmt.Errorf("dataset: the k of a k-core is %d, expected 0 or more", im.o.KCore)
	}
	if err := im.readItems(s); err != nil {
		return err
	}
	var err error
	switch {
	case s.parts[0] != nil:
		err = im.readParts(s.parts)
	case s.splits[0] != nil:
		err = im.readSplits(s.splits)
	default:
		err = im.readEvents(s)
	}
	if err != nil {
		return err
	}
	im.recognise(s)
	im.d.Source = im.sourceInWords()
	return nil
}

func (im *importer) progress(doing string, share float64) {
	if im.o.Progress != nil {
		im.o.Progress(Progress{doing, share, im.report.Rows})
	}
}

// note reports something once.
func (im *importer) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(im.report.Notes, text) {
		im.report.Notes = append(im.report.Notes, text)
	}
}

// read calls each for every row of a table. It skips and counts a row that each or row.bad refuses.
func (im *importer) read(t *table, bad *int, each func(row) error) error {
	if t.query != "" {
		im.share = func() float64 { return 0 }
		return im.readQuery(t, im.reading(t, file{name: t.label()}, bad, each))
	}
	for _, f := range t.files {
		if err := im.readFile(t, f, bad, each); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) readFile(t *table, f file, bad *int, each func(row) error) error {
	o, err := f.open()
	if err != nil {
		return err
	}
	defer o.Close()
	im.share = o.share
	to := im.reading(t, f, bad, each)
	switch o.format {
	case Parquet:
		if o.packed {
			return f.fail(0, "unpack it", "a Parquet file, which is compressed inside, is packed as a whole")
		}
		return im.readParquet(f, t, to)
	case JSON:
		return f.readJSON(o, to)
	}
	return f.readText(o, to)
}

const tickEvery = 1 << 14 // records

// reading returns the callbacks for the records of a file.
func (im *importer) reading(t *table, f file, bad *int, each func(row) error) reading {
	r := row{table: t, file: f.label()}
	if !im.o.Strict || f.latin1 {
		r.latin1 = &im.report.Latin1
		if f.latin1 {
			r.latin1 = new(int)
		}
	}
	doing, records := "reading "+filepath.Base(f.label()), 0
	t.header, t.places = nil, map[role]int{}
	var times dataset.TimeReader
	return reading{
		note: im.note,
		columns: func(header []string) error {
			if err := t.locate(f.label(), header); err != nil {
				return err
			}
			for r, at := range t.places {
				im.report.Columns[t.noun(r)] = header[at]
			}
			return nil
		},
		each: func(rec *record) error {
			if records++; records%tickEvery == 0 {
				if err := im.ctx.Err(); err != nil {
					return err
				}
				im.progress(doing, im.share())
			}
			r.record = rec
			err := each(r)
			if format := (*dataset.FormatError)(nil); err != nil && !im.o.Strict && errors.As(err, &format) {
				im.skip(err, bad)
				return nil
			}
			return err
		},
		oneLine: func(place int) bool {
			for role, at := range t.places {
				if at == place && role != titleRole {
					return true
				}
			}
			return false
		},
		row: func(fields, earlier [][]byte) bool {
			if at, ok := t.places[timeRole]; ok {
				_, _, ok := times.Read(fields[at])
				return ok
			}
			at, ok := t.places[itemRole]
			if !ok {
				at = t.places[userRole]
			}
			return at < len(earlier) && alike(fields[at], earlier[at])
		},
	}
}

// untitled is the error of a row with an item that is not listed.
type untitled struct{ error }

func (u untitled) Unwrap() error { return u.error }

// skip counts a row that cannot be used.
func (im *importer) skip(why error, bad *int) {
	const most = 5
	if errors.As(why, new(untitled)) {
		im.report.Untitled++
	} else {
		*bad++
	}
	if len(im.report.First) < most {
		im.report.First = append(im.report.First, strings.TrimPrefix(why.Error(), "dataset: "))
	}
}

// reasons shows why rows were skipped, for an error.
func (im *importer) reasons() string {
	if len(im.report.First) == 0 {
		return ""
	}
	return "; the first that was skipped: " + im.report.First[0]
}

// readItems reads the titles and orders the items by their ids.
func (im *importer) readItems(s source) error {
	report := &im.report.Items
	im.itemsAt = s.items.label()
	attributes := collector{}
	err := im.read(s.items, &report.Malformed, func(r row) error {
		report.Rows++
		if r.bad != nil {
			return r.bad
		}
		item, err := im.item(r, s)
		if err != nil {
			return err
		}
		if at, twice := im.items[item.ID]; twice {
			if other := im.d.Items[at].RawTitle; other != item.RawTitle {
				if item.RawTitle < other { // so that the order of the rows does not matter
					im.d.Items[at] = item
				}
				return r.errorf("keep one of the lines", "item %.60q has another title above, %.60q", item.ID, other)
			}
			report.Repeated++
			return nil
		}
		if len(im.d.Items) == math.MaxInt32 {
			return fmt.Errorf("dataset: %s has more than %d items", r.file, math.MaxInt32)
		}
		if !s.together {
			if err := attributes.add(r); err != nil {
				return err
			}
		}
		im.items[item.ID] = int32(len(im.d.Items))
		im.d.Items = append(im.d.Items, item)
		report.Imported++
		return nil
	})
	if err != nil {
		return err
	}
	if len(im.d.Items) == 0 {
		return &dataset.FormatError{File: im.itemsAt, Problem: "it has no items that can be used",
			Remedy: "add a line for each item" + im.reasons()}
	}
	im.d.ItemAttributes = im.keep(attributes, "items")
	im.sortItems()
	return nil
}

// item reads a row of titles.
func (im *importer) item(r row, s source) (item dataset.Item, err error) {
	id, err := r.id(itemRole)
	if err != nil {
		return item, err
	}
	raw, err := r.field(titleRole)
	if err != nil {
		return item, err
	}
	item.ID, item.RawTitle = string(id), dataset.PlainText(string(raw))
	if r.has(yearRole) {
		year, err := r.field(yearRole)
		if err != nil {
			return item, err
		}
		item.RawTitle = withYear(item.RawTitle, dataset.PlainText(string(year)))
	}
	item.Title = item.RawTitle
	if !s.rawTitles && !im.o.Raw {
		item.Title = dataset.CleanTitle(item.RawTitle)
	}
	switch {
	case s.given() && strings.ContainsFunc(item.ID, unicode.IsSpace):
		return item, r.errorf("ids in histories are separated by spaces", "the id of item %.60q holds a space", item.ID)
	case len(item.RawTitle) > dataset.LongestField:
		return item, r.errorf("shorten it or remove the line", "title and year of item %.60q are %d bytes long, expected at most %d", item.ID,
			len(item.RawTitle), dataset.LongestField)
	case item.Title == "":
		return item, r.errorf("give it one or remove the line", "item %.60q has no title", item.ID)
	}
	return item, nil
}

// withYear undoes RecBole's separation of title and year. Item 267 of its MovieLens-100K,
// "unkonwn", is "unknown" in the original.
func withYear(title, year string) string {
	switch {
	case title == misspelled && year == title:
		return "unknown"
	case year == "" || title == "":
		return title
	}
	return fmt.Sprintf("%s (%s)", title, year)
}

const misspelled = "unkonwn"

// sortItems orders the items by their ids, so that the order of the rows has no effect.
func (im *importer) sortItems() {
	ids := make([]string, len(im.d.Items))
	for i, item := range im.d.Items {
		ids[i] = item.ID
	}
	items, attributes := make([]dataset.Item, len(ids)), make([][]string, 0, len(ids))
	for to, from := range dataset.OrderIDs(ids) {
		items[to] = im.d.Items[from]
		im.items[ids[from]] = int32(to)
		if im.d.ItemAttributes.Values != nil {
			attributes = append(attributes, im.d.ItemAttributes.Values[from])
		}
	}
	im.d.Items = items
	if im.d.ItemAttributes.Values != nil {
		im.d.ItemAttributes.Values = attributes
	}
}

// itemOf returns the index of the item in a column.
func (im *importer) itemOf(r row, c role, id []byte) (int32, error) {
	item, ok := im.items[string(id)]
	if !ok {
		return 0, untitled{r.errorf("add the item there or remove the line", "%s %.60q is not in %s", r.noun(c), id, im.itemsAt)}
	}
	return item, nil
}

// sourceInWords describes the source and the filters.
func (im *importer) sourceInWords() string {
	text := im.report.Layout
	add := func(format string, args ...any) { text += "; " + fmt.Sprintf(format, args...) }
	if im.o.MinRating != nil {
		add("ratings of at least %v", *im.o.MinRating)
	}
	if im.o.KCore > 0 {
		add("%d-core", im.o.KCore)
	}
	if out := im.report.Malformed + im.report.Untitled + im.report.Duplicates; out > 0 {
		add("%d of %d rows skipped", out, im.report.Rows)
	}
	return text
}
