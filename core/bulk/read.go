package bulk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// open opens the input.
func (w *worker) open() (reader, error) {
	if w.In == Standard {
		return &lines{in: bufio.NewReaderSize(w.Input, 1<<20), slots: w.slots}, nil
	}
	file, err := os.Open(w.In)
	if err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, errors.Join(err, fmt.Errorf("bulk: %s is no file; give Parquet or JSON lines, or - for standard input", w.In))
	}
	magic := make([]byte, 4)
	if _, err := io.ReadFull(file, magic); err == nil && string(magic) == "PAR1" {
		file.Close()
		return openParquet(w.In, w.slots)
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

func (l *lines) read(_ context.Context, each func(record) error) error {
	for row := int64(1); ; row++ {
		var line []byte
		length := 0
		var err error
		for {
			var part []byte
			part, err = l.in.ReadSlice('\n')
			if length += len(part); length <= longest {
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
		r.problem = errors.New("the line is no JSON object")
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
			r.problem = fmt.Errorf("its %q is no list of numbers", name)
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

// parquet reads a Parquet file: of rows of an input, or of a file of states, where each row is asked about with the row before it.
type parquet struct {
	path  string
	slots []string
	db    *duckdb.Database
	rows  int64

	names, expressions []string
	numeric            bool // ids are whole numbers
	statesFile         bool
	before             struct {
		sequence string
		position int64
		state    []float32
	}
}

func openParquet(path string, slots []string) (_ *parquet, err error) {
	p := &parquet{path: path, slots: slots}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.db, err = duckdb.Open(); err != nil {
		return nil, err
	}
	ctx := context.Background()
	kinds := map[string]string{}
	var there []string
	fields, err := p.db.Fields(ctx, duckdb.Parquet(path))
	if err == nil {
		p.rows, err = p.db.Count(ctx, duckdb.Parquet(path))
	}
	if err != nil {
		return nil, fmt.Errorf("bulk: %s cannot be read as Parquet: %w", path, err)
	}
	for _, f := range fields {
		there = append(there, f.Name)
		kinds[f.Name] = f.Type
	}
	types := map[string]string{"id": "VARCHAR", "user": "VARCHAR", "history": "VARCHAR[]", "states": "FLOAT[][]"}
	wanted := append([]string{"id", "user", "history", "states"}, slots...)
	asks := func(name string) bool { return name != "id" && slices.Contains(there, name) }
	if has := slices.Contains(there, "sequence") && slices.Contains(there, "position") && slices.Contains(there, "state"); has &&
		!slices.ContainsFunc([]string{"history", "states", "before", "after"}, asks) {
		p.statesFile = true
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

func (p *parquet) read(ctx context.Context, each func(record) error) error {
	row := int64(0)
	var stopped error
	err := p.db.Chunks(ctx, "SELECT "+strings.Join(p.expressions, ", ")+" FROM "+duckdb.Parquet(p.path), func(chunk mapping.DataChunk) error {
		for i := range int(mapping.DataChunkGetSize(chunk)) {
			row++
			r := p.record(chunk, i)
			r.row = row
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
	var position int64
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
			if !p.statesFile {
				r.states = append(r.states, state)
			}
		}
	}
	if !p.statesFile {
		return one(r)
	}
	for _, slot := range p.slots {
		switch {
		case slot != "before":
			r.states = append(r.states, state)
		case r.problem != nil:
		case p.before.state == nil || p.before.sequence != sequence || p.before.position != position-1:
			r.problem = fmt.Errorf("no row before it has position %d of its sequence, and the prompt shows the state before the item", position-1)
		default:
			r.states = append(r.states, p.before.state)
		}
	}
	if state == nil && r.problem == nil {
		r.problem = errors.New("it has no state")
	}
	p.before.sequence, p.before.position, p.before.state = sequence, position, state
	return r
}

// floats copies a row's numbers.
func floats(column duckdb.Column, row int, name string, problem *error) []float32 {
	values, lists := column.Lists()
	from, to := lists[row].From, lists[row].From+lists[row].Length
	for k := from; k < to; k++ {
		if values.Null(int(k)) {
			*problem = fmt.Errorf("value %d of its %s is null or no number", k-from, name)
			return nil
		}
	}
	return slices.Clone(duckdb.Values[float32](values)[from:to])
}
