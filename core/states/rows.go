package states

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

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// row is one state as a file has it. Its texts and numbers are borrowed until the next one.
type row struct {
	sequence, item, split, user []byte // nil: nothing
	position, time              int64
	timed                       bool // there is a time
	state                       []float32
}

// Columns of a file of states.
const (
	columnSequence = "sequence"
	columnPosition = "position"
	columnItem     = "item"
	columnState    = "state"
	columnSplit    = "split"
	columnUser     = "user"
	columnTime     = "time"
	columnVector   = "vector" // of the table of items
)

var (
	required = []string{columnSequence, columnPosition, columnItem, columnState}
	optional = []string{columnSplit, columnUser, columnTime}
)

// itemsFile is the part of a folder that holds the vectors of items.
const itemsFile = "items.parquet"

// metadata is what a file may say of itself under these keys.
type metadata struct {
	Dataset   string // content hash of the data set that the states were computed from
	Positions string // the most items of a history that count
}

func (m *metadata) keys() map[string]*string {
	return map[string]*string{"recint.dataset": &m.Dataset, "recint.positions": &m.Positions}
}

// source is a file of states before it is read.
type source struct {
	path    string
	parts   []string // that hold states, in order
	items   string   // that holds the vectors of items; "" where none does
	columns []string // that there are
	said    metadata
	db      *duckdb.Database // nil for safetensors
	tensors *artifact.File   // nil for Parquet
	rows    int              // of all parts
}

// open finds the parts of a path and the columns in them.
func open(ctx context.Context, path string) (_ *source, err error) {
	s := &source{path: path, parts: []string{path}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("states: there is no %s; give a Parquet file, a folder of them or safetensors", path)
	}
	if err != nil {
		return nil, fmt.Errorf("states: %w", err)
	}
	if strings.HasSuffix(path, ".safetensors") {
		return s, s.openTensors()
	}
	if info.IsDir() {
		if s.parts, s.items, err = Parts(path); err != nil {
			return nil, err
		}
	}
	if s.db, err = duckdb.Open(); err != nil {
		return nil, err
	}
	return s, s.openParquet(ctx)
}

// Parts finds the parts of a folder, in the order of their names, and the table of items; "" where
// there is none.
func Parts(dir string) (parts []string, items string, err error) {
	parts, err = filepath.Glob(filepath.Join(strings.NewReplacer("*", "\\*", "?", "\\?", "[", "\\[").Replace(dir), "*.parquet"))
	if err != nil {
		return nil, "", fmt.Errorf("states: %w", err)
	}
	if at := slices.Index(parts, filepath.Join(dir, itemsFile)); at >= 0 {
		items = parts[at]
		parts = slices.Delete(parts, at, at+1)
	}
	if len(parts) == 0 {
		return nil, "", fmt.Errorf("states: the folder %s holds no parts; name the files PART.parquet", dir)
	}
	return parts, items, nil
}

func (s *source) close() {
	if s.db != nil {
		s.db.Close()
	}
}

// needs refuses columns that are not enough, of a file that has some others.
func (s *source) needs(part string) error {
	for _, name := range required {
		if !slices.Contains(s.columns, name) {
			return fmt.Errorf("states: %s has no column %q; it has %s, and states need %s", part, name, strings.Join(s.columns, ", "),
				strings.Join(required, ", "))
		}
	}
	return nil
}

// describe gives the columns of a Parquet file.
func (s *source) describe(ctx context.Context, part string) ([]duckdb.Field, error) {
	columns, err := s.db.Fields(ctx, duckdb.Parquet(part))
	if err != nil {
		return nil, fmt.Errorf("states: %s cannot be read as Parquet; give a Parquet file, a folder of them or safetensors: %w", part, err)
	}
	return columns, nil
}

// expression gives the SQL that reads a column of a part, or refuses its type.
func expression(part string, columns []duckdb.Field, name string) (string, error) {
	at := slices.IndexFunc(columns, func(c duckdb.Field) bool { return c.Name == name })
	if at < 0 {
		return "NULL", nil
	}
	kind := columns[at].Type
	is := func(kinds ...string) bool { return slices.Contains(kinds, kind) }
	whole := is("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
	quoted := `"` + name + `"`
	wants := ""
	switch name {
	case columnState, columnVector:
		if base, _, list := strings.Cut(kind, "["); list && slices.Contains([]string{"FLOAT", "DOUBLE"}, base) && strings.Count(kind, "[") == 1 {
			if kind == "FLOAT[]" {
				return quoted, nil
			}
			return "CAST(" + quoted + " AS FLOAT[])", nil
		}
		wants = "lists of floats"
	case columnPosition:
		if whole {
			return "CAST(" + quoted + " AS BIGINT)", nil
		}
		wants = "whole numbers"
	case columnTime:
		if whole {
			return "CAST(" + quoted + " AS BIGINT)", nil
		}
		if strings.HasPrefix(kind, "TIMESTAMP") || is("DATE") {
			return "epoch_us(CAST(" + quoted + " AS TIMESTAMP))", nil
		}
		wants = "whole numbers or timestamps"
	default:
		if whole || is("VARCHAR") || strings.HasPrefix(kind, "ENUM") {
			return "CAST(" + quoted + " AS VARCHAR)", nil
		}
		wants = "texts or whole numbers"
	}
	return "", fmt.Errorf("states: the column %q of %s is of the type %s; write it as %s", name, part, kind, wants)
}

// openParquet checks the columns of all parts and reads what they say of themselves.
func (s *source) openParquet(ctx context.Context) error {
	for i, part := range s.parts {
		columns, err := s.describe(ctx, part)
		if err != nil {
			return err
		}
		n, err := s.db.Count(ctx, duckdb.Parquet(part))
		if err != nil {
			return fmt.Errorf("states: %s cannot be read as Parquet; write it again: %w", part, err)
		}
		s.rows += int(n)
		var names []string
		for _, c := range columns {
			names = append(names, c.Name)
		}
		if i > 0 {
			for _, name := range slices.Concat(required, optional) {
				if slices.Contains(names, name) != slices.Contains(s.columns, name) {
					return fmt.Errorf("states: %s and %s differ in whether they have the column %q; give all parts the same columns", s.parts[0], part, name)
				}
			}
			continue
		}
		s.columns = names
		if err := s.needs(part); err != nil {
			return err
		}
		for key, to := range s.said.keys() {
			query := "SELECT decode(value) FROM parquet_kv_metadata(" + duckdb.Path(part) + ") WHERE key = encode(" + duckdb.Quote(key) + ")"
			if err := s.db.Query(ctx, query, func(fields [][]byte) error {
				*to = string(fields[0])
				return nil
			}); err != nil {
				return fmt.Errorf("states: the metadata of %s: %w", part, err)
			}
		}
	}
	return nil
}

// each calls for every row, in order. Its error is told with the row's place.
func (s *source) each(ctx context.Context, call func(*row) error) error {
	if s.tensors != nil {
		return s.eachTensor(call)
	}
	for _, part := range s.parts {
		if err := s.eachParquet(ctx, part, call); err != nil {
			return err
		}
	}
	return nil
}

// eachParquet reads a part.
func (s *source) eachParquet(ctx context.Context, part string, call func(*row) error) error {
	columns, err := s.describe(ctx, part)
	if err != nil {
		return err
	}
	var expressions []string
	for _, name := range slices.Concat(required, optional) {
		e, err := expression(part, columns, name)
		if err != nil {
			return err
		}
		expressions = append(expressions, e)
	}
	number := 0
	var stopped error
	err = s.db.Chunks(ctx, "SELECT "+strings.Join(expressions, ", ")+" FROM "+duckdb.Parquet(part), func(chunk mapping.DataChunk) error {
		var at [7]duckdb.Column
		for c := range at {
			at[c] = duckdb.NewColumn(chunk, c)
		}
		text := func(c int) func(row int) []byte {
			if slices.Contains(expressions[c:c+1], "NULL") {
				return func(int) []byte { return nil }
			}
			values := duckdb.Values[duckdb.Text](at[c])
			return func(row int) []byte {
				if at[c].Null(row) {
					return nil
				}
				return values[row].Bytes()
			}
		}
		sequence, item, split, user := text(0), text(2), text(4), text(5)
		positions := duckdb.Values[int64](at[1])
		var times []int64
		if expressions[6] != "NULL" {
			times = duckdb.Values[int64](at[6])
		}
		inner, lists := at[3].Lists()
		values, full := duckdb.Values[float32](inner), inner.Full()
		for i := range int(mapping.DataChunkGetSize(chunk)) {
			number++
			r := row{sequence: sequence(i), position: positions[i], item: item(i), split: split(i), user: user(i)}
			if times != nil && !at[6].Null(i) {
				r.time, r.timed = times[i], true
			}
			from, to := lists[i].From, lists[i].From+lists[i].Length
			switch {
			case at[1].Null(i):
				stopped = errors.New("it has no position; number the items of each sequence from 0")
			case !at[3].Null(i):
				r.state = values[from:to]
				for k := from; !full && k < to; k++ {
					if inner.Null(int(k)) {
						stopped = fmt.Errorf("value %d of its state is null; write a number", k-from)
					}
				}
			}
			if stopped == nil {
				stopped = call(&r)
			}
			if stopped != nil {
				return stopped
			}
		}
		return nil
	})
	return located(part, number, stopped, err)
}

// located tells where an error of the caller was met, or that the file cannot be read.
func located(part string, number int, stopped, err error) error {
	switch {
	case stopped != nil:
		return fmt.Errorf("states: %s, row %d: %w", part, number, stopped)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case err != nil:
		return fmt.Errorf("states: %s cannot be read: %w", part, err)
	}
	return nil
}

// openTensors reads safetensors. Each column is a tensor with a value for each row. Of a column of
// texts the values are whole numbers: places in the JSON list of texts that the metadata has under
// the column's name, or, without a list, ids themselves; below 0 stands for nothing.
func (s *source) openTensors() (err error) {
	if s.tensors, err = artifact.ReadSafetensors(s.path); err != nil {
		return err
	}
	for _, t := range s.tensors.Tensors {
		s.columns = append(s.columns, t.Name)
	}
	for key, to := range s.said.keys() {
		*to = s.tensors.Metadata[key]
	}
	return s.needs(s.path)
}

func (s *source) eachTensor(call func(*row) error) error {
	state, err := s.tensors.Find(columnState)
	if err != nil {
		return err
	}
	if state.DType != "F32" || len(state.Shape) != 2 {
		return fmt.Errorf("states: the tensor %q of %s holds %s of shape %v; write floats of shape [rows, width]", columnState, s.path, state.DType,
			state.Shape)
	}
	n, width := state.Shape[0], state.Shape[1]
	numbers := map[string][]int64{}
	texts := map[string][]string{}
	for _, name := range []string{columnSequence, columnPosition, columnItem, columnSplit, columnUser, columnTime} {
		if !slices.Contains(s.columns, name) {
			continue
		}
		t, err := s.tensors.Find(name)
		if err != nil {
			return err
		}
		numbers[name] = t.I64
		for _, x := range t.I32 {
			numbers[name] = append(numbers[name], int64(x))
		}
		if len(t.Shape) != 1 || t.Shape[0] != n || len(numbers[name]) != n {
			return fmt.Errorf("states: the tensor %q of %s holds %s of shape %v; write %d whole numbers, one for each state", name, s.path, t.DType, t.Shape, n)
		}
		if list, ok := s.tensors.Metadata[name]; ok {
			var of []string
			if err := artifact.ParseJSON([]byte(list), &of, artifact.KnownKeys); err != nil {
				return fmt.Errorf("states: the metadata %q of %s must be a JSON list of texts: %w", name, s.path, err)
			}
			texts[name] = of
		}
	}
	text := func(name string, i int) ([]byte, error) {
		of, ok := numbers[name]
		if !ok || of[i] < 0 {
			return nil, nil
		}
		list, ok := texts[name]
		if !ok {
			return strconv.AppendInt(nil, of[i], 10), nil
		}
		if of[i] >= int64(len(list)) {
			return nil, fmt.Errorf("its %s is text number %d, and the metadata lists %d; correct either", name, of[i], len(list))
		}
		return []byte(list[of[i]]), nil
	}
	for i := range n {
		r := row{position: numbers[columnPosition][i], state: state.F32[i*width : (i+1)*width]}
		for name, to := range map[string]*[]byte{columnSequence: &r.sequence, columnItem: &r.item, columnSplit: &r.split, columnUser: &r.user} {
			if *to, err = text(name, i); err != nil {
				break
			}
		}
		if times := numbers[columnTime]; times != nil && times[i] >= 0 {
			r.time, r.timed = times[i], true
		}
		if err == nil {
			err = call(&r)
		}
		if err != nil {
			return located(s.path, i+1, err, nil)
		}
	}
	return nil
}

// finite says what is wrong with a vector, of which width numbers are expected; 0: any.
func finite(what string, vector []float32, width int) error {
	switch {
	case len(vector) == 0:
		return fmt.Errorf("it has no %s; write one, or leave the row out", what)
	case width > 0 && len(vector) != width:
		return fmt.Errorf("its %s has %d numbers, and the first row's has %d; give all the same width", what, len(vector), width)
	}
	const special = 0x7f800000 // the exponent of NaN and the infinities
	for i, x := range vector {
		if math.Float32bits(x)&special == special {
			return fmt.Errorf("value %d of its %s is NaN or infinite; write finite numbers, or leave the row out", i, what)
		}
	}
	return nil
}
