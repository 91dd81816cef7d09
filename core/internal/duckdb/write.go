package duckdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// Table is a new table that rows are appended to.
type Table struct {
	db       *Database
	name     string
	columns  []mapping.Type
	appender mapping.Appender
	chunk    mapping.DataChunk
	types    []mapping.LogicalType
	rows     int   // in the chunk
	bytes    int64 // of one row's lists, the largest so far
}

// NewTable makes a table of columns, each with a name, a space and VARCHAR, BIGINT, DOUBLE or
// FLOAT[].
func (d *Database) NewTable(name string, columns ...string) (*Table, error) {
	if err := d.Run(context.Background(), "CREATE TEMP TABLE "+name+" ("+strings.Join(columns, ", ")+")"); err != nil {
		return nil, err
	}
	t := &Table{db: d, name: name}
	if mapping.AppenderCreate(d.conn, "", name, &t.appender) == mapping.StateError {
		return nil, message(mapping.AppenderError(t.appender))
	}
	for _, column := range columns {
		_, kind, _ := strings.Cut(column, " ")
		of := map[string]mapping.Type{"VARCHAR": mapping.TypeVarchar, "BIGINT": mapping.TypeBigInt, "DOUBLE": mapping.TypeDouble,
			"FLOAT[]": mapping.TypeList}[kind]
		logical := mapping.CreateLogicalType(of)
		if of == mapping.TypeList {
			child := mapping.CreateLogicalType(mapping.TypeFloat)
			mapping.DestroyLogicalType(&logical)
			logical = mapping.CreateListType(child)
			mapping.DestroyLogicalType(&child)
		}
		t.columns, t.types = append(t.columns, of), append(t.types, logical)
	}
	t.chunk = mapping.CreateDataChunk(t.types)
	return t, nil
}

// Append adds a row: for each column a string, an int64, a float64, a []float32, or nil for
// nothing.
func (t *Table) Append(row ...any) error {
	if len(row) != len(t.columns) {
		return fmt.Errorf("duckdb: a row of %d values for %d columns", len(row), len(t.columns))
	}
	var bytes int64
	for c, value := range row {
		vector := mapping.DataChunkGetVector(t.chunk, mapping.IdxT(c))
		column := Column{vector: vector, rows: int(mapping.VectorSize())}
		switch value := value.(type) {
		case nil:
			mapping.VectorEnsureValidityWritable(vector)
			mapping.ValiditySetRowInvalid(mapping.VectorGetValidity(vector), mapping.IdxT(t.rows))
			if t.columns[c] == mapping.TypeList {
				Values[Range](column)[t.rows] = Range{uint64(mapping.ListVectorGetSize(vector)), 0}
			}
		case string:
			mapping.VectorAssignStringElement(vector, mapping.IdxT(t.rows), value)
		case int64:
			Values[int64](column)[t.rows] = value
		case float64:
			Values[float64](column)[t.rows] = value
		case []float32:
			from := uint64(mapping.ListVectorGetSize(vector))
			to := from + uint64(len(value))
			if mapping.ListVectorReserve(vector, mapping.IdxT(to)) == mapping.StateError ||
				mapping.ListVectorSetSize(vector, mapping.IdxT(to)) == mapping.StateError {
				return errors.New("duckdb: a list does not fit into memory")
			}
			values, _ := column.Lists()
			copy(Values[float32](values)[from:], value)
			Values[Range](column)[t.rows] = Range{from, uint64(len(value))}
			bytes += 4 * int64(len(value))
		default:
			return fmt.Errorf("duckdb: a value of type %T", value)
		}
	}
	t.bytes = max(t.bytes, bytes)
	if t.rows++; t.rows == int(mapping.VectorSize()) {
		return t.flush()
	}
	return nil
}

// flush hands the chunk over.
func (t *Table) flush() error {
	if t.rows == 0 {
		return nil
	}
	mapping.DataChunkSetSize(t.chunk, mapping.IdxT(t.rows))
	t.rows = 0
	if mapping.AppendDataChunk(t.appender, t.chunk) == mapping.StateError {
		return message(mapping.AppenderError(t.appender))
	}
	mapping.DataChunkReset(t.chunk)
	return nil
}

// Save writes the rows to a Parquet file in their order, with texts under keys beside them, and
// drops the table.
func (t *Table) Save(ctx context.Context, path string, metadata map[string]string) error {
	defer t.close()
	if err := t.flush(); err != nil {
		return err
	}
	if mapping.AppenderFlush(t.appender) == mapping.StateError {
		return message(mapping.AppenderError(t.appender))
	}
	const group = 8 << 20 // bytes that a reader unpacks at a time
	options := fmt.Sprintf("FORMAT parquet, ROW_GROUP_SIZE %d", min(max(group/max(t.bytes, 1), int64(mapping.VectorSize())), 122880))
	if len(metadata) > 0 {
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(metadata)) {
			pairs = append(pairs, Quote(key)+": "+Quote(metadata[key]))
		}
		options += ", KV_METADATA {" + strings.Join(pairs, ", ") + "}"
	}
	return t.db.Run(ctx, "COPY "+t.name+" TO "+Quote(path)+" ("+options+")")
}

// close releases the table.
func (t *Table) close() {
	mapping.DestroyDataChunk(&t.chunk)
	for i := range t.types {
		mapping.DestroyLogicalType(&t.types[i])
	}
	mapping.AppenderDestroy(&t.appender)
	t.db.Run(context.Background(), "DROP TABLE "+t.name)
}
