package duckdb

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// Rows come back as they were written, in their order, over more than one chunk and one group of
// rows.
func TestWriteRead(t *testing.T) {
	db, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	table, err := db.NewTable("rows", "name VARCHAR", "place BIGINT", "vector FLOAT[]")
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000
	name := func(i int) any {
		if i%7 == 3 {
			return nil
		}
		return fmt.Sprintf("a name with the number %d", i)
	}
	vector := func(i int) any {
		if i%11 == 5 {
			return nil
		}
		return slices.Repeat([]float32{float32(i) / 3}, i%5)
	}
	for i := range n {
		if err := table.Append(name(i), int64(-i), vector(i)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "it's [1].parquet")
	if err := table.Save(t.Context(), path, map[string]string{"key": "a 'text'"}); err != nil {
		t.Fatal(err)
	}
	row := 0
	err = db.Chunks(t.Context(), "SELECT name, place, vector FROM read_parquet("+Path(path)+")", func(chunk mapping.DataChunk) error {
		names, places, vectors := NewColumn(chunk, 0), NewColumn(chunk, 1), NewColumn(chunk, 2)
		values, lists := vectors.Lists()
		for i, place := range Values[int64](places) {
			if want := name(row); names.Null(i) != (want == nil) || want != nil && string(Values[Text](names)[i].Bytes()) != want {
				t.Fatalf("row %d has the wrong name", row)
			}
			want, there := vector(row).([]float32)
			got := Values[float32](values)[lists[i].From : lists[i].From+lists[i].Length]
			if place != int64(-row) || vectors.Null(i) == there || there && !slices.Equal(got, want) {
				t.Fatalf("row %d is %d, %v; want %v", row, place, got, want)
			}
			row++
		}
		return nil
	})
	if err != nil || row != n {
		t.Errorf("%d rows, %v; want %d", row, err, n)
	}
	var kept []string
	err = db.Query(t.Context(), "SELECT decode(key), decode(value) FROM parquet_kv_metadata("+Path(path)+")", func(fields [][]byte) error {
		kept = append(kept, string(fields[0]), string(fields[1]))
		return nil
	})
	if err != nil || !slices.Equal(kept, []string{"key", "a 'text'"}) {
		t.Errorf("metadata %q, %v", kept, err)
	}
}

// A statement that is cancelled in its last moment does not touch a database that is closed right
// after it.
func TestChunks_cancelledAtTheEnd(t *testing.T) {
	for range 200 {
		db, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := db.Query(ctx, "SELECT 'a'", func([][]byte) error { cancel(); return ctx.Err() }); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		db.Close()
	}
}
