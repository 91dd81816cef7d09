package bulk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/states"
)

// open opens the input.
func (w *worker) open() (reader, error) {
	if w.In == Standard {
		return &lines{in: bufio.NewReaderSize(w.Input, 1<<20), slots: w.slots}, nil
	}
	info, err := os.Stat(w.In)
	if err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	if info.IsDir() {
		if w.parts, _, err = states.Parts(w.In); err != nil {
			return nil, err
		}
		return openParquet(w.In, w.parts, w.slots)
	}
	if strings.HasSuffix(w.In, ".safetensors") {
		return openTensors(w.In, w.slots)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("bulk: %s is no file; give Parquet, a folder of parts, safetensors or JSON lines, or - for standard input", w.In)
	}
	file, err := os.Open(w.In)
	if err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	magic := make([]byte, 4)
	if _, err := io.ReadFull(file, magic); err == nil && string(magic) == "PAR1" {
		file.Close()
		return openParquet(w.In, []string{w.In}, w.slots)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		file.Close()
		return nil, fmt.Errorf("bulk: %w", err)
	}
	return &lines{in: bufio.NewReaderSize(file, 1<<20), file: file, size: info.Size(), slots: w.slots}, nil
}

// lines reads JSON lines.
type lines struct {
	in    *bufio.Reader
	file  *os.File // nil: standard input
	size  int64    // of the file
	at    int64    // bytes read
	slots []string
}

func (l *lines) close() {
	if l.file != nil {
		l.file.Close()
	}
}

func (l *lines) total(done int64) int64 {
	if l.at == 0 {
		return 0
	}
	return max(done, int64(float64(done)*float64(l.size)/float64(l.at)))
}

// longest is the most bytes of a line.
const longest = 64 << 20

func (l *lines) count() (rows int64, err error) {
	err = l.read(context.Background(), 1, func(r record) error {
		rows = r.row
		return nil
	})
	return rows, err
}

func (l *lines) read(_ context.Context, from int64, each func(record) error) error {
	for row := int64(1); ; row++ {
		var line []byte
		length := 0
		var err error
		for {
			var part []byte
			part, err = l.in.ReadSlice('\n')
			if length += len(part); length <= longest && row >= from {
				line = append(line, part...)
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				break
			}
		}
		l.at += int64(length)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("bulk: row %d cannot be read: %w", row, err)
		}
		if err != nil && len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		if row < from {
			continue
		}
		var r record
		if length > longest {
			r.problem = fmt.Errorf("the line has %d bytes; at most %d are read", length, longest)
		} else {
			r = l.parse(line)
		}
		r.row = row
		if err := each(r); err != nil {
			return err
		}
		if err != nil {
			return nil
		}
	}
}

// parse reads a line, before which a byte-order mark may stand, as where files were joined.
func (l *lines) parse(line []byte) (r record) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(bytes.TrimPrefix(line, []byte("\ufeff")), &fields); err != nil {
		r.problem = errors.New("the line is no JSON object; write one, with finite numbers")
		return r
	}
	for key, value := range fields {
		if string(value) == "null" {
			delete(fields, key)
		}
	}
	r.id = fields["id"]
	if user, ok := fields["user"]; ok {
		if r.user, ok = idOf(user); !ok {
			r.problem = errors.New("its user is neither a text nor a whole number")
		}
	}
	if history, ok := fields["history"]; ok {
		var ids []json.RawMessage
		r.history = []string{}
		err := json.Unmarshal(history, &ids)
		for _, one := range ids {
			id, ok := idOf(one)
			if !ok {
				err = errors.New("not an id")
			}
			r.history = append(r.history, id)
		}
		if err != nil {
			r.problem = errors.New("its history is no list of ids, which are texts or whole numbers")
		}
	}
	numbers := func(name string, to any) bool {
		text, ok := fields[name]
		if !ok {
			return false
		}
		if err := json.Unmarshal(text, to); err != nil || bytes.Contains(text, []byte("null")) {
			r.problem = fmt.Errorf("its %q is no list of finite numbers; write one", name)
		}
		return true
	}
	if !numbers("states", &r.states) {
		for _, slot := range l.slots {
			var state []float32
			if numbers(slot, &state) {
				r.states = append(r.states, state)
			}
		}
	}
	return one(r)
}

// one checks that a row gives states beside nothing else.
func one(r record) record {
	if r.problem == nil && r.states != nil && (r.user != "" || r.history != nil) {
		r.problem = errors.New("it has states beside a user or a history; give one of them")
	}
	return r
}

// idOf reads a text or a whole number.
func idOf(value json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text, true
	}
	_, err := strconv.ParseInt(string(value), 10, 64)
	return string(value), err == nil
}

// pairs makes rows of a file of states, of which each is asked about with the row before it.
type pairs struct {
	slots  []string
	before struct {
		sequence string
		position int64
		state    []float32
	}
}

// nowhere is the position of a row that has none.
const nowhere = math.MinInt64

// of completes a row with the states that the prompt shows.
func (p *pairs) of(r record, sequence string, position int64, state []float32) record {
	b := &p.before
	if position == nowhere && r.problem == nil {
		r.problem = errors.New("it has no position; number the items of each sequence from 0")
	}
	same := b.state != nil && b.sequence == sequence
	for _, slot := range p.slots {
		switch {
		case slot != prompt.SlotBefore:
			r.states = append(r.states, state)
		case r.problem != nil:
		case same && b.position == position:
			r.problem = fmt.Errorf("sequence %q has position %d twice; keep one of them", sequence, position)
		case same && b.position > position:
			r.problem = fmt.Errorf("sequence %q goes back from position %d to %d; sort the rows by sequence and position", sequence, b.position, position)
		case !same || b.position != position-1:
			r.problem = fmt.Errorf("no row before it has position %d of its sequence, and the prompt shows the state before the item", position-1)
		default:
			r.states = append(r.states, b.state)
		}
	}
	if state == nil && r.problem == nil {
		r.problem = errors.New("it has no state; write one")
	}
	b.sequence, b.position, b.state = sequence, position, state
	return r
}

// tensors reads safetensors: a file of states, or a tensor [rows, width] for each slot of the
// prompt.
type tensors struct {
	rows      int
	states    []artifact.Tensor // for each slot, or the one of a file of states
	sequences []int32           // of a file of states
	positions []int32
	pairs     *pairs // nil: no file of states
}

func openTensors(path string, slots []string) (*tensors, error) {
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		return nil, err
	}
	t := &tensors{}
	names := slots
	if !slices.ContainsFunc(slots, func(slot string) bool { _, err := file.Find(slot); return err == nil }) || len(slots) == 1 {
		if t.sequences, err = file.Int32("sequence"); err == nil {
			t.positions, err = file.Int32("position")
		}
		if err == nil {
			names, t.pairs = []string{prompt.SlotState}, &pairs{slots: slots}
		}
	}
	for _, name := range names {
		state, err := file.Find(name)
		if err != nil || state.DType != "F32" || len(state.Shape) != 2 || len(t.states) > 0 && state.Shape[0] != t.rows {
			return nil, fmt.Errorf("bulk: %s has no floats %q of shape [rows, width]; write a file of states, or a tensor for each slot of the prompt, %s", path,
				name, strings.Join(slots, " and "))
		}
		t.rows, t.states = state.Shape[0], append(t.states, *state)
	}
	if t.pairs != nil && (len(t.sequences) != t.rows || len(t.positions) != t.rows) {
		return nil, fmt.Errorf("bulk: the tensors of %s differ in their number of rows: %d states, %d sequences, %d positions", path, t.rows, len(t.sequences),
			len(t.positions))
	}
	return t, nil
}

func (t *tensors) close() {}

func (t *tensors) total(int64) int64 { return int64(t.rows) }

func (t *tensors) count() (int64, error) { return int64(t.rows), nil }

func (t *tensors) read(_ context.Context, from int64, each func(record) error) error {
	for i := max(0, int(from)-2); i < t.rows; i++ { // a pair needs the row before
		r := record{row: int64(i + 1)}
		for _, s := range t.states {
			width := s.Shape[1]
			r.states = append(r.states, s.F32[i*width:(i+1)*width])
		}
		if t.pairs != nil {
			state := r.states[0]
			r.states = nil
			r = t.pairs.of(r, strconv.Itoa(int(t.sequences[i])), int64(t.positions[i]), state)
		}
		if r.row < from {
			continue
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

// parquet reads Parquet files: of rows of an input, or of a file of states.
type parquet struct {
	path     string
	relation string
	slots    []string
	db       *duckdb.Database
	rows     int64

	names, expressions []string
	numeric            bool   // ids are whole numbers
	pairs              *pairs // nil: no file of states
}

func openParquet(path string, parts, slots []string) (_ *parquet, err error) {
	p := &parquet{path: path, relation: duckdb.Parquet(parts...), slots: slots}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.db, err = duckdb.Open(); err != nil {
		return nil, err
	}
	ctx := context.Background()
	if err := p.db.Run(ctx, "SET threads = 1"); err != nil { // each thread reads a row group, which takes memory
		return nil, err
	}
	kinds := map[string]string{}
	var there []string
	fields, err := p.db.Fields(ctx, p.relation)
	if err == nil {
		p.rows, err = p.db.Count(ctx, p.relation)
	}
	if err != nil {
		return nil, fmt.Errorf("bulk: %s cannot be read as Parquet; write it again: %w", path, err)
	}
	for _, f := range fields {
		there = append(there, f.Name)
		kinds[f.Name] = f.Type
	}
	types := map[string]string{"id": "VARCHAR", "user": "VARCHAR", "history": "VARCHAR[]", "states": "FLOAT[][]"}
	wanted := append([]string{"id", "user", "history", "states"}, slots...)
	asks := func(name string) bool { return name != "id" && slices.Contains(there, name) }
	ofStates := []string{"sequence", "position", "state"}
	lacking := slices.DeleteFunc(slices.Clone(ofStates), func(name string) bool { return slices.Contains(there, name) })
	plain := slices.ContainsFunc([]string{"history", "states", "before", "after"}, asks)
	if len(lacking) == 1 && !plain && !slices.Contains(slots, prompt.SlotState) {
		return nil, fmt.Errorf("bulk: %s has the columns %s; a file of states needs %s too: write it, or leave the other columns of states out",
			path, strings.Join(there, ", "), lacking[0])
	}
	if len(lacking) == 0 && !plain {
		p.pairs = &pairs{slots: slots}
		types["sequence"], types["position"], types["state"] = "VARCHAR", "BIGINT", "FLOAT[]"
		wanted = []string{"id", "sequence", "position", "state"}
	} else if !slices.ContainsFunc(wanted, asks) {
		return nil, fmt.Errorf("bulk: %s has the columns %s; write history, user or states, or the slots of the prompt, %s", path, strings.Join(there, ", "),
			strings.Join(slots, " and "))
	}
	for _, name := range wanted {
		kind, ok := kinds[name]
		if !ok {
			continue
		}
		as := types[name]
		if as == "" {
			as = "FLOAT[]"
		}
		if strings.Count(kind, "[") != strings.Count(as, "[") {
			return nil, fmt.Errorf("bulk: the column %q of %s is of the type %s; write it as %s", name, path, kind, as)
		}
		if name == "id" {
			p.numeric = strings.HasSuffix(kind, "INT") || strings.HasSuffix(kind, "INTEGER")
		}
		p.names, p.expressions = append(p.names, name), append(p.expressions, `TRY_CAST("`+name+`" AS `+as+")")
	}
	return p, nil
}

func (p *parquet) close() {
	if p.db != nil {
		p.db.Close()
	}
}

func (p *parquet) total(int64) int64 { return p.rows }

func (p *parquet) count() (int64, error) { return p.rows, nil }

func (p *parquet) read(ctx context.Context, from int64, each func(record) error) error {
	row := max(0, from-2) // a pair needs the row before
	var stopped error
	query := fmt.Sprintf("SELECT %s FROM %s OFFSET %d", strings.Join(p.expressions, ", "), p.relation, row)
	err := p.db.Chunks(ctx, query, func(chunk mapping.DataChunk) error {
		for i := range int(mapping.DataChunkGetSize(chunk)) {
			row++
			r := p.record(chunk, i)
			if r.row = row; row < from {
				continue
			}
			if stopped = each(r); stopped != nil {
				return stopped
			}
		}
		return nil
	})
	if stopped == nil && err != nil && ctx.Err() == nil {
		return fmt.Errorf("bulk: %s cannot be read after row %d: %w", p.path, row, err)
	}
	return errors.Join(stopped, ctx.Err())
}

// record reads a row of a chunk. What it holds is copied.
func (p *parquet) record(chunk mapping.DataChunk, row int) (r record) {
	var sequence string
	position := int64(nowhere)
	var state []float32
	for c, name := range p.names {
		column := duckdb.NewColumn(chunk, c)
		if column.Null(row) {
			continue
		}
		text := func() string { return string(duckdb.Values[duckdb.Text](column)[row].Bytes()) }
		switch name {
		case "id":
			r.id = json.RawMessage(text())
			if !p.numeric {
				r.id, _ = json.Marshal(string(r.id))
			}
		case "user":
			r.user = text()
		case "history":
			values, lists := column.Lists()
			texts := duckdb.Values[duckdb.Text](values)
			r.history = []string{}
			for k := lists[row].From; k < lists[row].From+lists[row].Length; k++ {
				if values.Null(int(k)) {
					r.problem = errors.New("an item of its history is null")
					break
				}
				r.history = append(r.history, string(texts[k].Bytes()))
			}
		case "sequence":
			sequence = text()
		case "position":
			position = duckdb.Values[int64](column)[row]
		case "states":
			vectors, lists := column.Lists()
			for k := lists[row].From; k < lists[row].From+lists[row].Length; k++ {
				r.states = append(r.states, floats(vectors, int(k), name, &r.problem))
			}
		default:
			state = floats(column, row, name, &r.problem)
			if p.pairs == nil {
				r.states = append(r.states, state)
			}
		}
	}
	if p.pairs == nil {
		return one(r)
	}
	return p.pairs.of(r, sequence, position, state)
}

// floats copies a row's numbers.
func floats(column duckdb.Column, row int, name string, problem *error) []float32 {
	values, lists := column.Lists()
	from, to := lists[row].From, lists[row].From+lists[row].Length
	for k := from; k < to; k++ {
		if values.Null(int(k)) {
			*problem = fmt.Errorf("value %d of its %s is null or no number; write a number", k-from, name)
			return nil
		}
	}
	return slices.Clone(duckdb.Values[float32](values)[from:to])
}
