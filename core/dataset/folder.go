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
	"github.com/recinterpreter/recinterpreter/core/internal/lines"
)

const (
	headFile   = "dataset.json"
	itemsFile  = "items.tsv"
	usersFile  = "users.tsv"
	eventsFile = "events.tsv"
)

// The columns that each file must have.
var (
	itemColumns  = []string{"item_id", "title", "raw_title"}
	userColumns  = []string{"user_id"}
	eventColumns = []string{"user_id", "item_id", "time", "rating"}
	partColumns  = []string{"history", "next"}
)

// partFiles hold the sequences of data that were already split, by part.
var partFiles = [parts]string{"train.tsv", "validation.tsv", "test.tsv"}

// head is dataset.json. A folder written by hand may omit counts and hash; the split is omitted
// where it is chronological.
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

// paths is the file system of the machine. Unlike os.DirFS it takes any path.
type paths struct{}

func (paths) Open(name string) (fs.File, error) { return os.Open(name) }

// Load reads a data set folder and checks it: columns, numbers, ids, and, where dataset.json has
// them, counts and content hash. Dense item ids follow items.tsv; users and events are sorted, see
// Sort. A broken file gives a *FormatError with file and line.
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
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, lines.Mark)))
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
	items, err := d.readItems(folder, filepath.Join(dir, itemsFile))
	if err != nil {
		return nil, err
	}
	if d.Kind() == Given {
		err = d.readParts(folder, dir, items)
	} else {
		err = d.readEvents(folder, dir, items)
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
	sorted := slices.IsSortedFunc(d.Events, compare)
	if h.Hash != "" && (d.storedHash(folder, dir) == h.Hash || !sorted && d.contentHash() == h.Hash) {
		d.recorded = h.Hash
	}
	if !sorted {
		d.sortEvents()
	}
	if h.Hash != "" && h.Hash != d.Hash() {
		return nil, &FormatError{path, 0, "its hash is not that of the files: they were changed after it was written", staleRemedy}
	}
	d.recorded = h.Hash
	return d, nil
}

const staleRemedy = "fetch or import the data set again, or remove counts and hash from the file if the change was meant"

// denseIDs gives the places of items by their original ids.
type denseIDs struct {
	byText   map[string]int32
	byNumber []int32 // of ids that are small decimal numbers, which is most of them: the place plus 1
}

// count fills byNumber with the items.
func (ids *denseIDs) count(items []Item) {
	const room = 4 // for numbers without an item
	ids.byNumber = make([]int32, room*len(items))
	for place, item := range items {
		if n := decimal([]byte(item.ID)); n >= 0 && n < len(ids.byNumber) {
			ids.byNumber[n] = int32(place) + 1
		}
	}
}

// place gives the place of an item.
func (ids denseIDs) place(id []byte) (int32, bool) {
	if n := decimal(id); n >= 0 && n < len(ids.byNumber) && ids.byNumber[n] > 0 {
		return ids.byNumber[n] - 1, true
	}
	place, ok := ids.byText[string(id)]
	return place, ok
}

// decimal reads a number of up to 9 digits without leading zeros; -1: it is none.
func decimal(text []byte) int {
	if len(text) == 0 || len(text) > 9 || text[0] == '0' && len(text) > 1 {
		return -1
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}

func (r row) item(items denseIDs, column int, id []byte) (int32, error) {
	item, ok := items.place(id)
	if !ok {
		return 0, r.errorf("add the item there or remove the line", "%s %.60q is not in %s", r.names[column], id, itemsFile)
	}
	return item, nil
}

func (d *Dataset) readItems(folder fs.FS, file string) (denseIDs, error) {
	ids := denseIDs{byText: map[string]int32{}}
	others, err := readTSV(folder, file, itemColumns, func(r row) error {
		item := Item{ID: string(r.fields[0]), Title: string(r.fields[1]), RawTitle: string(r.fields[2])}
		_, twice := ids.byText[item.ID]
		switch {
		case item.ID == "" || item.Title == "":
			return r.errorf("give every item both", "item_id or title is empty")
		case twice:
			return r.errorf("keep one of the lines", "item_id %q occurs twice", item.ID)
		case len(d.Items) == math.MaxInt32:
			return r.errorf("", "more than %d items", math.MaxInt32)
		}
		ids.byText[item.ID] = int32(len(d.Items))
		d.Items = append(d.Items, item)
		if len(r.fields) > len(itemColumns) {
			d.ItemAttributes.Values = append(d.ItemAttributes.Values, texts(r.fields[len(itemColumns):]))
		}
		return nil
	})
	d.ItemAttributes.Names = others
	ids.count(d.Items)
	if err == nil && len(d.Items) == 0 {
		return ids, &FormatError{file, 0, "it has no items", "add a line for each item"}
	}
	return ids, err
}

func texts(fields [][]byte) []string {
	all := make([]string, len(fields))
	for i, field := range fields {
		all[i] = string(field)
	}
	return all
}

func (d *Dataset) readEvents(folder fs.FS, dir string, items denseIDs) error {
	users := map[string]int32{}
	file := filepath.Join(dir, eventsFile)
	var times TimeReader
	_, err := readTSV(folder, file, eventColumns, func(r row) error {
		var e Event
		var ok bool
		var err error
		if len(r.fields[0]) == 0 {
			return r.errorf("give it one or remove the line", "user_id is empty")
		}
		if e.Item, err = r.item(items, 1, r.fields[1]); err != nil {
			return err
		}
		if e.Time, _, ok = times.Read(r.fields[2]); !ok {
			return r.errorf("correct it or remove the line", "time %.60q is not %s", r.fields[2], TimeForms)
		}
		if e.Rating, err = r.rating(3); err != nil {
			return err
		}
		if e.User, ok = users[string(r.fields[0])]; !ok {
			e.User = int32(len(d.Users))
			d.Users = append(d.Users, string(r.fields[0]))
			users[d.Users[e.User]] = e.User
		}
		if len(d.Events) == math.MaxInt32 {
			return r.errorf("", "more than %d events", math.MaxInt32)
		}
		d.Events = append(d.Events, e)
		return nil
	})
	if err != nil {
		return err
	}
	if len(d.Events) == 0 {
		return &FormatError{file, 0, "it has no events", "add a line for each interaction"}
	}
	if err := d.readUsers(folder, filepath.Join(dir, usersFile), users); err != nil {
		return err
	}
	d.sortUsers()
	return nil
}

// readUsers reads the attributes of users, if there is a file. Users without events are skipped.
func (d *Dataset) readUsers(folder fs.FS, file string, users map[string]int32) error {
	if _, err := fs.Stat(folder, file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	values := make([][]string, len(d.Users))
	others, err := readTSV(folder, file, userColumns, func(r row) error {
		if user, ok := users[string(r.fields[0])]; ok {
			values[user] = texts(r.fields[len(userColumns):])
		}
		return nil
	})
	for i := range values {
		if values[i] == nil {
			values[i] = make([]string, len(others))
		}
	}
	if len(others) > 0 {
		d.UserAttributes = Attributes{others, values}
	}
	return err
}

func (d *Dataset) readParts(folder fs.FS, dir string, items denseIDs) error {
	for i, sequences := range d.Parts.all() {
		file := filepath.Join(dir, partFiles[i])
		_, err := readTSV(folder, file, partColumns, func(r row) (err error) {
			var s Sequence
			for id := range bytes.FieldsSeq(r.fields[0]) {
				item, err := r.item(items, 0, id)
				if err != nil {
					return err
				}
				s.History = append(s.History, item)
			}
			if len(s.History) == 0 {
				return r.errorf("name at least one item or remove the line", "history is empty")
			}
			s.Next, err = r.item(items, 1, r.fields[1])
			*sequences = append(*sequences, s)
			return err
		})
		if err != nil {
			return err
		}
		if len(*sequences) == 0 {
			return &FormatError{file, 0, "it has no sequences", "add a line for each sequence"}
		}
	}
	return nil
}

// Save writes the data set as a folder that Load reads back, creating it where needed. dataset.json
// is written last, so that a folder that has it is complete. A title or id that the format cannot
// hold is an error before anything is written.
func (d *Dataset) Save(dir string) error { return d.save(context.Background(), dir) }

// SaveNew writes the data set as a new folder, completely or not at all. The folder must not exist.
func (d *Dataset) SaveNew(ctx context.Context, dir string) error {
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
	d = d.sorted()
	hash := make(chan string)
	go func() { hash <- d.contentHash() }()
	var failed error
	for _, f := range d.files(true) {
		failed = artifact.WriteAtomic(filepath.Join(dir, f.name), func(w io.Writer) error { return f.write(&stoppable{ctx, w}) })
		if failed != nil {
			break
		}
	}
	h := head{d.Name, d.Licence, d.Source, d.SplitBy, len(d.Users), len(d.Items), len(d.Events), <-hash}
	if failed != nil {
		return failed
	}
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

// Hash returns the content hash: the SHA-256, in hexadecimal, of items.tsv, then of events.tsv or
// the sequences, as Save writes them but without attributes, and of the line "split KIND" where the
// split is not the chronological one. It does not depend on the order of events, nor on name,
// licence, source and attributes. A data set that Load has read has the hash that its folder
// records.
func (d *Dataset) Hash() string {
	if d.recorded != "" {
		return d.recorded
	}
	return d.sorted().contentHash()
}

// storedHash is the hash of a folder whose files are as Save writes them, found without writing
// each event again; of sequences and where a file cannot be read "".
func (d *Dataset) storedHash(folder fs.FS, dir string) string {
	if d.Kind() == Given {
		return ""
	}
	file, err := folder.Open(filepath.Join(dir, eventsFile))
	if err != nil {
		return ""
	}
	defer file.Close()
	sum := sha256.New()
	_ = d.writeItems(sum, Attributes{}) // writing to a hash never fails
	if _, err := io.Copy(sum, file); err != nil {
		return ""
	}
	return d.finish(sum)
}

// finish gives the hash of a sum that has the files.
func (d *Dataset) finish(sum hash.Hash) string {
	if d.Kind() != Chronological {
		fmt.Fprintf(sum, "split %s\n", d.Kind())
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// contentHash is the hash with the events in their present order.
func (d *Dataset) contentHash() string {
	sum := sha256.New()
	for _, f := range d.files(false) {
		_ = f.write(sum) // writing to a hash never fails
	}
	return d.finish(sum)
}

// storedFile is a file of the folder other than dataset.json.
type storedFile struct {
	name  string
	write func(io.Writer) error
}

// files gives the files of the folder in the order in which they are hashed, with or without
// attributes.
func (d *Dataset) files(attributes bool) []storedFile {
	var ofItems, ofUsers Attributes
	if attributes {
		ofItems, ofUsers = d.ItemAttributes, d.UserAttributes
	}
	files := []storedFile{{itemsFile, func(w io.Writer) error { return d.writeItems(w, ofItems) }}}
	if len(ofUsers.Names) > 0 {
		files = append(files, storedFile{usersFile, func(w io.Writer) error { return d.writeUsers(w, ofUsers) }})
	}
	if d.Kind() != Given {
		return append(files, storedFile{eventsFile, d.writeEvents})
	}
	for i, sequences := range d.Parts.all() {
		files = append(files, storedFile{partFiles[i], func(w io.Writer) error { return d.writePart(w, *sequences) }})
	}
	return files
}

func (d *Dataset) writeItems(w io.Writer, a Attributes) error {
	return writeTable(w, itemColumns, a, len(d.Items), func(i int) []string {
		return []string{d.Items[i].ID, d.Items[i].Title, d.Items[i].RawTitle}
	})
}

func (d *Dataset) writeUsers(w io.Writer, a Attributes) error {
	return writeTable(w, userColumns, a, len(d.Users), func(i int) []string { return d.Users[i : i+1] })
}

// writeTable writes a line for each of n rows, attributes last.
func writeTable(w io.Writer, columns []string, a Attributes, n int, row func(int) []string) error {
	out := bufio.NewWriter(w)
	line := func(fields, attributes []string) {
		out.WriteString(strings.Join(append(slices.Clone(fields), attributes...), "\t"))
		out.WriteByte('\n')
	}
	line(columns, a.Names)
	for i := range n {
		var attributes []string
		if len(a.Names) > 0 {
			attributes = a.Values[i]
		}
		line(row(i), attributes)
	}
	return out.Flush() // with the first error
}

func (d *Dataset) writeEvents(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	out.WriteString(strings.Join(eventColumns, "\t") + "\n")
	var line []byte
	for _, e := range d.Events {
		line = append(append(line[:0], d.Users[e.User]...), '\t')
		line = append(append(line, d.Items[e.Item].ID...), '\t')
		line = append(strconv.AppendInt(line, e.Time, 10), '\t')
		if e.Rating == e.Rating { // not NaN
			line = strconv.AppendFloat(line, float64(e.Rating), 'g', -1, 32)
		}
		line = append(line, '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}

func (d *Dataset) writePart(w io.Writer, sequences []Sequence) error {
	out := bufio.NewWriterSize(w, 1<<16)
	out.WriteString(strings.Join(partColumns, "\t") + "\n")
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
	return len(s) <= LongestField && utf8.ValidString(s) && !strings.ContainsAny(s, "\t\r\n")
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
				i, item.ID, LongestField)
		}
		if given && strings.ContainsFunc(item.ID, unicode.IsSpace) {
			return fmt.Errorf("item %d (%.60q): where sequences are given ids must be without spaces", i, item.ID)
		}
		seen[item.ID] = true
	}
	for i, user := range d.Users {
		if user == "" || !plain(user) {
			return fmt.Errorf("user %d (%.60q): ids must be UTF-8 without tabs and line breaks, at most %d bytes long, and not empty",
				i, user, LongestField)
		}
	}
	for i, e := range d.Events {
		if e.User < 0 || int(e.User) >= len(d.Users) || e.Item < 0 || int(e.Item) >= len(d.Items) {
			return fmt.Errorf("event %d: user %d of %d or item %d of %d is out of range", i, e.User,
				len(d.Users), e.Item, len(d.Items))
		}
		if math.IsInf(float64(e.Rating), 0) {
			return fmt.Errorf("event %d: the rating is infinite", i)
		}
	}
	for _, a := range []struct {
		noun, file string
		columns    []string
		Attributes
		n int
	}{{"item", itemsFile, itemColumns, d.ItemAttributes, len(d.Items)},
		{"user", usersFile, userColumns, d.UserAttributes, len(d.Users)}} {
		if err := a.validate(a.columns, a.n); err != nil {
			return fmt.Errorf("attributes of %ss, for %s: %w", a.noun, a.file, err)
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

// validate refuses attributes of n items or users that the format cannot hold.
func (a Attributes) validate(columns []string, n int) error {
	if len(a.Names) == 0 && a.Values == nil {
		return nil
	}
	if len(a.Values) != n {
		return fmt.Errorf("%d rows, expected %d", len(a.Values), n)
	}
	for i, name := range a.Names {
		if name == "" || !plain(name) || slices.Contains(columns, name) || slices.Contains(a.Names[:i], name) {
			return fmt.Errorf("the name %.60q is empty, is used twice, or has a tab or a line break", name)
		}
	}
	for i, values := range a.Values {
		if len(values) != len(a.Names) || slices.ContainsFunc(values, func(v string) bool { return !plain(v) }) {
			return fmt.Errorf("row %d: %d values for %d names, or one with a tab or a line break", i, len(values), len(a.Names))
		}
	}
	return nil
}
