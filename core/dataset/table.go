package dataset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// FormatError says where a file is wrong, what is wrong and what to do.
type FormatError struct {
	File    string
	Line    int    // from 1, of a Parquet file the row; 0 when the file as a whole is meant
	Problem string // what was found and what was expected
	Remedy  string // what to do, may be empty
}

// Error has the form "dataset: FILE:LINE: problem; remedy".
func (e *FormatError) Error() string {
	where := e.File
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line)
	}
	if e.Remedy != "" {
		return fmt.Sprintf("dataset: %s: %s; %s", where, e.Problem, e.Remedy)
	}
	return fmt.Sprintf("dataset: %s: %s", where, e.Problem)
}

const (
	longestRecord = 1 << 20 // bytes
	longestField  = 1 << 16 // bytes; three of them fit into a record
	tickEvery     = 1 << 14 // records
)

// table reads a file as records with named fields. How the file is cut into records is its scanner's affair.
type table struct {
	folder  fs.FS
	file    string // path in folder
	scan    scanner
	header  []string // the names of the fields where the file does not begin with them
	columns []column // what is wanted
	latin1  bool     // a field that is not UTF-8 is Latin-1; else it is an error

	bad  func(error) error // what to do about a record that cannot be used; nil: its error ends the reading
	tick func() error      // called now and then; may be nil

	places   []int // of the columns among the fields, -1 for one that is not there; nil before the header was seen
	repaired int   // fields that were not UTF-8
	done     int64 // how much has been read, in units of size
	size     int64 // of the file, in bytes, or in rows for Parquet
}

// scanner calls emit for each record of the file, the header first where table.header is nil. A record that makes no sense
// is emitted as an error. Fields may be overwritten by the next record. It ends with what emit returns or with the reason
// why nothing further can be read.
type scanner func(t *table, file fs.File, emit emit) error

type emit func(line int, fields []string, bad error) error

// column is a field that is wanted.
type column struct {
	noun     string   // what it holds
	names    []string // what it may be called: exactly, or as squash makes it; the first that is there counts
	optional bool
}

// named is a column that has exactly one name.
func named(name string) column { return column{noun: name, names: []string{name}} }

// row is one record of a table, its fields in the order of table.columns; "" for an optional column that is not there.
type row struct {
	*table
	line   int
	fields []string
}

// read calls each for every record but the header. Errors from each are returned as they are; a *FormatError goes to
// table.bad first.
func (t *table) read(each func(row) error) error {
	file, err := t.folder.Open(t.file)
	if err != nil {
		return fmt.Errorf("dataset: cannot read: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("dataset: cannot read: %w", err)
	}
	t.size = info.Size()
	current := row{table: t, fields: make([]string, len(t.columns))}
	if t.header != nil {
		if err := t.locate(t.header); err != nil {
			return err
		}
	}
	records := 0
	var stopped error // by this side, not by the scanner
	err = t.scan(t, file, func(line int, fields []string, bad error) error {
		if t.places == nil {
			if stopped = bad; bad == nil {
				stopped = t.locate(fields)
			}
			return stopped
		}
		if records++; records%tickEvery == 0 && t.tick != nil {
			if stopped = t.tick(); stopped != nil {
				return stopped
			}
		}
		current.line = line
		stopped = bad
		if bad == nil {
			stopped = current.take(fields)
		}
		if stopped == nil {
			stopped = each(current)
		}
		if format := (*FormatError)(nil); t.bad != nil && errors.As(stopped, &format) {
			stopped = t.bad(stopped)
		}
		return stopped
	})
	switch format := (*FormatError)(nil); {
	case stopped != nil:
		return stopped
	case errors.As(err, &format):
		return err
	case err != nil:
		return fmt.Errorf("dataset: cannot read %s: %w", t.file, err)
	case t.places == nil:
		return t.errorAt(1, "its first line must name the columns", "the file is empty")
	}
	return nil
}

// locate finds the columns in a header; RecBole's ":type" behind a name is ignored.
func (t *table) locate(header []string) error {
	t.places = make([]int, len(t.columns))
	for i, c := range t.columns {
		t.places[i] = -1
		for _, name := range c.names {
			if t.places[i] >= 0 {
				break
			}
			t.places[i] = slices.IndexFunc(header, func(h string) bool {
				short, _, _ := strings.Cut(h, ":")
				return h == name || short == name || squash(short) == name
			})
		}
		if t.places[i] < 0 && !c.optional {
			what := fmt.Sprintf("no column %q", c.names[0])
			if len(c.names) > 1 {
				what = "no column that looks like the " + c.noun
			}
			return t.errorAt(1, "add the column or correct its name", "%s among %.300q", what, header)
		}
	}
	return nil
}

// squash is the form in which usual names of columns are compared: userId, user_id and "User ID" are one.
func squash(name string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(name))
}

// take picks the wanted fields of a record.
func (r row) take(fields []string) error {
	for i, place := range r.places {
		if r.fields[i] = ""; place < 0 {
			continue
		}
		field := fields[place]
		if !utf8.ValidString(field) {
			if !r.latin1 {
				return r.errorf("save the file as UTF-8", "%s is not UTF-8: %.60q", r.columns[i].noun, field)
			}
			field = fromLatin1(field)
			r.repaired++
		}
		if len(field) > longestField {
			return r.errorf("shorten it or remove the line", "%s is %d bytes long, expected at most %d", r.columns[i].noun,
				len(field), longestField)
		}
		r.fields[i] = field
	}
	return nil
}

// fromLatin1 decodes Latin-1, whose code points are the first 256 of Unicode.
func fromLatin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func (t *table) errorAt(line int, remedy, problem string, args ...any) error {
	return &FormatError{t.file, line, fmt.Sprintf(problem, args...), remedy}
}

func (r row) errorf(remedy, problem string, args ...any) error {
	return r.errorAt(r.line, remedy, problem, args...)
}

// has reports whether a column is there.
func (t *table) has(column int) bool { return t.places[column] >= 0 }

// share says how much of the file has been read, from 0 to 1.
func (t *table) share() float64 { return min(1, float64(t.done)/float64(max(t.size, 1))) }

// time reads a field as seconds since 1970: a number, of which the fraction is dropped, or a date, UTC where no zone is
// given.
func (r row) time(column int) (int64, error) {
	text := r.fields[column]
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return v, nil
	}
	const limit = 1 << 62
	if v, err := strconv.ParseFloat(text, 64); err == nil && v > -limit && v < limit {
		return int64(math.Floor(v)), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if v, err := time.Parse(layout, text); err == nil {
			return v.Unix(), nil
		}
	}
	return 0, r.errorf("correct it or remove the line", "%s %.60q is not a whole number of seconds, nor a date such as %s",
		r.columns[column].noun, text, time.DateOnly)
}

// rating reads a field as a finite number.
func (r row) rating(column int) (float32, error) {
	v, err := strconv.ParseFloat(r.fields[column], 32)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, r.errorf("correct it or remove the line", "%s %.60q is not a finite number", r.columns[column].noun,
			r.fields[column])
	}
	return float32(v), nil
}

// grow makes room for one more event. The share of the file that has been read tells how many there will be, so that a
// large file costs one array and not the copies of a growing one.
func (t *table) grow(events []Event) []Event {
	n := len(events)
	if n < cap(events) {
		return events
	}
	const first, large = 1 << 10, 1 << 16
	room := max(first, 2*n)
	if n >= large {
		const margin = 1.02
		room = max(n+n/8, min(int(margin*float64(n)/t.share()), 1000*n))
	}
	bigger := make([]Event, n, room)
	copy(bigger, events)
	return bigger
}

// counted is a file that tells its table how much of it has been read.
type counted struct {
	io.Reader
	done *int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.done += int64(n)
	return n, err
}
