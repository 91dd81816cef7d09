package bulk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/states/statestest"
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

// inputs writes many rows, of every kind and some of them bad, as JSON lines and as Parquet, and
// says which are bad and why.
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
	query := "FROM read_json(" + duckdb.Path(lines) + ", format = 'newline_delimited', columns = " +
		"{id: 'VARCHAR', user: 'VARCHAR', history: 'VARCHAR[]', states: 'FLOAT[][]'})"
	if err := statestest.WriteParquet(parquet, query); err != nil {
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

// Every row has its answer, in order, from whatever it is read, whether the job is stopped or
// shared by several machines.
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
		p, err := Job{Run: r, In: parquet, Out: at("stopped"), Progress: func(Progress) { cancel() }}.Do(ctx)
		if !errors.Is(err, context.Canceled) || p.Answered == 0 || stops > 0 && p.Answered >= p.Rows {
			t.Fatalf("stop %d, %d rows of %d answered: %v", stops, p.Answered, p.Rows, err)
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
	for i, want := range []string{"no JSON object", "no JSON object", "no list of ids", "no list of ids", "no list of finite numbers", "neither a text nor a whole number",
		"a user and a history", "states beside", `"text":`} {
		if len(said) != 9 || !strings.Contains(said[i], want) {
			t.Errorf("line %d: %s, want %s", i+1, said[i], want)
		}
	}
	for query, want := range map[string]string{
		"SELECT 1 AS x":         "has the columns x; write history, user or states, or the slots of the prompt, before and after",
		"SELECT 'x' AS history": `the column "history" of`,
		"SELECT 'x' AS user, 's' AS sequence, [1.0] AS state": "a file of states needs position too",
		"SELECT 'x' AS user, 's' AS sequence, 1 AS position":  "a file of states needs state too",
	} {
		path := filepath.Join(t.TempDir(), "x.parquet")
		if err := statestest.WriteParquet(path, query); err != nil {
			t.Fatal(err)
		}
		if _, err := (Job{Run: r, In: path, Out: path + ".out"}).Do(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A file of states is an input in each of its forms, and a row that is bad in one of the ways that
// rows of states are bad gets one sentence. The others get the answers that their states get by
// themselves.
func TestStatesFiles(t *testing.T) {
	r := open(t)
	width := r.Source.StateWidth()
	type row struct {
		sequence, position string
		state              []float32
		wrong              string
	}
	vector := func(n int) []float32 {
		v := make([]float32, width)
		for k := range v {
			v[k] = float32(n+1) / float32(k+2)
		}
		return v
	}
	nan := vector(8)
	nan[3] = float32(math.NaN())
	rows := []row{
		{"1", "0", vector(0), "no row before it has position -1 of its sequence"},
		{"1", "1", vector(1), ""},
		{"1", "2", vector(2), ""},
		{"1", "2", vector(3), `sequence "1" has position 2 twice; keep one of them`},
		{"1", "1", vector(4), `sequence "1" goes back from position 2 to 1; sort the rows by sequence and position`},
		{"1", "2", vector(5), ""},
		{"1", "7", vector(6), "no row before it has position 6 of its sequence"},
		{"2", "8", vector(7), "no row before it has position 7 of its sequence"},
		{"2", "9", nan, "is NaN or infinite; give finite numbers"},
		{"2", "10", vector(9), "is NaN or infinite; give finite numbers"}, // the state before it
		{"2", "11", vector(10), ""},
	}
	uneven := []row{
		{"2", "12", vector(11)[:width-1], fmt.Sprintf("state 1 has %d numbers; it needs %d", width-1, width)},
		{"2", "13", vector(12), fmt.Sprintf("state 0 has %d numbers; it needs %d", width-1, width)},
		{"2", "NULL", vector(13), "it has no position; number the items of each sequence from 0"},
		{"2", "15", nil, "no row before it has position 14"},
		{"2", "16", vector(14), "no row before it has position 15"},
		{"2", "17", nil, "it has no state; write one"},
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	parquet := func(path string, rows []row) {
		var values []string
		for _, r := range rows {
			state := "NULL"
			if r.state != nil {
				// Text becomes the nearest float; DuckDB rounds a decimal number twice.
				state = "['" + strings.Join(strings.Fields(strings.Trim(fmt.Sprint(r.state), "[]")), "', '") + "']"
			}
			values = append(values, fmt.Sprintf("('%s', %s, '1', %s::FLOAT[])", r.sequence, r.position, state))
		}
		if err := statestest.WriteParquet(path, "SELECT * FROM (VALUES "+strings.Join(values, ", ")+") t(sequence, position, item, state)"); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(in string, rows []row) []byte {
		t.Helper()
		text := do(t, Job{Run: r, In: in, Out: in + ".jsonl"})
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) != len(rows) {
			t.Fatalf("%s: %d lines, want %d", in, len(lines), len(rows))
		}
		for i, line := range lines {
			var a Answer
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			if rows[i].wrong == "" && a.Text == nil || !strings.Contains(a.Error, rows[i].wrong) || strings.Contains(a.Error, "\n") {
				t.Errorf("%s, row %d: %s, want %q", in, i+1, line, rows[i].wrong)
			}
		}
		return text
	}
	parquet(at("one.parquet"), rows)
	want := answered(at("one.parquet"), rows)
	if err := os.Mkdir(at("parts"), 0o777); err != nil {
		t.Fatal(err)
	}
	parquet(at("parts/a.parquet"), rows[:2]) // a sequence goes on in the next part
	parquet(at("parts/b.parquet"), rows[2:])
	if got := answered(at("parts"), rows); !bytes.Equal(got, want) {
		t.Error("a folder of parts gives other answers")
	}
	tensors := &artifact.File{Tensors: []artifact.Tensor{{Name: "state", DType: "F32", Shape: []int{len(rows), width}},
		{Name: "sequence", DType: "I64", Shape: []int{len(rows)}}, {Name: "position", DType: "I64", Shape: []int{len(rows)}}}}
	for _, r := range rows {
		tensors.Tensors[0].F32 = append(tensors.Tensors[0].F32, r.state...)
		for i, text := range []string{r.sequence, r.position} {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			tensors.Tensors[i+1].I64 = append(tensors.Tensors[i+1].I64, n)
		}
	}
	if err := artifact.WriteSafetensors(at("one.safetensors"), tensors); err != nil {
		t.Fatal(err)
	}
	if got := answered(at("one.safetensors"), rows); !bytes.Equal(got, want) {
		t.Error("safetensors give other answers")
	}
	parquet(at("all.parquet"), slices.Concat(rows, uneven))
	answered(at("all.parquet"), slices.Concat(rows, uneven))

	// A tensor for each slot of the prompt.
	good := []row{rows[1], rows[2]}
	slots := &artifact.File{Tensors: []artifact.Tensor{{Name: "before", DType: "F32", Shape: []int{2, width}, F32: slices.Concat(rows[0].state, rows[1].state)},
		{Name: "after", DType: "F32", Shape: []int{2, width}, F32: slices.Concat(rows[1].state, rows[2].state)}}}
	if err := artifact.WriteSafetensors(at("slots.safetensors"), slots); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(answered(at("slots.safetensors"), good))), "\n") {
		if _, said, _ := strings.Cut(line, ","); !bytes.Contains(want, []byte(fmt.Sprintf("{\"row\":%d,%s\n", i+2, said))) {
			t.Errorf("row %d of the tensors by slot: %s", i+1, line)
		}
	}
	slots.Tensors = slots.Tensors[:1]
	if err := artifact.WriteSafetensors(at("half.safetensors"), slots); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{at("half.safetensors"): `has no floats "after" of shape [rows, width]`, t.TempDir(): "holds no parts",
		at("absent"): "no such file"} {
		if _, err := (Job{Run: r, In: path, Out: at("none")}).Do(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", path, err, says)
		}
	}
}

// Parts that are answered in any order, by two workers and one of them twice, have the bytes of
// parts that one answers, and together all rows: the answers of a job, and its errors as dead
// letters.
func TestParts(t *testing.T) {
	r := open(t)
	lines, parquet, bad := inputs(t, r)
	text, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	many := filepath.Join(t.TempDir(), "many.jsonl")
	if err := os.WriteFile(many, bytes.Repeat(text, 3), 0o666); err != nil { // 750 rows, in parts of 320
		t.Fatal(err)
	}
	want := do(t, Job{Run: r, In: many, Out: many + ".answers"})
	open := func(in, out string) *Parts {
		t.Helper()
		p, err := Job{Run: r, In: in, Out: out}.Parts()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	answer := func(p *Parts, number, rows int64) {
		t.Helper()
		if got, err := p.Answer(t.Context(), number); err != nil || got.Number != number || got.Rows != rows || (got.Wrong > 0) != (rows > 0) {
			t.Errorf("part %d: %+v, %v; want %d rows", number, got, err, rows)
		}
	}
	one, two := t.TempDir(), t.TempDir()
	alone := open(many, one)
	if n, err := alone.Count(); err != nil || n != 3 {
		t.Errorf("%d parts, %v; want 3", n, err)
	}
	for number, rows := range []int64{320, 320, 110} {
		answer(alone, int64(number), rows)
	}
	first, second := open(many, two), open(many, two)
	answer(second, 2, 110)
	answer(first, 1, 320)
	answer(second, 1, 0)
	answer(second, 0, 320)
	var letters []byte
	for _, name := range []string{"job.json", "answers-000000.parquet", "answers-000001.parquet", "answers-000002.parquet", "dead-letters-000000.jsonl",
		"dead-letters-000001.jsonl", "dead-letters-000002.jsonl"} {
		a, err := os.ReadFile(filepath.Join(one, name))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(two, name)); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s has other bytes: %v", name, err)
		}
		if strings.HasPrefix(name, "dead") {
			letters = append(letters, a...)
		}
	}
	if files, err := os.ReadDir(two); err != nil || len(files) != 7 {
		t.Errorf("%v, %v; want 7 files", files, err)
	}
	db, err := duckdb.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var got []string
	query := "SELECT row || '|' || id || '|' || text || '|' || log_prob || '|' || cut || '|' || coalesce(list_reduce(list_transform(items, i -> i.title), " +
		"(a, b) -> a || '+' || b), '') FROM " + duckdb.Path(filepath.Join(two, "*.parquet"))
	query = strings.ReplaceAll(query, "[*]", "*")
	if err := db.Query(t.Context(), query, func(row [][]byte) error { got = append(got, string(row[0])); return nil }); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(want) {
		var a Answer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		if bad[(int(a.Row)-1)%250+1] != "" {
			if !bytes.HasPrefix(letters, line) {
				t.Fatalf("row %d is no dead letter: %.200s, want %s", a.Row, letters, line)
			}
			letters = letters[len(line):]
			continue
		}
		titles := make([]string, len(a.Items))
		for i, item := range a.Items {
			titles[i] = item.Title
		}
		var id string
		if err := json.Unmarshal(a.ID, &id); err != nil {
			t.Fatal(err)
		}
		row := fmt.Sprintf("%d|%s|%s|%v|%t|%s", a.Row, id, *a.Text, *a.LogProb, a.Cut, strings.Join(titles, "+"))
		if len(got) == 0 || got[0] != row {
			t.Fatalf("%v, want %s", got[:min(1, len(got))], row)
		}
		got = got[1:]
	}
	if len(got)+len(letters) > 0 {
		t.Errorf("%d answers and %d bytes of dead letters too many", len(got), len(letters))
	}
	if _, err := (Job{Run: r, In: parquet, Out: two}).Parts(); err == nil || !strings.Contains(err.Error(), "begun with something else: its input") {
		t.Errorf("another input: %v", err)
	}
}
