package states

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// ErrUnknownHistory is found in the error of a file that is asked for the state of a history that
// it does not hold.
var ErrUnknownHistory = errors.New("states: a file of states holds those of its own sequences; name a user that it knows, or give states")

// File is a file of states in memory. Histories are those of its own sequences: an element is -1-r
// for row r, so that a row stands for its item and for the state after it.
type File struct {
	path, hash       string
	said             metadata
	width, itemWidth int
	positions        int

	states []float32 // [rows, width]
	rows   []place
	owners []owner        // of the sequences, in order
	latest map[string]int // the last of them with a name or a user

	vectors []float32 // [items, itemWidth]
	split   dataset.Split
	about   Summary
}

// place says what a row is about.
type place struct {
	item  int32 // -1: none
	begin int32 // the first of the rows up to this one that follow each other without a gap
	time  int64
	user  int32 // -1: not known
	in    part
}

type part int8

const (
	nowhere part = iota
	train
	validation
	test
)

var partNames = []string{"", "train", "validation", "test"}

// owner is a sequence with its last row.
type owner struct {
	name, user string
	last       int32
}

// Summary says what a file holds.
type Summary struct {
	Rows      int      `json:"rows"`
	Sequences int      `json:"sequences"`
	Width     int      `json:"width"`      // of a state
	Items     int      `json:"items"`      // of the data set that occur
	Pairs     int      `json:"pairs"`      // rows with an item and a row before it: states before and after an item
	Before    int      `json:"before"`     // states before the first item
	Users     int      `json:"users"`      // rows with a user of the data set
	ItemWidth int      `json:"item_width"` // of items' vectors; 0: there are none
	Missing   []string `json:"missing"`    // optional columns that are not there
	SplitBy   string   `json:"split_by"`   // how the parts come about
	Train     int      `json:"train"`
	Held      int      `json:"validation"`
	Test      int      `json:"test"`
}

// Open reads a file of states about the items of a data set.
func Open(ctx context.Context, path string, d *dataset.Dataset) (*File, error) {
	s, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer s.close()
	f := &File{path: path, said: s.said}
	if err := f.TrainedOn(d); err != nil {
		return nil, err
	}
	ids := make(map[string]int32, len(d.Items))
	for i, item := range d.Items {
		ids[item.ID] = int32(i)
	}
	if err := f.read(ctx, s, d, ids); err != nil {
		return nil, err
	}
	if err := f.readItems(ctx, s, ids); err != nil {
		return nil, err
	}
	if f.hash, err = s.hash(); err != nil {
		return nil, err
	}
	f.positions = min(f.positions, dataset.DefaultProtocol().MaxHistory)
	if n, err := strconv.Atoi(s.said.Positions); err == nil && n > 0 {
		f.positions = n
	}
	for _, name := range optional {
		if !slices.Contains(s.columns, name) {
			f.about.Missing = append(f.about.Missing, name)
		}
	}
	f.divide(slices.Contains(s.columns, columnSplit), slices.Contains(s.columns, columnTime))
	f.about.Train, f.about.Held, f.about.Test = len(f.split.Train), len(f.split.Validation), len(f.split.Test)
	return f, nil
}

// read takes all rows.
func (f *File) read(ctx context.Context, s *source, d *dataset.Dataset, ids map[string]int32) error {
	users := make(map[string]int32, len(d.Users))
	for i, id := range d.Users {
		users[id] = int32(i)
	}
	seen := map[string]bool{}
	occurs := make([]bool, len(d.Items))
	before := int64(-2) // the position of the row before
	err := s.each(ctx, func(r *row) error {
		if err := finite("state", r.state, f.width); err != nil {
			return err
		}
		if r.sequence == nil {
			return errors.New("it has no sequence; write whose state it is")
		}
		if r.position < -1 {
			return fmt.Errorf("its position is %d; positions count from 0, and -1 is the state before the first item", r.position)
		}
		f.width = len(r.state)
		p := place{item: -1, user: -1, time: r.time, begin: int32(len(f.rows))}
		switch {
		case r.position < 0 && r.item != nil:
			return fmt.Errorf("position -1 is the state before the first item, and it has the item %q; leave the item out", r.item)
		case r.position >= 0 && r.item == nil:
			return fmt.Errorf("it has no item at position %d; write the item after which the state was computed", r.position)
		case r.item != nil:
			var ok bool
			if p.item, ok = ids[string(r.item)]; !ok {
				return fmt.Errorf("the item %q is not one of the %d of data set %s; import a data set with the items that the recommender knows",
					r.item, len(d.Items), d.Name)
			}
			if !occurs[p.item] {
				occurs[p.item] = true
				f.about.Items++
			}
		}
		if r.user != nil {
			if user, ok := users[string(r.user)]; ok {
				p.user = user
				f.about.Users++
			}
		}
		if r.split != nil {
			at := slices.Index(partNames[1:], string(r.split))
			if at < 0 {
				return fmt.Errorf("its split is %q; write train, validation, test, or nothing", r.split)
			}
			p.in = part(at + 1)
		}
		if n := len(f.owners); n > 0 && f.owners[n-1].name == string(r.sequence) {
			switch {
			case r.position == before:
				return fmt.Errorf("sequence %q has position %d twice; keep one of them", r.sequence, r.position)
			case r.position < before:
				return fmt.Errorf("sequence %q goes back from position %d to %d; sort the file by sequence and position", r.sequence, before, r.position)
			case r.position == before+1:
				p.begin = f.rows[len(f.rows)-1].begin
				if p.item >= 0 {
					f.about.Pairs++
				}
			}
		} else {
			if seen[string(r.sequence)] {
				return fmt.Errorf("sequence %q goes on after rows of others; sort the file by sequence and position", r.sequence)
			}
			name := string(r.sequence)
			seen[name] = true
			f.owners = append(f.owners, owner{name: name})
		}
		if r.position < 0 {
			f.about.Before++
		}
		own := &f.owners[len(f.owners)-1]
		own.last = int32(len(f.rows))
		if own.user != string(r.user) {
			own.user = string(r.user)
		}
		before = r.position
		f.positions = max(f.positions, len(f.rows)+1-int(p.begin))
		if f.rows == nil { // room for all at once
			f.states, f.rows = make([]float32, 0, s.rows*f.width), make([]place, 0, s.rows)
		}
		f.states, f.rows = append(f.states, r.state...), append(f.rows, p)
		return nil
	})
	if err == nil && len(f.rows) == 0 {
		err = fmt.Errorf("states: %s has no rows; write one for each state", f.path)
	}
	f.latest = make(map[string]int, len(f.owners))
	for i, own := range f.owners {
		f.latest[own.name] = i
		if own.user != "" {
			f.latest[own.user] = i
		}
	}
	f.about.Rows, f.about.Sequences, f.about.Width = len(f.rows), len(f.owners), f.width
	return err
}

// readItems takes the vectors of items, of which each needs one.
func (f *File) readItems(ctx context.Context, s *source, ids map[string]int32) error {
	there := make([]bool, len(ids))
	take := func(item []byte, vector []float32) error {
		id, ok := ids[string(item)]
		if !ok {
			return nil // the table may know more items
		}
		if err := finite(columnVector, vector, f.itemWidth); err != nil {
			return err
		}
		if there[id] {
			return fmt.Errorf("the item %q has two vectors; keep one of them", item)
		}
		if f.itemWidth == 0 {
			f.itemWidth = len(vector)
			f.vectors = make([]float32, len(ids)*f.itemWidth)
		}
		there[id] = true
		copy(f.vectors[int(id)*f.itemWidth:], vector)
		return nil
	}
	if err := s.eachItem(ctx, take); err != nil {
		return err
	}
	f.about.ItemWidth = f.itemWidth
	if at := slices.Index(there, false); f.itemWidth > 0 && at >= 0 {
		for id, i := range ids {
			if int(i) == at {
				return fmt.Errorf("states: the vectors of items in %s lack the item %q; write one for each item of the data set", f.path, id)
			}
		}
	}
	return nil
}

// eachItem calls for every vector of an item.
func (s *source) eachItem(ctx context.Context, call func(item []byte, vector []float32) error) error {
	if s.tensors != nil && slices.Contains(s.columns, columnVector) {
		t, err := s.tensors.Find(columnVector)
		if err != nil {
			return err
		}
		var items []string
		err = artifact.ParseJSON([]byte(cmp.Or(s.tensors.Metadata[columnVector], "[]")), &items, artifact.KnownKeys)
		if err != nil || t.DType != "F32" || len(t.Shape) != 2 || len(items) != t.Shape[0] {
			return fmt.Errorf("states: the tensor %q of %s needs floats of shape [items, width], and the metadata under its name a JSON list of "+
				"the items' ids", columnVector, s.path)
		}
		for i, item := range items {
			if err := call([]byte(item), t.F32[i*t.Shape[1]:(i+1)*t.Shape[1]]); err != nil {
				return located(s.path, i+1, err, nil)
			}
		}
	}
	if s.items == "" {
		return nil
	}
	columns, err := s.describe(ctx, s.items)
	if err != nil {
		return err
	}
	item, err := expression(s.items, columns, columnItem)
	if err != nil {
		return err
	}
	vector, err := expression(s.items, columns, columnVector)
	if err != nil {
		return err
	}
	if item == "NULL" || vector == "NULL" {
		return fmt.Errorf("states: %s needs the columns %q and %q", s.items, columnItem, columnVector)
	}
	number := 0
	var stopped error
	err = s.db.Chunks(ctx, "SELECT "+item+", "+vector+" FROM "+duckdb.Parquet(s.items), func(chunk mapping.DataChunk) error {
		names, vectors := duckdb.NewColumn(chunk, 0), duckdb.NewColumn(chunk, 1)
		texts := duckdb.Values[duckdb.Text](names)
		inner, lists := vectors.Lists()
		values, full := duckdb.Values[float32](inner), inner.Full()
		for i := range int(mapping.DataChunkGetSize(chunk)) {
			number++
			if names.Null(i) || vectors.Null(i) || !full {
				stopped = errors.New("it has nothing where an item, a vector or a number of it should be; write all of them")
			} else {
				stopped = call(texts[i].Bytes(), values[lists[i].From:lists[i].From+lists[i].Length])
			}
			if stopped != nil {
				return stopped
			}
		}
		return nil
	})
	return located(s.items, number, stopped, err)
}

// hash is that of the content: of a folder that of its parts.
func (s *source) hash() (string, error) {
	if slices.Equal(s.parts, []string{s.path}) {
		return artifact.HashFile(s.path)
	}
	if s.items != "" {
		return HashParts(append(slices.Clip(s.parts), s.items))
	}
	return HashParts(s.parts)
}

// HashParts is the content hash of files together: that of their names and hashes.
func HashParts(parts []string) (string, error) {
	sum := sha256.New()
	for _, part := range parts {
		hash, err := artifact.HashFile(part)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %s\n", hash, filepath.Base(part))
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// divide makes the sequences of the three parts. Each is about an item with at least one before it:
// in the part that the file says, or, where it says none, by time 8:1:1 or, without times, the last
// item of each sequence to test and the one before it to validation, with at least as many items
// before it as a data set's own split needs.
func (f *File) divide(given, timed bool) {
	protocol := dataset.DefaultProtocol()
	var targets []int32
	least := protocol.MinHistory
	if given {
		least = 1
	}
	for r, p := range f.rows {
		begin := p.begin
		if f.rows[begin].item < 0 {
			begin++
		}
		if p.item >= 0 && r-int(begin) >= least && (!given || p.in != nowhere) {
			targets = append(targets, int32(r))
		}
	}
	in := func(r int32) part { return f.rows[r].in }
	f.about.SplitBy = "the column split"
	byTime := func(a, b int32) int { return cmp.Compare(f.rows[a].time, f.rows[b].time) }
	switch {
	case given:
	case timed:
		f.about.SplitBy = "time, 8:1:1"
		slices.SortStableFunc(targets, byTime)
		place := make(map[int32]int, len(targets))
		for i, r := range targets {
			place[r] = i
		}
		in = func(r int32) part {
			switch i, n := place[r], len(targets); {
			case i < n*8/10:
				return train
			case i < n*9/10:
				return validation
			}
			return test
		}
	default:
		f.about.SplitBy = "the last item of each sequence, and the one before it"
		ends := map[int32]part{}
		for _, own := range f.owners {
			ends[own.last], ends[own.last-1] = test, max(ends[own.last-1], validation)
		}
		in = func(r int32) part { return max(ends[r], train) }
	}
	slices.SortStableFunc(targets, byTime)
	for _, r := range targets {
		p := f.rows[r]
		s := dataset.Sequence{User: p.user, Next: p.item, Time: p.time, Row: r}
		first := max(p.begin, r-int32(protocol.MaxHistory))
		if f.rows[first].item < 0 {
			first++
		}
		for at := first; at < r; at++ {
			s.History = append(s.History, f.rows[at].item)
		}
		to := map[part]*[]dataset.Sequence{train: &f.split.Train, validation: &f.split.Validation, test: &f.split.Test}[in(r)]
		*to = append(*to, s)
	}
}

// Split gives the sequences that can be asked about, or says why a part has none.
func (f *File) Split() (dataset.Split, error) {
	if !f.about.trains() {
		return dataset.Split{}, fmt.Errorf("states: %s gives %d items to train, %d to validate and %d to test, by %s; each needs one with the "+
			"states before and after it", f.path, f.about.Train, f.about.Held, f.about.Test, f.about.SplitBy)
	}
	return f.split, nil
}

// trains says whether each part has something that can be asked about.
func (s Summary) trains() bool { return min(s.Train, s.Held, s.Test) > 0 }

// Summary says what the file holds.
func (f *File) Summary() Summary { return f.about }

// Latest gives the history of all items of a sequence, or of a user's last one, as the methods take
// it.
func (f *File) Latest(name string) ([]int32, bool) {
	i, ok := f.latest[name]
	if !ok {
		return nil, false
	}
	var past []int32
	for own, r := f.owners[i], f.rows[f.owners[i].last].begin; r <= own.last; r++ {
		if f.rows[r].item >= 0 {
			past = append(past, -1-r)
		}
	}
	return past, true
}

// ItemsOf gives the items of a history.
func (f *File) ItemsOf(past []int32) []int32 {
	items := make([]int32, len(past))
	for i, x := range past {
		items[i] = f.rows[-1-x].item
	}
	return items
}

// Past is Source.Past.
func (f *File) Past(s dataset.Sequence, next bool) []int32 { return s.Rows(next) }

// TrainedOn is Source.TrainedOn. A file that does not say which data set it belongs to knows items
// by their ids.
func (f *File) TrainedOn(d *dataset.Dataset) error {
	if hash := d.Hash(); f.said.Dataset != "" && f.said.Dataset != hash {
		return &artifact.Mismatch{What: "file of states", On: "data set", Want: f.said.Dataset, Got: hash}
	}
	return nil
}

// Hash is Source.Hash.
func (f *File) Hash() string { return f.hash }

// Close does nothing.
func (f *File) Close() error { return nil }

// StateWidth is W, the numbers in a state.
func (f *File) StateWidth() int { return f.width }

// ItemWidth is D, the numbers in an item's vector; 0 where the file has none.
func (f *File) ItemWidth() int { return f.itemWidth }

// Positions is T, the items of a history that count.
func (f *File) Positions() int { return f.positions }

// row gives the row of one element of a history.
func (f *File) row(of int32) (int, error) {
	if r := -1 - int(of); r >= 0 && r < len(f.rows) {
		return r, nil
	}
	return 0, ErrUnknownHistory
}

// States is Encoder.States.
func (f *File) States(_ context.Context, dst []float32, histories [][]int32) error {
	for i, history := range histories {
		r, err := f.row(history[len(history)-1])
		if err != nil {
			return err
		}
		copy(dst[i*f.width:], f.states[r*f.width:(r+1)*f.width])
	}
	return nil
}

// AllStates is Encoder.AllStates.
func (f *File) AllStates(ctx context.Context, dst []float32, histories [][]int32) error {
	each := f.positions * f.width
	for i, history := range histories {
		own := dst[i*each : (i+1)*each]
		history = history[max(0, len(history)-f.positions):]
		for at := range history {
			if err := f.States(ctx, own[at*f.width:], [][]int32{history[:at+1]}); err != nil {
				return err
			}
		}
		clear(own[len(history)*f.width:])
	}
	return nil
}

// Items is Encoder.Items.
func (f *File) Items(_ context.Context, dst []float32, histories [][]int32) error {
	if f.itemWidth == 0 {
		return fmt.Errorf("states: %s has no vectors of items; put them beside its parts as %s, with the columns %q and %q", f.path, itemsFile,
			columnItem, columnVector)
	}
	for i, history := range histories {
		r, err := f.row(history[len(history)-1])
		if err != nil {
			return err
		}
		item := int(f.rows[r].item)
		copy(dst[i*f.itemWidth:(i+1)*f.itemWidth], f.vectors[item*f.itemWidth:])
	}
	return nil
}

var _ adapter.Source = (*File)(nil)

// Write writes what a file holds in words.
func (s Summary) Write(w io.Writer) error {
	pairs := "no before/after pairs can be formed: no row follows another one without a gap"
	if s.Pairs > 0 {
		pairs = fmt.Sprintf("%d items with the states before and after them", s.Pairs)
	}
	items := "no vectors of items"
	if s.ItemWidth > 0 {
		items = fmt.Sprintf("vectors of items of %d numbers", s.ItemWidth)
	}
	missing := "no optional column is missing"
	if len(s.Missing) > 0 {
		missing = fmt.Sprintf("missing, which is allowed: %q", s.Missing)
	}
	parts := ""
	if !s.trains() {
		parts = "no adapter can be trained on this file alone: each part needs an item with the states before and after it\n"
	}
	_, err := fmt.Fprintf(w, "%d states of %d numbers in %d sequences, about %d items\n%s; %d states before a first item\n%d rows have a user of "+
		"the data set; %s; %s\nby %s: %d to train, %d to validate, %d to test\n%s", s.Rows, s.Width, s.Sequences, s.Items, pairs, s.Before, s.Users,
		items, missing, s.SplitBy, s.Train, s.Held, s.Test, parts)
	return err
}
