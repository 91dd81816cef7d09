package bulk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
)

func TestMain(m *testing.M) { leak.Main(m) }

// open opens a small run that asks for the last item.
func open(t *testing.T) *run.Run {
	t.Helper()
	folders, err := testrun.All(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := run.Open(testllm.Engine(t), folders["residual"], interpret.Options{Slots: 5, MaxTokens: 6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// inputs writes many rows, of every kind and some of them bad, as JSON lines and as Parquet, and says which are bad and why.
func inputs(t *testing.T, r *run.Run) (lines, parquet string, bad map[int]string) {
	t.Helper()
	dir := t.TempDir()
	lines, parquet = filepath.Join(dir, "rows.jsonl"), filepath.Join(dir, "rows.parquet")
	width := r.Source.StateWidth()
	var text bytes.Buffer
	bad = map[int]string{}
	id := func(n int) string { return r.Data.Items[n%len(r.Data.Items)].ID }
	for row := 1; row <= 250; row++ {
		fields := map[string]any{"id": fmt.Sprintf("row %d", row)}
		vector := make([]float32, width)
		vector[row%width] = float32(row) / 7
		switch row % 10 {
		case 1:
			fields["user"] = r.Data.Users[row%len(r.Data.Users)]
		case 2:
			fields["states"] = [][]float32{vector, vector}
		case 3:
			fields["user"], bad[row] = "nobody", `no user "nobody"`
		case 4:
			fields["states"], bad[row] = [][]float32{vector, vector[1:]}, "it needs"
		case 5:
			fields["history"], bad[row] = []string{id(1)}, "the prompt needs 2"
		case 6:
			fields["history"], bad[row] = []string{id(1), "no item"}, `no item with the id "no item"`
		case 7:
			bad[row] = "no history, no user and no states"
		default:
			fields["history"] = []string{id(row), id(row / 30), id(row + 1)}
		}
		line, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	if err := os.WriteFile(lines, text.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	db, err := duckdb.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	query := "COPY (FROM read_json(" + duckdb.Path(lines) + ", format = 'newline_delimited', columns = " +
		"{id: 'VARCHAR', user: 'VARCHAR', history: 'VARCHAR[]', states: 'FLOAT[][]'})) TO " + duckdb.Quote(parquet) + " (FORMAT parquet)"
	if err := db.Run(t.Context(), query); err != nil {
		t.Fatal(err)
	}
	return lines, parquet, bad
}

func do(t *testing.T, job Job) []byte {
	t.Helper()
	if _, err := job.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(job.Out)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Every row has its answer, in order, from whatever it is read, whether the job is stopped or shared by several machines.
func TestAnswers(t *testing.T) {
	r := open(t)
	lines, parquet, bad := inputs(t, r)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	want := do(t, Job{Run: r, In: lines, Out: at("whole")})
	row := 0
	for line := range bytes.Lines(want) {
		row++
		var a Answer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		if a.Row != int64(row) || string(a.ID) != fmt.Sprintf(`"row %d"`, row) {
			t.Fatalf("line %d is about row %d, %s", row, a.Row, a.ID)
		}
		if problem := bad[row]; problem != "" && !strings.Contains(a.Error, problem) || problem == "" && (a.Text == nil || a.LogProb == nil || a.Error != "") {
			t.Fatalf("row %d: %s, want the error %q", row, line, problem)
		}
	}
	if row != 250 {
		t.Fatalf("%d lines, want 250", row)
	}
	if got := do(t, Job{Run: r, In: parquet, Out: at("parquet")}); !bytes.Equal(got, want) {
		t.Error("Parquet gives other answers than JSON lines")
	}

	// As a filter.
	text, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := (Job{Run: r, In: Standard, Out: Standard, Input: bytes.NewReader(text), Output: &out}).Do(t.Context()); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("the filter gives other answers: %v", err)
	}

	// Stopped after every group, once in the middle of a line.
	for stops := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Job{Run: r, In: parquet, Out: at("stopped"), Progress: func(Progress) { cancel() }}.Do(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("stop %d: %v", stops, err)
		}
		if stops == 1 {
			file, err := os.OpenFile(at("stopped"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(file, "{\"row\":161}\n{\"row\":16")
			file.Close()
		}
	}
	if _, err := (Job{Run: r, In: lines, Out: at("stopped")}).Do(t.Context()); err == nil || !strings.Contains(err.Error(), "begun with something else") {
		t.Errorf("another input: %v", err)
	}
	if got := do(t, Job{Run: r, In: parquet, Out: at("stopped")}); !bytes.Equal(got, want) {
		t.Error("a stopped job gives other bytes")
	}
	if _, err := (Job{Run: r, In: parquet, Out: at("stopped")}).Do(t.Context()); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a finished job: %v", err)
	}

	// Shared.
	var shards []string
	for i := range 3 {
		shards = append(shards, at(fmt.Sprint("shard", i)))
		do(t, Job{Run: r, In: parquet, Out: shards[i], Shard: evaluate.Shard{I: i + 1, N: 3}})
	}
	if err := Merge(at("merged"), shards[:2]); err == nil || !strings.Contains(err.Error(), "no file answers row 161") {
		t.Errorf("a shard is missing: %v", err)
	}
	if err := Merge(at("merged"), append(shards, shards[0])); err == nil || !strings.Contains(err.Error(), "both answer row 1") {
		t.Errorf("a shard is there twice: %v", err)
	}
	if err := Merge(at("merged"), shards); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(at("merged")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the merged file has other bytes: %v", err)
	}
}

// Lines that are no JSON objects, and Parquet files without anything to ask about.
func TestRefusals(t *testing.T) {
	r := open(t)
	in := strings.Join([]string{"[1]", "", `{"history": "1"}`, `{"history": [1.5]}`, `{"states": [[1, null], [2, 3]]}`, `{"user": {}}`,
		`{"history": ["1", "2"], "user": "3"}`, `{"history": ["1", "2"], "states": [[1]]}`, fmt.Sprintf("\ufeff"+`{"history": [%q, %q]}`, r.Data.Items[1].ID, r.Data.Items[2].ID)}, "\n")
	var out bytes.Buffer
	if _, err := (Job{Run: r, In: Standard, Out: Standard, Input: strings.NewReader(in), Output: &out}).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	said := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{"no JSON object", "no JSON object", "no list of ids", "no list of ids", "no list of numbers", "neither a text nor a whole number",
		"a user and a history", "states beside", `"text":`} {
		if len(said) != 9 || !strings.Contains(said[i], want) {
			t.Errorf("line %d: %s, want %s", i+1, said[i], want)
		}
	}
	db, err := duckdb.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for query, want := range map[string]string{
		"SELECT 1 AS x":         "has the columns x; write history, user or states, or the slots of the prompt, before and after",
		"SELECT 'x' AS history": `the column "history" of`,
	} {
		path := filepath.Join(t.TempDir(), "x.parquet")
		if err := db.Run(t.Context(), "COPY ("+query+") TO "+duckdb.Quote(path)+" (FORMAT parquet)"); err != nil {
			t.Fatal(err)
		}
		if _, err := (Job{Run: r, In: path, Out: path + ".out"}).Do(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
