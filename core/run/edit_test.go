package run

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
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
		`"Horror" is true of 0 `:             func() error { _, err := s.Direction("Horror"); return err },
		`"gender" is no attribute`:           func() error { _, err := r.Space(t.Context(), "gender"); return err },
		"towards genres, decade, popularity": func() error { _, err := r.Space(t.Context(), "colour"); return err },
	} {
		if err := attempt(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one with %q", err, says)
		}
	}
}
