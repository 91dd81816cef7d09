package dataset

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

const (
	headFile   = "dataset.json"
	itemsFile  = "items.tsv"
	eventsFile = "events.tsv"
)

// partFiles hold the sequences of data that came split, by part.
var partFiles = [parts]string{"train.tsv", "validation.tsv", "test.tsv"}

// head is dataset.json. Counts and hash may be left out by somebody who writes a folder by hand; the split is where it is
// chronological.
type head struct {
	Name    string    `json:"name"`
	Licence string    `json:"licence,omitempty"`
	Source  string    `json:"source,omitempty"`
	Split   SplitKind `json:"split,omitempty"`
	Users   int       `json:"users,omitempty"`
	Items   int       `json:"items,omitempty"`
	Events  int       `json:"events,omitempty"`
	Hash    string    `json:"hash,omitempty"`
}

// Load reads a data set folder and checks it: columns, numbers, ids, and, where dataset.json has them, counts and
// content hash. Dense item ids follow items.tsv; users are sorted by number where every id is an integer, else as
// text. A broken file gives a *FormatError with file and line.
func Load(dir string) (*Dataset, error) { return load(paths{}, dir) }

func load(folder fs.FS, dir string) (*Dataset, error) {
	path := filepath.Join(dir, headFile)
	text, err := fs.ReadFile(folder, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dataset: %s is not a data set folder: it has no %s; fetch or import a data set first",
			dir, headFile)
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: cannot read %s: %w", path, err)
	}
	var h head
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&h); err != nil {
		return nil, &FormatError{path, 0, err.Error(), `it must be a JSON object with at least a "name"`}
	}
	if h.Name == "" {
		return nil, &FormatError{path, 0, `"name" is missing or empty`, "give the data set a name"}
	}
	d := &Dataset{Name: h.Name, Licence: h.Licence, Source: h.Source, SplitBy: h.Split}
	if err := d.Kind().Validate(); err != nil {
		return nil, &FormatError{path, 0, err.Error(), "correct \"split\""}
	}
	ids, err := d.readItems(stored(folder, filepath.Join(dir, itemsFile), "item_id", "title", "raw_title"))
	if err != nil {
		return nil, err
	}
	if d.Kind() == Given {
		err = d.readParts(folder, dir, ids)
	} else {
		err = d.readEvents(stored(folder, filepath.Join(dir, eventsFile), "user_id", "item_id", "time", "rating"), ids)
	}
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		noun       string
		want, have int
	}{{"users", h.Users, len(d.Users)}, {"items", h.Items, len(d.Items)}, {"events", h.Events, len(d.Events)}} {
		if c.want != 0 && c.want != c.have {
			return nil, &FormatError{path, 0, fmt.Sprintf("says %d %s, the files have %d", c.want, c.noun, c.have), staleRemedy}
		}
	}
	if h.Hash != "" && h.Hash != d.Hash() {
		return nil, &FormatError{path, 0, "its hash is not that of the files: they were changed after it was written", staleRemedy}
	}
	return d, nil
}

const staleRemedy = "fetch or import the data set again, or remove counts and hash from the file if the change was meant"

// stored makes the table of a file of a data set folder.
func stored(folder fs.FS, file string, columns ...string) *table {
	t := &table{folder: folder, file: file, scan: separated("\t")}
	for _, c := range columns {
		t.columns = append(t.columns, named(c))
	}
	return t
}

// partTable makes the table of a file of sequences.
func partTable(folder fs.FS, file string) *table { return stored(folder, file, "history", "next") }

func (d *Dataset) readItems(t *table) (catalogueIDs, error) {
	ids := catalogueIDs{itemsFile, map[string]int32{}}
	err := t.read(func(r row) error {
		item := Item{ID: r.fields[0], Title: r.fields[1], RawTitle: r.fields[2]}
		_, twice := ids.dense[item.ID]
		switch {
		case item.ID == "" || item.Title == "":
			return r.errorf("give every item both", "item_id or title is empty")
		case twice:
			return r.errorf("keep one of the lines", "item_id %q occurs twice", item.ID)
		case len(d.Items) == math.MaxInt32:
			return r.errorf("", "more than %d items", math.MaxInt32)
		}
		ids.dense[item.ID] = int32(len(d.Items))
		d.Items = append(d.Items, item)
		return nil
	})
	if err == nil && len(d.Items) == 0 {
		return ids, &FormatError{t.file, 0, "it has no items", "add a line for each item"}
	}
	return ids, err
}

func (d *Dataset) readEvents(t *table, items catalogueIDs) error {
	users := userIDs{}
	err := t.read(func(r row) error {
		e, err := r.event(items)
		if err != nil {
			return err
		}
		return r.keep(e, users, d)
	})
	if err != nil {
		return err
	}
	if len(d.Events) == 0 {
		return &FormatError{t.file, 0, "it has no events", "add a line for each interaction"}
	}
	d.sortUsers()
	return nil
}

func (d *Dataset) readParts(folder fs.FS, dir string, items catalogueIDs) error {
	for i, sequences := range d.Parts.all() {
		t := partTable(folder, filepath.Join(dir, partFiles[i]))
		err := t.read(func(r row) error {
			s, err := r.sequence(items)
			*sequences = append(*sequences, s)
			return err
		})
		if err != nil {
			return err
		}
		if len(*sequences) == 0 {
			return &FormatError{t.file, 0, "it has no sequences", "add a line for each sequence"}
		}
	}
	return nil
}

// Save writes the data set as a folder that Load reads back, creating it where needed. dataset.json is written last, so
// that a folder that has it is complete. A title or id that the format cannot hold is an error before anything is
// written.
func (d *Dataset) Save(dir string) error { return d.save(context.Background(), dir) }

// saveNew writes the data set as a folder that must not exist: all of it or nothing.
func (d *Dataset) saveNew(ctx context.Context, dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return fmt.Errorf("dataset: cannot save: %w; choose a folder that you may write to", err)
	}
	work := filepath.Join(parent, "."+filepath.Base(dir)+".tmp-"+rand.Text()[:8])
	defer os.RemoveAll(work)
	if err := d.save(ctx, work); err != nil {
		return err
	}
	if err := os.Rename(work, dir); err != nil {
		return fmt.Errorf("dataset: cannot save: %w; choose another folder", err)
	}
	return nil
}

func (d *Dataset) save(ctx context.Context, dir string) error {
	if err := d.validate(); err != nil {
		return fmt.Errorf("dataset: cannot save %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("dataset: cannot save: %w; choose a folder that you may write to", err)
	}
	sum := sha256.New()
	for _, f := range d.files() {
		err := artifact.WriteAtomic(filepath.Join(dir, f.name), func(w io.Writer) error {
			return f.write(&stoppable{ctx, io.MultiWriter(w, sum)})
		})
		if err != nil {
			return err
		}
	}
	h := head{d.Name, d.Licence, d.Source, d.SplitBy, len(d.Users), len(d.Items), len(d.Events), d.finish(sum)}
	if h.Split == Chronological {
		h.Split = ""
	}
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return artifact.WriteAtomic(filepath.Join(dir, headFile), func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// stoppable is a writer that fails when the context has ended.
type stoppable struct {
	ctx context.Context
	io.Writer
}

func (s *stoppable) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Writer.Write(p)
}

// Hash returns the content hash: the SHA-256, in hexadecimal, of the files as Save writes them, items.tsv first, and of the
// line "split KIND" where the split is not the chronological one. Name, licence and source do not enter, and neither
// does the order of columns of a folder that was written by hand.
func (d *Dataset) Hash() string {
	sum := sha256.New()
	for _, f := range d.files() {
		_ = f.write(sum) // writing to a hash never fails
	}
	return d.finish(sum)
}

// finish completes the hash of the files.
func (d *Dataset) finish(sum hash.Hash) string {
	if d.Kind() != Chronological {
		fmt.Fprintf(sum, "split %s\n", d.Kind())
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// storedFile is a file of the folder beside dataset.json.
type storedFile struct {
	name  string
	write func(io.Writer) error
}

// files gives the files of the folder in the order in which they are hashed.
func (d *Dataset) files() []storedFile {
	files := []storedFile{{itemsFile, d.writeItems}}
	if d.Kind() != Given {
		return append(files, storedFile{eventsFile, d.writeEvents})
	}
	for i, sequences := range d.Parts.all() {
		files = append(files, storedFile{partFiles[i], func(w io.Writer) error { return d.writePart(w, *sequences) }})
	}
	return files
}

func (d *Dataset) writeItems(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "item_id\ttitle\traw_title\n")
	for _, item := range d.Items {
		fmt.Fprintf(out, "%s\t%s\t%s\n", item.ID, item.Title, item.RawTitle)
	}
	return out.Flush()
}

func (d *Dataset) writeEvents(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	fmt.Fprintf(out, "user_id\titem_id\ttime\trating\n")
	var line []byte
	for _, e := range d.Events {
		line = append(append(line[:0], d.Users[e.User]...), '\t')
		line = append(append(line, d.Items[e.Item].ID...), '\t')
		line = append(strconv.AppendInt(line, e.Time, 10), '\t')
		line = append(strconv.AppendFloat(line, float64(e.Rating), 'g', -1, 32), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}

func (d *Dataset) writePart(w io.Writer, sequences []Sequence) error {
	out := bufio.NewWriterSize(w, 1<<16)
	fmt.Fprintf(out, "history\tnext\n")
	var line []byte
	for _, s := range sequences {
		line = line[:0]
		for i, item := range s.History {
			if i > 0 {
				line = append(line, ' ')
			}
			line = append(line, d.Items[item].ID...)
		}
		line = append(append(append(line, '\t'), d.Items[s.Next].ID...), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}

// plain reports whether a field of the folder format can hold a text.
func plain(s string) bool {
	return len(s) <= longestField && utf8.ValidString(s) && !strings.ContainsAny(s, "\t\r\n")
}

// validate refuses what the format cannot hold or Load would refuse.
func (d *Dataset) validate() error {
	if err := d.Kind().Validate(); err != nil {
		return err
	}
	given := d.Kind() == Given
	if d.Name == "" || len(d.Items) == 0 || len(d.Events) == 0 && !given {
		return fmt.Errorf("a data set needs a name, items and events")
	}
	seen := map[string]bool{}
	for i, item := range d.Items {
		if item.ID == "" || item.Title == "" || seen[item.ID] {
			return fmt.Errorf("item %d (%.60q, %.60q): id or title is empty, or the id is used twice", i, item.ID, item.Title)
		}
		if !plain(item.ID) || !plain(item.Title) || !plain(item.RawTitle) {
			return fmt.Errorf("item %d (%.60q): ids and titles must be UTF-8 without tabs and line breaks, and at most %d bytes long",
				i, item.ID, longestField)
		}
		if given && strings.ContainsFunc(item.ID, unicode.IsSpace) {
			return fmt.Errorf("item %d (%.60q): where sequences are given ids must be without spaces", i, item.ID)
		}
		seen[item.ID] = true
	}
	for i, user := range d.Users {
		if user == "" || !plain(user) {
			return fmt.Errorf("user %d (%.60q): ids must be UTF-8 without tabs and line breaks, at most %d bytes long, and not empty",
				i, user, longestField)
		}
	}
	for i, e := range d.Events {
		if e.User < 0 || int(e.User) >= len(d.Users) || e.Item < 0 || int(e.Item) >= len(d.Items) {
			return fmt.Errorf("event %d: user %d of %d or item %d of %d is out of range", i, e.User,
				len(d.Users), e.Item, len(d.Items))
		}
		if r := float64(e.Rating); math.IsNaN(r) || math.IsInf(r, 0) {
			return fmt.Errorf("event %d: the rating is not finite", i)
		}
	}
	for i, sequences := range d.Parts.all() {
		if given == (len(*sequences) == 0) {
			return fmt.Errorf("%d sequences for %s: a data set whose split is %s has some in every part, others have none",
				len(*sequences), partFiles[i], Given)
		}
		for j, s := range *sequences {
			unknown := func(item int32) bool { return item < 0 || int(item) >= len(d.Items) }
			if len(s.History) == 0 || unknown(s.Next) || slices.ContainsFunc(s.History, unknown) {
				return fmt.Errorf("sequence %d for %s: its history is empty, or an item is out of range", j, partFiles[i])
			}
		}
	}
	return nil
}
