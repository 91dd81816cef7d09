// Package duckdb reads and writes Parquet files and answers queries with an embedded DuckDB of
// bounded memory.
package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings" // which mapping re-exports, but for results that come as a stream
	"github.com/duckdb/duckdb-go/v2/mapping"
)

// Database is a DuckDB in memory. It is not safe for concurrent use.
type Database struct {
	db   mapping.Database
	conn mapping.Connection
	temp string // folder for what does not fit into memory
}

// Open starts a DuckDB whose memory is bounded and that loads and fetches no extensions. What does
// not fit into memory goes to a temporary folder, which Close removes.
func Open() (_ *Database, err error) {
	const memory = "512MiB"
	temp, err := os.MkdirTemp("", "recint-duckdb-")
	if err != nil {
		return nil, fmt.Errorf("duckdb: cannot make a folder for temporary files: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
		}
	}()
	var config mapping.Config
	if mapping.CreateConfig(&config) == mapping.StateError {
		return nil, errors.New("duckdb: DuckDB cannot be configured")
	}
	defer mapping.DestroyConfig(&config)
	for _, option := range [][2]string{{"autoinstall_known_extensions", "false"}, {"autoload_known_extensions", "false"},
		{"memory_limit", memory}, {"threads", fmt.Sprint(min(runtime.GOMAXPROCS(0), 4))}, {"temp_directory", temp}} {
		if mapping.SetConfig(config, option[0], option[1]) == mapping.StateError {
			return nil, fmt.Errorf("duckdb: DuckDB does not take the option %s", option[0])
		}
	}
	d := &Database{temp: temp}
	var message string
	if mapping.OpenExt("", &d.db, config, &message) == mapping.StateError {
		return nil, fmt.Errorf("duckdb: DuckDB cannot be started: %s", message)
	}
	if mapping.Connect(d.db, &d.conn) == mapping.StateError {
		mapping.Close(&d.db)
		return nil, errors.New("duckdb: DuckDB cannot be connected to")
	}
	if err := d.Run(context.Background(), "SET TimeZone = 'UTC'"); err != nil {
		d.Close()
		return nil, fmt.Errorf("duckdb: DuckDB cannot be set up: %w", err)
	}
	return d, nil
}

// Close releases the database.
func (d *Database) Close() {
	mapping.Disconnect(&d.conn)
	mapping.Close(&d.db)
	os.RemoveAll(d.temp)
}

// Run runs a statement that gives no rows.
func (d *Database) Run(ctx context.Context, statement string) error {
	return d.Chunks(ctx, statement, func(mapping.DataChunk) error { return nil })
}

// Query runs a statement whose columns are all texts and calls each for its rows, of which nil
// stands for null. Rows come as a stream, in order.
func (d *Database) Query(ctx context.Context, statement string, each func(fields [][]byte) error) error {
	var fields [][]byte
	return d.Chunks(ctx, statement, func(chunk mapping.DataChunk) error {
		if fields == nil {
			fields = make([][]byte, int(mapping.DataChunkGetColumnCount(chunk)))
		}
		return eachRow(chunk, fields, each)
	})
}

// Chunks runs a statement and calls each for its rows, some thousand at a time, in order. A chunk
// is gone after the call.
func (d *Database) Chunks(ctx context.Context, statement string, each func(mapping.DataChunk) error) error {
	runtime.LockOSThread() // DuckDB's allocator keeps freed memory for each thread
	defer runtime.UnlockOSThread()
	var prepared mapping.PreparedStatement
	defer mapping.DestroyPrepare(&prepared)
	if mapping.Prepare(d.conn, statement, &prepared) == mapping.StateError {
		return message(mapping.PrepareError(prepared))
	}
	var pending mapping.PendingResult
	defer mapping.DestroyPending(&pending)
	if bindings.PendingPreparedStreaming(prepared, &pending) == mapping.StateError {
		return message(mapping.PendingError(pending))
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		mapping.Interrupt(d.conn)
		close(interrupted)
	})
	defer func() {
		if !stop() {
			<-interrupted // the connection may be closed after this
		}
	}()
	var result mapping.Result
	defer mapping.DestroyResult(&result)
	if mapping.ExecutePending(pending, &result) == mapping.StateError {
		return errors.Join(ctx.Err(), message(mapping.ResultError(&result)))
	}
	for {
		chunk := mapping.FetchChunk(result)
		if chunk.Ptr == nil {
			if problem := mapping.ResultError(&result); problem != "" {
				return errors.Join(ctx.Err(), message(problem))
			}
			return ctx.Err()
		}
		err := each(chunk)
		mapping.DestroyDataChunk(&chunk)
		if err != nil {
			return err
		}
	}
}

// Quote writes a text as SQL does.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Field is a column of a relation, with DuckDB's name of its type.
type Field struct{ Name, Type string }

// Fields describes a relation: the name of a table, a query in brackets or a function that reads a
// file.
func (d *Database) Fields(ctx context.Context, relation string) (fields []Field, err error) {
	err = d.Query(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+relation+")", func(row [][]byte) error {
		fields = append(fields, Field{string(row[0]), string(row[1])})
		return nil
	})
	return fields, err
}

// Count counts the rows of a relation.
func (d *Database) Count(ctx context.Context, relation string) (rows int64, err error) {
	err = d.Query(ctx, "SELECT CAST(count(*) AS VARCHAR) FROM "+relation, func(row [][]byte) (err error) {
		rows, err = strconv.ParseInt(string(row[0]), 10, 64)
		return err
	})
	return rows, err
}

// Parquet is the relation of the rows of Parquet files, one file after the other.
func Parquet(paths ...string) string {
	quoted := make([]string, len(paths))
	for i, path := range paths {
		quoted[i] = Path(path)
	}
	return "read_parquet([" + strings.Join(quoted, ", ") + "], binary_as_string = true, hive_partitioning = false)"
}

// Path writes the path of a file as SQL does, so that no character of it stands for others.
func Path(path string) string {
	return Quote(strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(path))
}

// Column is a column of a chunk, or what the lists of one hold.
type Column struct {
	vector mapping.Vector
	valid  []uint64 // a bit for each row; nil: all are there
	rows   int
}

// NewColumn gives a column of a chunk by its number.
func NewColumn(chunk mapping.DataChunk, number int) Column {
	return columnOf(mapping.DataChunkGetVector(chunk, mapping.IdxT(number)), int(mapping.DataChunkGetSize(chunk)))
}

func columnOf(vector mapping.Vector, rows int) Column {
	c := Column{vector: vector, rows: rows}
	if mask := mapping.VectorGetValidity(vector); mask != nil {
		c.valid = unsafe.Slice((*uint64)(mask), (rows+63)/64)
	}
	return c
}

// Null says whether a row holds nothing.
func (c Column) Null(row int) bool { return c.valid != nil && c.valid[row/64]>>(row%64)&1 == 0 }

// Full says whether no row holds nothing.
func (c Column) Full() bool {
	if c.valid == nil {
		return true
	}
	for row := range c.rows {
		if c.Null(row) {
			return false
		}
	}
	return true
}

// Values gives the rows of a column of numbers of type T, without regard to null.
func Values[T any](c Column) []T {
	return unsafe.Slice((*T)(mapping.VectorGetData(c.vector)), c.rows)
}

// Range is where the values of a row's list lie among those of all.
type Range struct{ From, Length uint64 }

// Lists gives the values of a column of lists, and where each row's lie.
func (c Column) Lists() (values Column, rows []Range) {
	return columnOf(mapping.ListVectorGetChild(c.vector), int(mapping.ListVectorGetSize(c.vector))), Values[Range](c)
}

// Text is DuckDB's string: up to 12 bytes stand in it, longer ones elsewhere.
type Text struct {
	length uint32
	inline [4]byte
	data   *byte
}

// Bytes gives the text's bytes, which are gone with its chunk.
func (t *Text) Bytes() []byte {
	const inline = 12
	if t.length <= inline {
		return unsafe.Slice(&t.inline[0], t.length)
	}
	return unsafe.Slice(t.data, t.length)
}

func eachRow(chunk mapping.DataChunk, fields [][]byte, each func([][]byte) error) error {
	columns := make([]Column, len(fields))
	texts := make([][]Text, len(fields))
	for c := range fields {
		columns[c] = NewColumn(chunk, c)
		texts[c] = Values[Text](columns[c])
	}
	for row := range int(mapping.DataChunkGetSize(chunk)) {
		for c := range fields {
			if fields[c] = nil; !columns[c].Null(row) {
				fields[c] = texts[c][row].Bytes()
			}
		}
		if err := each(fields); err != nil {
			return err
		}
	}
	return nil
}

// message makes an error of DuckDB's of its first paragraph: the others are about the statement,
// which a person has not written, and about settings.
func message(problem string) error {
	problem, _, _ = strings.Cut(problem, "\n\n")
	return errors.New(strings.ReplaceAll(strings.TrimSpace(problem), "\n", "; "))
}
