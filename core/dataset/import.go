package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// ImportOptions say how an import reads and what it keeps. The zero value keeps everything.
type ImportOptions struct {
	Name      string    // of the data set
	Items     string    // the file with the titles, for a source that is a file of events
	Columns   Columns   // of the source, by name
	MinRating *float32  // events with a lower rating are left out; nil: none are
	KCore     int       // users and items with fewer events are left out, again and again until there are none
	SplitBy   SplitKind // to record: Chronological (or ""), LeaveOneOut; a source in three parts is Given in any case
	Strict    bool      // the first row that cannot be used ends the import with an error
	Progress  func(ImportProgress)
}

// ImportProgress says how far an import is.
type ImportProgress struct {
	Doing string  // in words: "reading ratings.csv"
	Share float64 // of it that is done, 0 to 1
	Rows  int     // events or sequences so far
}

// ImportReport counts what an import left out or mended. The JSON names are stable.
type ImportReport struct {
	Layout      string   `json:"layout"`       // of the source, in words
	Rows        int      `json:"rows"`         // of events or sequences in the source
	Malformed   int      `json:"malformed"`    // rows that could not be read, those of items and titles among them
	Untitled    int      `json:"untitled"`     // rows with an item that has no title
	Duplicates  int      `json:"duplicates"`   // events that repeat user, item and time of an earlier one
	BelowRating int      `json:"below_rating"` // events below MinRating
	OutsideCore int      `json:"outside_core"` // events outside the k-core
	Latin1      int      `json:"latin1"`       // fields that were not UTF-8 and were read as Latin-1
	First       []string `json:"first"`        // why the first five of the malformed and untitled rows were left out
}

// Import reads events and titles, filters them, and writes them to a data set folder, which must not exist: all of it, or,
// when the context ends, the disk is full or the source is refused, nothing.
//
// The source is a folder in a layout that is known (MovieLens's archives, RecBole's atomic files, sequences in three parts)
// or a file of events with named columns (CSV, TSV, JSONL, Parquet) beside a file of titles. Rows that cannot be used are
// left out and counted. Memory is about 24 bytes for each event plus users and items, whatever the size of the files.
func Import(ctx context.Context, from, to string, o ImportOptions) (*Dataset, ImportReport, error) {
	if _, err := os.Stat(to); err == nil {
		return nil, ImportReport{}, fmt.Errorf("dataset: %s exists; choose another folder or remove it", to)
	}
	d, report, err := importFrom(ctx, paths{}, from, o)
	if err == nil {
		err = d.saveNew(ctx, to)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("dataset: the import was stopped and has left nothing, the same command starts it again: %w", ctx.Err())
	}
	if err != nil {
		return nil, report, err
	}
	return d, report, nil
}

// paths is the file system of the machine. Unlike os.DirFS it takes any path.
type paths struct{}

func (paths) Open(name string) (fs.File, error) { return os.Open(name) }

// ImportMovieLens100K reads MovieLens-100K from a folder (or a sub-folder of an archive) in either of its two forms: the
// official u.data and u.item (Latin-1), or RecBole's ml-100k.inter and ml-100k.item (UTF-8). Either way the dense item id
// is the official id − 1, and all items are kept, the one called "unknown" too. A broken line gives a *FormatError.
func ImportMovieLens100K(folder fs.FS) (*Dataset, error) {
	d, _, err := importFrom(context.Background(), folder, ".", ImportOptions{Name: "ml-100k", Strict: true})
	if err != nil {
		return nil, err
	}
	for i, item := range d.Items {
		if item.ID != strconv.Itoa(i+1) {
			return nil, fmt.Errorf("dataset: this is not MovieLens 100K: item %d has the id %q; fetch the data again", i+1, item.ID)
		}
	}
	d.Licence = movieLensLicence
	return d, nil
}

// importer is one import that is under way.
type importer struct {
	ctx    context.Context
	o      ImportOptions
	d      *Dataset
	report ImportReport
}

func importFrom(ctx context.Context, folder fs.FS, from string, o ImportOptions) (*Dataset, ImportReport, error) {
	im := &importer{ctx: ctx, o: o, d: &Dataset{Name: o.Name, SplitBy: o.SplitBy}}
	err := im.run(folder, from)
	return im.d, im.report, err
}

func (im *importer) run(folder fs.FS, from string) error {
	if err := im.d.Kind().Validate(); err != nil {
		return err
	}
	s, err := locate(folder, from, im.o.Items, im.o.Columns)
	if err != nil {
		return err
	}
	im.report.Layout = s.layout
	im.d.Licence = s.licence
	switch {
	case s.given != nil && (im.o.MinRating != nil || im.o.KCore != 0 || im.o.SplitBy != ""):
		return fmt.Errorf("dataset: %s came split into sequences without ratings: it cannot be filtered or split again", from)
	case s.given == nil && im.o.SplitBy == Given:
		return fmt.Errorf("dataset: %s is not split; choose %s or %s", from, Chronological, LeaveOneOut)
	case im.o.KCore < 0:
		return fmt.Errorf("dataset: the k of a k-core is %d, expected 0 or more", im.o.KCore)
	}
	ids, err := im.items(s.items, s.given == nil)
	if err != nil {
		return err
	}
	if s.given != nil {
		im.d.SplitBy = Given
		err = im.parts(s.given, ids)
	} else {
		err = im.events(s.events, ids)
	}
	if err != nil {
		return err
	}
	im.d.Source = im.source()
	return nil
}

func (im *importer) progress(doing string, share float64) {
	if im.o.Progress != nil {
		im.o.Progress(ImportProgress{doing, share, im.report.Rows})
	}
}

// read reads a table and watches over it.
func (im *importer) read(t *table, each func(row) error) error {
	known := t.latin1 // of a layout that is Latin-1 by custom
	t.tick = func() error {
		im.progress("reading "+filepath.Base(t.file), t.share())
		return im.ctx.Err()
	}
	if !im.o.Strict {
		t.latin1 = true
		t.bad = im.leaveOut
	}
	err := t.read(each)
	if !known {
		im.report.Latin1 += t.repaired
	}
	return err
}

// leaveOut counts a row that cannot be used.
func (im *importer) leaveOut(why error) error {
	const most = 5
	if errors.As(why, new(untitled)) {
		im.report.Untitled++
	} else {
		im.report.Malformed++
	}
	if len(im.report.First) < most {
		im.report.First = append(im.report.First, strings.TrimPrefix(why.Error(), "dataset: "))
	}
	return nil
}

// items reads the titles and gives the dense ids. clean: titles are cleaned, else taken as they are.
func (im *importer) items(t *table, clean bool) (catalogueIDs, error) {
	ids := catalogueIDs{t.file, map[string]int32{}}
	err := im.read(t, func(r row) error {
		id, raw := r.fields[idColumn], collapse(r.fields[titleColumn])
		if len(r.fields) > yearColumn {
			raw = withYear(raw, collapse(r.fields[yearColumn]))
		}
		title := raw
		if clean {
			title = CleanTitle(raw)
		}
		if err := r.plainID(idColumn); err != nil {
			return err
		}
		if !clean && strings.ContainsFunc(id, unicode.IsSpace) {
			return r.errorf("ids in histories stand with spaces between", "the id of item %.60q holds a space", id)
		}
		if len(raw) > longestField {
			return r.errorf("shorten it or remove the line", "title and year of item %.60q are %d bytes long, expected at most %d", id,
				len(raw), longestField)
		}
		if title == "" {
			return r.errorf("give it one or remove the line", "item %.60q has no title", id)
		}
		if at, twice := ids.dense[id]; twice {
			if im.d.Items[at].RawTitle == raw { // as where the titles stand beside the events
				return nil
			}
			return r.errorf("keep one of the lines", "item %.60q has another title above, %.60q", id, im.d.Items[at].RawTitle)
		}
		if len(im.d.Items) == math.MaxInt32 {
			return fmt.Errorf("dataset: %s has more than %d items", r.file, math.MaxInt32)
		}
		id = strings.Clone(id) // it is a piece of a line
		ids.dense[id] = int32(len(im.d.Items))
		im.d.Items = append(im.d.Items, Item{ID: id, Title: strings.Clone(title), RawTitle: strings.Clone(raw)})
		return nil
	})
	if err == nil && len(im.d.Items) == 0 {
		return ids, &FormatError{t.file, 0, "it has no items that can be used", "add a line for each item" + im.reasons()}
	}
	return ids, err
}

// withYear undoes RecBole's separation of title and year. Item 267 of its MovieLens-100K, "unkonwn", is "unknown" in the
// original.
func withYear(title, year string) string {
	switch {
	case title == "unkonwn" && year == title:
		return "unknown"
	case year == "" || title == "":
		return title
	}
	return fmt.Sprintf("%s (%s)", title, year)
}

// events reads and filters the events.
func (im *importer) events(t *table, items catalogueIDs) error {
	users, d := userIDs{}, im.d
	err := im.read(t, func(r row) error {
		im.report.Rows++
		e, err := r.event(items)
		switch {
		case err != nil:
			return err
		case im.o.MinRating != nil && !t.has(ratingColumn):
			return fmt.Errorf("dataset: %s has no column of ratings, so that none can be too low", t.file)
		case im.o.MinRating != nil && e.Rating < *im.o.MinRating:
			im.report.BelowRating++
			return nil
		}
		return r.keep(e, users, d)
	})
	if err != nil {
		return err
	}
	im.progress("sorting and filtering", 0)
	if err := im.dropDuplicates(); err != nil {
		return err
	}
	if im.o.KCore > 0 {
		if err := im.core(); err != nil {
			return err
		}
	}
	if len(d.Events) == 0 {
		return &FormatError{t.file, 0, fmt.Sprintf("of %d events none is left", im.report.Rows),
			"loosen the filters, or mend the rows" + im.reasons()}
	}
	d.sortUsers()
	return nil
}

// reasons shows why rows were left out, for an error.
func (im *importer) reasons() string {
	if len(im.report.First) == 0 {
		return ""
	}
	return "; the first that was left out: " + im.report.First[0]
}

// dropDuplicates removes events that repeat user, item and time of an earlier one, whatever the rating.
func (im *importer) dropDuplicates() error {
	d, users := im.d, im.d.timeline()
	repeated := make([]bool, len(d.Events))
	for user := range d.Users {
		events := users.of(user)
		for i := 1; i < len(events); i++ {
			e, before := d.Events[events[i]], d.Events[events[i-1]]
			if e.Item == before.Item && e.Time == before.Time {
				if im.o.Strict {
					return fmt.Errorf("dataset: user %q has item %q twice at time %d; remove one of the rows", d.Users[user],
						d.Items[e.Item].ID, e.Time)
				}
				repeated[events[i]] = true
				im.report.Duplicates++
			}
		}
	}
	kept := d.Events[:0]
	for i, e := range d.Events {
		if !repeated[i] {
			kept = append(kept, e)
		}
	}
	d.Events = kept
	return im.ctx.Err()
}

// core keeps the k-core: the most events such that every user and every item that is left has at least k of them. Items
// outside it leave the catalogue.
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
		d.Events = slices.DeleteFunc(d.Events, func(e Event) bool {
			return byUser[e.User] < im.o.KCore || byItem[e.Item] < im.o.KCore
		})
		if err := im.ctx.Err(); err != nil {
			return err
		}
	}
	im.report.OutsideCore = before - len(d.Events)
	ids, items := make([]int32, len(d.Items)), d.Items[:0]
	for i, item := range d.Items {
		if byItem[i] > 0 {
			ids[i] = int32(len(items))
			items = append(items, item)
		}
	}
	d.Items = items
	for i := range d.Events {
		d.Events[i].Item = ids[d.Events[i].Item]
	}
	return nil
}

// parts reads sequences that came split.
func (im *importer) parts(tables []*table, items catalogueIDs) error {
	for i, sequences := range im.d.Parts.all() {
		t := tables[i]
		err := im.read(t, func(r row) error {
			im.report.Rows++
			s, err := r.sequence(items)
			if err == nil {
				*sequences = append(*sequences, s)
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(*sequences) == 0 {
			return &FormatError{t.file, 0, "it has no sequences that can be used", "add a line for each sequence" + im.reasons()}
		}
	}
	return nil
}

// source says in words what was imported and what was kept of it.
func (im *importer) source() string {
	text := im.report.Layout
	add := func(format string, args ...any) { text += "; " + fmt.Sprintf(format, args...) }
	if im.o.MinRating != nil {
		add("ratings of at least %v", *im.o.MinRating)
	}
	if im.o.KCore > 0 {
		add("%d-core", im.o.KCore)
	}
	if out := im.report.Malformed + im.report.Untitled + im.report.Duplicates; out > 0 {
		add("%d of %d rows left out", out, im.report.Rows)
	}
	return text
}
