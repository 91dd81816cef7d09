package states

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/states/statestest"
)

// catalogue is a data set of six items, a to f, and the users u1 and u2.
func catalogue() *dataset.Dataset {
	d := &dataset.Dataset{Name: "six", Users: []string{"u1", "u2"}}
	for i, id := range []string{"a", "b", "c", "d", "e", "f"} {
		d.Items = append(d.Items, dataset.Item{ID: id, Title: "Title " + id})
		for user := range d.Users {
			d.Events = append(d.Events, dataset.Event{User: int32(user), Item: int32(i), Time: int64(i)})
		}
	}
	return d
}

// write writes the rows of a query to a Parquet file.
func write(t *testing.T, path, query string) string {
	t.Helper()
	if err := statestest.WriteParquet(path, query); err != nil {
		t.Fatal(err)
	}
	return path
}

// rows is a query of rows (sequence, position, item, state), of which some are replaced.
func rows(replace ...string) string {
	all := []string{"('s', -1, NULL, [0.5, 0])", "('s', 0, 'a', [1, 0])", "('s', 1, 'b', [2, 0])", "('s', 2, 'c', [3, 0])", "('t', 0, 'd', [4, 0])",
		"('t', 1, 'e', [5, 0])"}
	for i := 0; i+1 < len(replace); i += 2 {
		at := slices.IndexFunc(all, func(row string) bool { return strings.Contains(row, replace[i]) })
		all[at] = strings.Replace(all[at], replace[i], replace[i+1], 1)
	}
	return "SELECT sequence, position, item, CAST(state AS FLOAT[]) AS state FROM (VALUES " + strings.Join(all, ", ") + ") AS rows(sequence, position, item, state)"
}

func TestOpen(t *testing.T) {
	query := "SELECT *, CASE position WHEN 1 THEN 'train' WHEN 2 THEN 'test' END AS split, " +
		"CASE sequence WHEN 's' THEN 'u2' END AS user, DATE '2020-01-01' + position AS time FROM (" + rows() + ")"
	dir := t.TempDir()
	for _, shape := range []string{"a file", "a folder"} {
		path := filepath.Join(dir, "all.parquet")
		if shape == "a folder" { // whose second part begins in the middle of a sequence
			path = filepath.Join(dir, "folder[1]")
			if err := os.Mkdir(path, 0o777); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(path, "part-1.parquet"), query+" LIMIT 2")
			write(t, filepath.Join(path, "part-2.parquet"), query+" OFFSET 2")
			write(t, filepath.Join(path, "items.parquet"), "SELECT unnest(['f', 'e', 'd', 'c', 'b', 'a', 'z']) AS item, [1.5, 2, 3]::FLOAT[] AS vector")
		} else {
			write(t, path, query)
		}
		f, err := Open(t.Context(), path, catalogue())
		if err != nil {
			t.Fatal(err)
		}
		about := f.Summary()
		want := Summary{Rows: 6, Sequences: 2, Width: 2, Items: 5, Pairs: 4, Before: 1, Users: 4, SplitBy: "the column split", Train: 2, Test: 1}
		if shape == "a folder" {
			want.ItemWidth = 3
		}
		if differs := artifact.Difference(want, about); differs != "" {
			t.Errorf("%s: %s", shape, differs)
		}
		if _, err := f.Split(); err == nil || !strings.Contains(err.Error(), "0 to validate") {
			t.Errorf("%s: a split without validation: %v", shape, err)
		}
		s := f.split.Test[0]
		if s.User != 1 || s.Next != 2 || !slices.Equal(s.History, []int32{0, 1}) {
			t.Errorf("%s: the test sequence is %+v", shape, s)
		}
		states := make([]float32, 4)
		if err := f.States(t.Context(), states, [][]int32{f.Past(s, false), f.Past(s, true)}); err != nil || !slices.Equal(states, []float32{2, 0, 3, 0}) {
			t.Errorf("%s: states %v, %v", shape, states, err)
		}
		if past, ok := f.Latest("u2"); !ok || !slices.Equal(f.ItemsOf(past), []int32{0, 1, 2}) {
			t.Errorf("%s: the user's history is %v", shape, past)
		}
		all := make([]float32, f.Positions()*2)
		if err := f.AllStates(t.Context(), all, [][]int32{f.Past(s, false)}); err != nil || !slices.Equal(all, []float32{1, 0, 2, 0, 0, 0, 0, 0}) {
			t.Errorf("%s: all states %v, %v", shape, all, err)
		}
		vector := make([]float32, f.ItemWidth())
		err = f.Items(t.Context(), vector, [][]int32{f.Past(s, true)})
		if shape == "a folder" && (err != nil || !slices.Equal(vector, []float32{1.5, 2, 3})) || shape == "a file" && err == nil {
			t.Errorf("%s: vector %v, %v", shape, vector, err)
		}
		var told bytes.Buffer
		if err := about.Write(&told); err != nil || !strings.Contains(told.String(), "4 items with the states before and after") ||
			!strings.Contains(told.String(), "no adapter can be trained") {
			t.Errorf("%s: %s, %v", shape, &told, err)
		}
		told.Reset()
		if about.Held = 1; about.Write(&told) != nil || strings.Contains(told.String(), "no adapter") {
			t.Errorf("%s with all parts: %s", shape, &told)
		}
	}
}

// Without a column split the parts are made by time, or of the ends of sequences.
func TestDivide(t *testing.T) {
	const numbers = "SELECT 's' || (i // 5) AS sequence, i % 5 AS position, substr('abcde', CAST(i % 5 + 1 AS INT), 1) AS item, [i::FLOAT] AS state"
	for with, want := range map[string][3]int{
		numbers + ", 1000 - i AS time FROM range(100) r(i)": {32, 4, 4}, // 20 sequences of 5 items have 2 targets with 3 before each
		numbers + " FROM range(100) r(i)":                   {0, 20, 20},
	} {
		f, err := Open(t.Context(), write(t, filepath.Join(t.TempDir(), "x.parquet"), with), catalogue())
		if err != nil {
			t.Fatal(err)
		}
		if s := f.Summary(); [3]int{s.Train, s.Held, s.Test} != want {
			t.Errorf("%s: %+v, want %v", with, s, want)
		}
		if latest := f.split.Test[len(f.split.Test)-1]; f.Summary().SplitBy != "time, 8:1:1" && latest.Row != 99 {
			t.Errorf("the last test sequence is %+v", latest)
		}
	}
}

// What is wrong is told in one sentence with the row and what to do.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{rows("[3, 0]", "[3]"), "row 4: its state has 1 numbers, and the first row's has 2; give all the same width"},
		{rows("[3, 0]", "['nan'::DOUBLE, 0]"), "row 4: value 0 of its state is NaN or infinite"},
		{rows("[3, 0]", "[3, NULL]"), "row 4: value 1 of its state is null"},
		{rows("[3, 0]", "NULL"), "row 4: it has no state"},
		{rows("'b'", "'z'"), `row 3: the item "z" is not one of the 6 of data set six`},
		{rows("'b'", "NULL"), "row 3: it has no item at position 1"},
		{rows("NULL", "'a'"), "row 1: position -1 is the state before the first item"},
		{rows("2, 'c'", "1, 'c'"), `row 4: sequence "s" has position 1 twice; keep one of them`},
		{rows("2, 'c'", "0, 'c'"), `row 4: sequence "s" goes back from position 1 to 0; sort the file by sequence and position`},
		{rows("'s', 1", "'t', 1", "'t', 0", "'t', 0"), `row 4: sequence "s" goes on after rows of others; sort the file by sequence and position`},
		{rows("-1, NULL", "-2, NULL"), "row 1: its position is -2"},
		{rows("'t', 0", "NULL, 0"), "row 5: it has no sequence"},
		{rows("1, 'b'", "NULL, 'b'"), "row 3: it has no position"},
		{"SELECT sequence, item, state FROM (" + rows() + ")", `has no column "position"; it has sequence, item, state, and states need`},
		{"SELECT *, 'dev' AS split FROM (" + rows() + ")", `row 1: its split is "dev"; write train, validation, test, or nothing`},
		{"SELECT sequence, position, 1.5::DOUBLE AS item, state FROM (" + rows() + ")", `the column "item" of`},
		{"SELECT sequence, position, item, 'x' AS state FROM (" + rows() + ")", "is of the type VARCHAR; write it as lists of floats"},
		{rows() + " WHERE position > 5", "has no rows"},
	} {
		path := write(t, filepath.Join(t.TempDir(), "x.parquet"), c.query)
		if _, err := Open(t.Context(), path, catalogue()); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", c.query, err, c.want)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "broken.parquet"), []byte("PAR1 or not"), 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{filepath.Join(dir, "absent"): "there is no", t.TempDir(): "holds no parts",
		filepath.Join(dir, "broken.parquet"): "cannot be read as Parquet"} {
		if _, err := Open(t.Context(), path, catalogue()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// Tables of items that are not of the data set, and safetensors that say too little, are refused,
// too.
func TestOtherRefusals(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.parquet"), rows())
	write(t, filepath.Join(dir, "items.parquet"), "SELECT unnest(['a', 'b', 'c', 'd', 'e']) AS item, [1.5, 2]::FLOAT[] AS vector")
	if _, err := Open(t.Context(), dir, catalogue()); err == nil || !strings.Contains(err.Error(), `lack the item "f"`) {
		t.Errorf("a table without an item: %v", err)
	}
	file := func(metadata map[string]string, tensors ...artifact.Tensor) string {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := artifact.WriteSafetensors(path, &artifact.File{Metadata: metadata, Tensors: tensors}); err != nil {
			t.Fatal(err)
		}
		return path
	}
	number := func(name string, values ...int64) artifact.Tensor {
		return artifact.Tensor{Name: name, DType: "I64", Shape: []int{len(values)}, I64: values}
	}
	state := artifact.Tensor{Name: "state", DType: "F32", Shape: []int{2, 1}, F32: []float32{1, 2}}
	sequence, position := number("sequence", 7, 7), number("position", 0, 1)
	f, err := Open(t.Context(), file(map[string]string{"item": `["b", "f"]`}, state, sequence, position, number("item", 1, 0)), catalogue())
	if err != nil {
		t.Fatal(err)
	}
	if past, ok := f.Latest("7"); !ok || !slices.Equal(f.ItemsOf(past), []int32{5, 1}) {
		t.Errorf("history %v", past)
	}
	for path, want := range map[string]string{
		file(nil, state, sequence, position):                                                                           `has no column "item"`,
		file(nil, state, sequence, position, number("item", 1)):                                                        "write 2 whole numbers",
		file(map[string]string{"item": `["b"]`}, state, sequence, position, number("item", 0, 1)):                      "row 2: its item is text number 1, and the metadata lists 1",
		file(map[string]string{"recint.dataset": "other"}, state, sequence, position, number("item", 0, 1)):            "data set",
		file(map[string]string{"item": `["b", "x"]`}, state, sequence, position, number("item", 0, 1)):                 fmt.Sprintf("row 2: the item %q", "x"),
		file(map[string]string{"item": `["b", "x"]`}, number("state", 1, 2), sequence, position, number("item", 0, 1)): "write floats of shape",
	} {
		if _, err := Open(t.Context(), path, catalogue()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
