package run

import (
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Comparisons show the states after parts of a history, each a history of its own, are trained
// together, and answer what is allowed.
func TestCompare(t *testing.T) {
	w, s := together(t, "mlp")
	s = s.With(promptOf(t, "compare-last"), "mlp")
	s.Also = []prompt.Template{promptOf(t, "compare-shared")}
	engine := testllm.Engine(t)
	if _, err := Train(t.Context(), engine, w.run(), s, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, asked := range []string{"compare-last", "compare-shared"} {
		r, err := OpenAsking(engine, engine, w.run(), Asking{Task: asked}, interpret.Options{MaxTokens: 24})
		if err != nil {
			t.Fatal(err)
		}
		history := []int32{4, 1, 7, 3}
		shown, err := r.States(t.Context(), r.Source, [][]int32{history})
		if err != nil {
			t.Fatal(err)
		}
		parts := [][]int32{history, {3}, {7}}
		if asked == "compare-shared" {
			parts = [][]int32{{4, 1}, {7, 3}}
		}
		var want []float32
		for _, part := range parts {
			state := make([]float32, r.Source.StateWidth())
			if err := r.Source.States(t.Context(), state, [][]int32{part}); err != nil {
				t.Fatal(err)
			}
			want = append(want, state...)
		}
		if !slices.Equal(shown[0].Values, want) {
			t.Errorf("%s shows other states than those after %v", asked, parts)
		}
		found, err := r.Evaluate(t.Context(), 12, evaluate.Options{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		if c := found.(*task.Claims); c.N == 0 || c.Conditions[1].Allowed.Value != 1 {
			t.Errorf("%s: %+v", asked, c)
		}
		for _, name := range r.Controls() {
			if _, err := r.EvaluateControl(t.Context(), name, 12, evaluate.Options{Seed: 1}); err != nil {
				t.Errorf("%s: %v", asked, err)
			}
		}
		if _, err := r.Space(t.Context(), "genres"); err == nil {
			t.Errorf("%s: there is a state to move", asked)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.States, s.Recommender = writeStates(t, w, "states.parquet"), ""
	if _, err := Train(t.Context(), engine, w.run()+"-file", s, nil, nil); err == nil || !strings.Contains(err.Error(), "parts of a history") {
		t.Errorf("a file of states: error %v", err)
	}
}
