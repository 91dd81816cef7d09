package run

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Every value has its curves, and finished values are taken from the file.
func TestEvaluateEdits(t *testing.T) {
	r := genresRun(t)
	path := filepath.Join(t.TempDir(), "edits.jsonl")
	of := EditsOf{Samples: 6, Asked: 4, Items: 10, Seed: 1}
	evaluate := func() (*Edits, int) {
		calls := 0
		e, err := r.EvaluateEdits(t.Context(), of, path, func(int, int) { calls++ })
		if err != nil {
			t.Fatal(err)
		}
		return e, calls
	}
	edits, calls := evaluate()
	if calls != 3 || len(edits.Values) != 3 {
		t.Fatalf("%d values in %d steps", len(edits.Values), calls)
	}
	for _, v := range edits.Values {
		if len(v.Own.Words) != len(Doses) || len(v.Random) != randomDirections || len(v.Random[randomAsked-1].Words) != 2 || v.Random[randomAsked].Words != nil ||
			slices.Max(v.Own.Words) > 1+1e-9 || slices.Max(v.Own.Top) > 1+1e-9 || slices.Max(v.Own.Top) == 0 {
			t.Errorf("%+v", v)
		}
	}
	scorer := r.scorer
	r.scorer = nil
	if again, calls := evaluate(); calls != 0 || !reflect.DeepEqual(again, edits) || r.scorer != nil {
		t.Errorf("resumed, %d steps, the LLM loaded: %v: %+v", calls, r.scorer != nil, again)
	}
	r.scorer = scorer
	// A file of other values is refused, and so is an evaluation that nothing bounds.
	if _, err := movedTowards([]string{"Comedy", "War"}, edits.Values); err == nil || !strings.Contains(err.Error(), `line 3: "Drama" is not`) {
		t.Errorf("error %v", err)
	}
	if _, err := r.EvaluateEdits(t.Context(), EditsOf{Samples: 6, Items: 10}, path, nil); err == nil || !strings.Contains(err.Error(), "for how long") {
		t.Errorf("error %v", err)
	}
	// A file that was cut before its first line ended has not begun.
	begun := filepath.Join(t.TempDir(), "begun.jsonl")
	if err := os.WriteFile(begun, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := r.EvaluateEdits(t.Context(), EditsOf{Samples: 6, Minutes: 1e-9, Items: 10, Seed: 1}, begun, nil); err != nil {
		t.Error(err)
	}
	// With a time in place of a number, at least one history is asked about, at most all; what has
	// begun stays.
	for minutes, asked := range map[float64]int{1e-9: 1, 1e6: edits.N} {
		of.Minutes, path = minutes, filepath.Join(t.TempDir(), "edits.jsonl")
		timed, _ := evaluate()
		if timed.Asked != asked {
			t.Errorf("%g minutes: %d histories, want %d", minutes, timed.Asked, asked)
		}
		of.Minutes = 1
		if again, calls := evaluate(); calls != 0 || again.Asked != asked {
			t.Errorf("resumed: %d steps, %d histories", calls, again.Asked)
		}
	}
}

// A pooled share is the mean of the runs', and a random rise that of all random directions.
func TestPoolEdits(t *testing.T) {
	one := func(label string, n int, last, random float64) *Edits {
		return &Edits{Label: label, Attribute: "genres", N: n, Asked: 2, Doses: Doses, Values: []EditedValue{{Value: "War", Items: 60,
			Own:    Curve{Words: []float64{0, 0, 0, 0, last}, Top: []float64{0, 0, 0, 0.1, last / 2}},
			Random: []Curve{{Words: []float64{0, random}, Top: []float64{0, random}}, {Top: []float64{0, random}}}}}}
	}
	a, b := one("a", 10, 0.2, 0.1), one("b", 20, 0.8, -0.3)
	pooled, err := PoolEdits([]*Edits{a, b})
	if err != nil {
		t.Fatal(err)
	}
	words, top := pooled.Values[0].Effects()
	if pooled.Runs != 2 || pooled.N != 30 || pooled.Asked != 4 || math.Abs(words.Rise-0.5) > 1e-9 || math.Abs(words.Random-0.2) > 1e-9 ||
		math.Abs(top.Rise-0.25) > 1e-9 || math.Abs(top.Random-0.2) > 1e-9 || a.N != 10 {
		t.Errorf("%+v: %+v and %+v", pooled, words, top)
	}
	if alone, err := PoolEdits([]*Edits{a}); alone != a || err != nil {
		t.Errorf("%+v, %v", alone, err)
	}
	b.Values[0].Value = "Drama"
	if _, err := PoolEdits([]*Edits{a, b}); err == nil || !strings.Contains(err.Error(), "other values") {
		t.Errorf("error %v", err)
	}
}

func TestEffects(t *testing.T) {
	v := EditedValue{Own: Curve{Words: []float64{0, 0.1, 0.2, 0.5, 0.9}, Top: []float64{0.5, 0.4, 0.3, 0.2, 0.1}},
		Random: []Curve{{Words: []float64{0.2, 0, 0, 0, 0.4}, Top: []float64{0, 0, 0, 0, 0}}, {Words: []float64{0.4, 0.2}, Top: []float64{0, 0}}, {Top: []float64{0, 0}}}}
	words, top := v.Effects()
	if !words.Shows() || words.Spearman != 1 || words.Rise != 0.9 || math.Abs(words.Random-0.2) > 1e-9 || top.Shows() {
		t.Errorf("%+v and %+v", words, top)
	}
	e := Edited{Answers: []prompt.Answer{{Text: "Drama\nWar", LogProb: math.Log(0.3)}, {Text: "Comedy", LogProb: math.Log(0.1)}}}
	if p := e.Says("War"); math.Abs(p-0.75) > 1e-9 {
		t.Errorf("War is said with probability %g", p)
	}
}
