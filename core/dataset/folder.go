package dataset

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

const (
	headFile   = "dataset.json"
	itemsFile  = "items.tsv"
	eventsFile = "events.tsv"
)

// head is dataset.json. Counts and hash may be left out by somebody who writes a folder by hand.
type head struct {
	Name    string `json:"name"`
	Licence string `json:"licence,omitempty"`
	Source  string `json:"source,omitempty"`
	Users   int    `json:"users,omitempty"`
	Items   int    `json:"items,omitempty"`
	Events  int    `json:"events,omitempty"`
	Hash    string `json:"hash,omitempty"`
}

// Load reads a data set folder and checks it: columns, numbers, ids, and, where dataset.json has them, counts and
// content hash. Dense item ids follow items.tsv; users are sorted by number where every id is an integer, else as
// text. A broken file gives a *FormatError with file and line.
func Load(dir string) (*Dataset, error) {
	return load(os.DirFS(dir), dir)
}

func load(folder fs.FS, dir string) (*Dataset, error) {
	path := filepath.Join(dir, headFile)
	text, err := fs.ReadFile(folder, headFile)
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
	d := &Dataset{Name: h.Name, Licence: h.Licence, Source: h.Source}
	if err := d.readItems(folder, dir); err != nil {
		return nil, err
	}
	if err := d.readEvents(folder, dir); err != nil {
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

func (d *Dataset) readItems(folder fs.FS, dir string) error {
	t := &table{file: filepath.Join(dir, itemsFile), separator: "\t", header: true,
		columns: []string{"item_id", "title", "raw_title"}}
	seen := map[string]bool{}
	err := t.open(folder, itemsFile, func(r row) error {
		item := Item{ID: r.fields[0], Title: r.fields[1], RawTitle: r.fields[2]}
		switch {
		case item.ID == "" || item.Title == "":
			return r.errorf("give every item both", "item_id or title is empty")
		case seen[item.ID]:
			return r.errorf("keep one of the lines", "item_id %q occurs twice", item.ID)
		case len(d.Items) == math.MaxInt32:
			return r.errorf("", "more than %d items", math.MaxInt32)
		}
		seen[item.ID] = true
		d.Items = append(d.Items, item)
		return nil
	})
	if err == nil && len(d.Items) == 0 {
		return &FormatError{t.file, 0, "it has no items", "add a line for each item"}
	}
	return err
}

func (d *Dataset) readEvents(folder fs.FS, dir string) error {
	t := &table{file: filepath.Join(dir, eventsFile), separator: "\t", header: true,
		columns: []string{"user_id", "item_id", "time", "rating"}}
	items := make(map[string]int32, len(d.Items))
	for i, item := range d.Items {
		items[item.ID] = int32(i)
	}
	var raw []rawEvent
	err := t.open(folder, eventsFile, func(r row) error {
		item, ok := items[r.fields[1]]
		if !ok {
			return r.errorf("add the item there or remove the line", "item_id %q is not in %s", r.fields[1], itemsFile)
		}
		e, err := r.event(item)
		raw = append(raw, e)
		return err
	})
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return &FormatError{t.file, 0, "it has no events", "add a line for each interaction"}
	}
	d.setEvents(raw)
	return nil
}

// event reads user_id, time and rating from a row whose columns are user_id, item_id, time, rating.
func (r row) event(item int32) (rawEvent, error) {
	if r.fields[0] == "" {
		return rawEvent{}, r.errorf("give every event a user", "user_id is empty")
	}
	time, err := r.integer(2)
	if err != nil {
		return rawEvent{}, err
	}
	rating, err := r.rating(3)
	return rawEvent{r.fields[0], Event{Item: item, Time: time, Rating: rating}}, err
}

// open reads the table from a file of the folder.
func (t *table) open(folder fs.FS, name string, each func(row) error) error {
	file, err := folder.Open(name)
	if err != nil {
		return fmt.Errorf("dataset: cannot read %s: %w", t.file, err)
	}
	defer file.Close()
	return t.read(file, each)
}

// Save writes the data set as a folder that Load reads back, creating it where needed. dataset.json is written last, so
// that a folder that has it is complete. A title or id that the format cannot hold is an error before anything is
// written.
func (d *Dataset) Save(dir string) error {
	if err := d.validate(); err != nil {
		return fmt.Errorf("dataset: cannot save %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("dataset: cannot save: %w; choose a folder that you may write to", err)
	}
	if err := artifact.WriteAtomic(filepath.Join(dir, itemsFile), d.writeItems); err != nil {
		return err
	}
	if err := artifact.WriteAtomic(filepath.Join(dir, eventsFile), d.writeEvents); err != nil {
		return err
	}
	text, err := json.MarshalIndent(head{d.Name, d.Licence, d.Source, len(d.Users), len(d.Items), len(d.Events), d.Hash()},
		"", "  ")
	if err != nil {
		return err
	}
	return artifact.WriteAtomic(filepath.Join(dir, headFile), func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// Hash returns the content hash: the SHA-256 of items.tsv followed by events.tsv as Save writes them, in hexadecimal.
// Name, licence and source do not enter, and neither does the order of columns of a folder that was written by hand.
func (d *Dataset) Hash() string {
	sum := sha256.New() // writing to a hash never fails
	_ = d.writeItems(sum)
	_ = d.writeEvents(sum)
	return hex.EncodeToString(sum.Sum(nil))
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
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "user_id\titem_id\ttime\trating\n")
	for _, e := range d.Events {
		rating := strconv.FormatFloat(float64(e.Rating), 'g', -1, 32)
		fmt.Fprintf(out, "%s\t%s\t%d\t%s\n", d.Users[e.User], d.Items[e.Item].ID, e.Time, rating)
	}
	return out.Flush()
}

// validate refuses what the format cannot hold or Load would refuse.
func (d *Dataset) validate() error {
	if d.Name == "" || len(d.Items) == 0 || len(d.Events) == 0 {
		return fmt.Errorf("a data set needs a name, items and events")
	}
	plain := func(s string) bool { return utf8.ValidString(s) && !strings.ContainsAny(s, "\t\r\n") }
	seen := map[string]bool{}
	for i, item := range d.Items {
		if item.ID == "" || item.Title == "" || seen[item.ID] {
			return fmt.Errorf("item %d (%q, %q): id or title is empty, or the id is used twice", i, item.ID, item.Title)
		}
		if !plain(item.ID) || !plain(item.Title) || !plain(item.RawTitle) {
			return fmt.Errorf("item %d (%q): ids and titles must be UTF-8 without tabs and line breaks", i, item.ID)
		}
		seen[item.ID] = true
	}
	for i, user := range d.Users {
		if user == "" || !plain(user) {
			return fmt.Errorf("user %d (%q): ids must be UTF-8 without tabs and line breaks, and not empty", i, user)
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
	return nil
}
