package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// answersFile writes a file of answers.
func answersFile(t *testing.T, task string, records ...evaluate.Record) string {
	t.Helper()
	h := evaluate.Header{Evaluation: task, Label: "mine"}
	for _, r := range records {
		if len(h.Conditions) == 0 || h.Conditions[len(h.Conditions)-1] != r.Condition {
			h.Conditions = append(h.Conditions, r.Condition)
		}
	}
	h.N = len(records) / len(h.Conditions)
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	if err := encoder.Encode(h); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := encoder.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// named is the task whose evaluations have a name.
func named(t *testing.T, name string) task.Task {
	t.Helper()
	found, err := task.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// films is a data set of eight films, A to H, of which number i comes next in training i/2 times,
// and a test part in which film i comes next after all eight.
func films() (*dataset.Dataset, dataset.Split) {
	d, split := &dataset.Dataset{}, dataset.Split{}
	history := []int32{0, 1, 2, 3, 4, 5, 6, 7}
	for i := range int32(8) {
		d.Items = append(d.Items, dataset.Item{ID: fmt.Sprint("id", i), Title: "Film " + string('A'+i)})
		split.Test = append(split.Test, dataset.Sequence{History: history[:1+i%2], Next: i})
		for range i / 2 {
			split.Train = append(split.Train, dataset.Sequence{Next: i})
		}
	}
	return d, split
}

func TestAddResidual(t *testing.T) {
	data, split := films()
	var records []evaluate.Record
	for i, said := range []struct{ free, restricted, other string }{
		{"Film A", "Film A", "Film B"},
		{"film b.", "Film C", "Film D"},
		{"nothing", "Film C", "Film D"},
		{"nothing", "Film C", "Film D"},
		{"Fim E", "Film A", "Film B"},
		{"Flm", "Film A", "Film B"},
		{"Film G", "Film G", "Film B"},
		{"Film H", "Film H", "Film B"},
	} {
		title := data.Items[i].Title
		right := 0
		if evaluate.Exact(said.free, title) {
			right = 1
		}
		records = append(records, evaluate.Record{Condition: evaluate.TrueState, Sample: fmt.Sprint("test-", i), Titles: []string{title},
			Answer: said.free, Hits: evaluate.Hits{Exact: right}, LogProb: -1})
		right = 0
		if said.restricted == title {
			right = 1
		}
		records = append(records, evaluate.Record{Condition: evaluate.RestrictedState, Sample: fmt.Sprint("test-", i), Titles: []string{title},
			Answer: said.restricted, Hits: evaluate.Hits{Exact: right}, Others: []evaluate.Alternative{{Answer: said.other}}})
	}
	var ordered []evaluate.Record // one condition after the other
	for first := range 2 {
		for i := first; i < len(records); i += 2 {
			ordered = append(ordered, records[i])
		}
	}
	r := newRun("mine")
	if err := r.addAnswers(answersFile(t, "residual", ordered...), named(t, "residual"), data, split); err != nil {
		t.Fatal(err)
	}
	one := r.Evaluations[0].Sections[0].(task.ResidualSection)
	var kinds []string
	for _, a := range one.Answers {
		kinds = append(kinds, a.Kind)
	}
	if want := []string{task.Right, task.Right, task.Near, task.Near, task.Near, task.Wrong, task.Right, task.Right}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("kinds %q, want %q", kinds, want)
	}
	if got, want := shares(one.ByPopularity), "0 times: 2/2 1/2; 1 times: 0/2 1/2; 2 times: 0/2 0/2; 3 times: 2/2 2/2; "; got != want {
		t.Errorf("by popularity %s, want %s", got, want)
	}
	if got, want := shares(one.ByHistory), "1 items: 2/4 3/4; 2 items: 2/4 1/4; "; got != want {
		t.Errorf("by history %s, want %s", got, want)
	}
	none, once := 0, 1
	if got, want := one.ByItem[1], (task.Item{ID: "id1", Title: "Film B", Asked: 1, Free: 1, Restricted: &none}); len(one.ByItem) != 8 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d items, the second %+v", len(one.ByItem), got)
	}
	if got, want := one.ByItem[6], (task.Item{ID: "id6", Title: "Film G", Trained: 3, Asked: 1, Free: 1, Restricted: &once}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := worst(one.ByItem); len(got) != 5 || got[0].Title != "Film D" || got[1].Title != "Film E" || got[3].Title != "Film B" {
		t.Errorf("worst %+v", got)
	}
}

func shares(groups []task.Group) string {
	var text strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&text, "%s: %d/%d %d/%d; ", g.Name, g.Free.Hits, g.Free.N, g.Restricted.Hits, g.Restricted.N)
	}
	return text.String()
}

func mean(n int, logProb float64) task.Mean { return task.Mean{N: n, LogProb: logProb} }

func place(number int, right, wrong task.Mean) task.Place {
	return task.Place{Number: number, Right: right, Wrong: wrong}
}

func curve(condition string, places ...task.Place) task.Curve {
	return task.Curve{Condition: condition, Places: places}
}

func TestAddRecovery(t *testing.T) {
	data, split := films()
	titles := []string{"Film A", "Film B"}
	record := func(condition, answer string, exact int, tokens []string, logProbs ...float64) evaluate.Record {
		return evaluate.Record{Condition: condition, Sample: "test-1", Titles: titles, Answer: answer, Hits: evaluate.Hits{Exact: exact},
			Tokens: tokens, LogProbs: logProbs, Ended: true}
	}
	path := answersFile(t, "recovery",
		record(evaluate.TrueState, "Film X\n\nFilm B", 1, []string{" Film", " X", "\n", "\n", "Film", " B"}, -3, -4, -5, -9, -1, -2, -0.5),
		record(evaluate.RestrictedState, "Film A\nFilm B", 2, []string{"Film A\nFilm", " B"}, -1, -2, -3))
	r := newRun("mine")
	if err := r.addAnswers(path, named(t, "recovery"), data, split); err != nil {
		t.Fatal(err)
	}
	one := r.Evaluations[1].Sections[0].(task.RecoverySection)
	if got, want := shares(one.ByPlace), "the last item: 1/1 1/1; 1 before it: 0/1 1/1; "; got != want {
		t.Errorf("by place %s, want %s", got, want)
	}
	want := []task.Curve{
		curve(evaluate.TrueState, place(1, mean(1, -1), mean(1, -3)), place(2, mean(1, -2), mean(1, -4)), place(3, mean(1, -0.5), mean(1, -5))),
		curve(evaluate.RestrictedState, place(1, mean(2, -1.5), task.Mean{}), place(2, mean(1, -3), task.Mean{})),
	}
	if !reflect.DeepEqual(one.ByToken, want) {
		t.Errorf("by token %+v, want %+v", one.ByToken, want)
	}
	if a := one.Answers[0]; a.Kind != task.Wrong || a.Restricted.Text != "Film A\nFilm B" || len(one.ByItem) != 2 {
		t.Errorf("%+v, %+v", a, one.ByItem)
	}
	split.Test = split.Test[:1]
	if err := r.addAnswers(path, named(t, "recovery"), data, split); err == nil || !strings.Contains(err.Error(), "has the data set changed") {
		t.Errorf("another data set: error %v", err)
	}
}

func TestTokens(t *testing.T) {
	said := task.Said{Text: "It\nUp", Tokens: []string{"It", "\n", "Up"}, LogProbs: []float64{0, -0.2, math.Log(0.03), -1}}
	want := []token{{"It", "1", ""}, {" · ", "0.82", "unsure"}, {"Up", "0.03", "unlikely"}, {"⏎", "0.37", "doubtful"}}
	if got := tokens(said); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	said.LogProbs = nil // of an earlier version
	if got := tokens(said); !reflect.DeepEqual(got, []token{{Text: "It · Up"}}) {
		t.Errorf("%+v", got)
	}
}
