package run

import (
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// genresRun is a trained run on genres and titles, open for questions about genres.
func genresRun(t *testing.T) *Run {
	t.Helper()
	return togetherRun(t, "genres")
}

// togetherRun is a trained run on genres and titles, open for one of them.
func togetherRun(t *testing.T, asked string) *Run {
	t.Helper()
	w, s := together(t, "mlp")
	engine := testllm.Engine(t)
	if _, err := Train(t.Context(), engine, w.run(), s, nil, nil); err != nil {
		t.Fatal(err)
	}
	r, err := OpenAsking(engine, engine, w.run(), Asking{Task: asked}, interpret.Options{MaxTokens: 24})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// The direction is the difference of means over training sequences that end in items with and
// without the value.
func TestSpace_direction(t *testing.T) {
	r := genresRun(t)
	s, err := r.Space(t.Context(), "genres")
	if err != nil {
		t.Fatal(err)
	}
	direction, err := s.Direction("Drama")
	if err != nil {
		t.Fatal(err)
	}
	with, without, counts := 0.0, 0.0, [2]float64{}
	for _, sequence := range r.Split.Train {
		q := r.Task.Question(r.Facts, sequence, r.Recommender.Positions())
		if len(q.Answer) == 0 || r.held[sequence.Next] {
			continue
		}
		state := make([]float32, r.Recommender.StateWidth())
		if err := r.Recommender.States(t.Context(), state, [][]int32{q.History}); err != nil {
			t.Fatal(err)
		}
		if q.Answer[0] == "Drama" {
			with, counts[1] = with+float64(state[0]), counts[1]+1
		} else {
			without, counts[0] = without+float64(state[0]), counts[0]+1
		}
	}
	if want := with/counts[1] - without/counts[0]; math.Abs(float64(direction[0])-want) > 1e-4 {
		t.Errorf("the direction begins with %g, want %g", direction[0], want)
	}
	norm := func(v []float32) (sum float64) {
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		return sum
	}
	if other := random(direction, 1); reflect.DeepEqual(other, direction) || math.Abs(norm(other)/norm(direction)-1) > 1e-4 {
		t.Errorf("a random direction of norm² %g, want another one of %g", norm(other), norm(direction))
	}
	if values, items := s.Values(10); !slices.Equal(values, []string{"Comedy", "Drama", "War"}) || items["War"] != 10 {
		t.Errorf("values %q of %v items", values, items)
	}
	for says, attempt := range map[string]func() error{
		`"Horror" is true of 0 `: func() error { _, err := s.Direction("Horror"); return err },
		"gender is none":         func() error { _, err := r.Space(t.Context(), "gender"); return err },
		"no prompt is called":    func() error { _, err := r.Space(t.Context(), "colour"); return err },
	} {
		if err := attempt(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one with %q", err, says)
		}
	}
}

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
	if again, calls := evaluate(); calls != 0 || !reflect.DeepEqual(again, edits) {
		t.Errorf("resumed, %d steps: %+v", calls, again)
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
