package run

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Two numbers that always agree but for a little: a state in which they disagree is unlike all
// others, though each number by itself is not.
func TestFamiliarity_correlations(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	draw := func(n int) (states []prompt.States) {
		for range n {
			x := 3 * random.NormFloat64()
			states = append(states, prompt.States{Counts: []int{1}, Values: []float32{float32(x + 5), float32(x + 0.3*random.NormFloat64())}})
		}
		return states
	}
	f, err := newFamiliarity(draw(5000), draw(2000))
	if err != nil {
		t.Fatal(err)
	}
	unlike := 0
	for _, s := range draw(2000) {
		if f.Unlike(s) {
			unlike++
		}
	}
	if unlike > 50 {
		t.Errorf("%d of 2000 states of the same kind are unlike", unlike)
	}
	if at := func(a, b float32) bool { return f.Unlike(prompt.States{Values: []float32{a, b}}) }; at(8, 3) || !at(5, 0) || !at(8, -3) || !at(50, 45) {
		t.Errorf("the limits are %g and %g", f.Least, f.Most)
	}
	if v := f.covariance.At(1, 1); math.Abs(v-9.09) > 0.6 {
		t.Errorf("the second number's variance is %g, want 9.09", v)
	}
	same := []prompt.States{{Values: []float32{1, 1}}, {Values: []float32{1, 1}}}
	if _, err := newFamiliarity(same, same); err == nil {
		t.Error("equal states have a spread")
	}
}

// What was measured is kept in the run's folder, for the run that it was measured of.
func TestFamiliarity_kept(t *testing.T) {
	r := genresRun(t)
	path := FamiliarityPath(r.dir, r.Task)
	measured, err := r.Familiarity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	past, err := r.Latest(r.Data.Users[0])
	if err != nil {
		t.Fatal(err)
	}
	states, err := r.States(t.Context(), r.Source, [][]int32{past})
	if err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel() // nothing is measured again
	kept, err := r.Familiarity(stopped)
	if err != nil || kept.Least != measured.Least || kept.Most != measured.Most || kept.Distance(states[0]) != measured.Distance(states[0]) {
		t.Errorf("kept %+v, %v, measured %+v", kept, err, measured)
	}
	for _, other := range []string{strings.Replace(string(text), r.Hash(), strings.Repeat("0", len(r.Hash())), 1), string(text[:len(text)/2])} {
		if err := os.WriteFile(path, []byte(other), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Familiarity(t.Context()); err != nil {
			t.Error(err)
		}
		if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, text) {
			t.Errorf("another run's figures, or half of a file, are kept: %v", err)
		}
	}
}

func TestAbstentions(t *testing.T) {
	r := genresRun(t)
	all, err := r.Abstentions(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 || all[0].N == 0 || all[0].Unlike > 0.6 {
		t.Errorf("%+v", all)
	}
}
