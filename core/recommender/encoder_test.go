package recommender

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// An encoder gives what the recommender gives, and allocates nothing.
func TestEncoder(t *testing.T) {
	for _, model := range []string{models.SASRec, models.GRU4Rec, models.Caser} {
		r := newRecommender(t, smallOf(t, model))
		e := r.Encoder()
		state, best := make([]float32, r.StateWidth()), make([]Scored, 0, 5)
		for _, history := range [][]int32{{1}, {3, 2, 1}, slices.Repeat([]int32{4, 0, 5}, 9)} {
			want := make([]float32, r.StateWidth())
			if err := r.States(t.Context(), want, [][]int32{history}); err != nil {
				t.Fatal(err)
			}
			if err := e.State(state, history); err != nil || !slices.Equal(state, want) {
				t.Errorf("%s, %v: %v, want %v; %v", model, history, state, want, err)
			}
			ranked, err := Recommend(t.Context(), r, [][]int32{history}, 5)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := e.Recommend(best, history, 5); err != nil || !slices.Equal(got, ranked[0]) {
				t.Errorf("%s, %v: %v, want %v; %v", model, history, got, ranked[0], err)
			}
		}
		history := []int32{1, 2, 3}
		if n := testing.AllocsPerRun(100, func() {
			if e.State(state, history) != nil {
				t.Error("no state")
			}
		}); n != 0 {
			t.Errorf("%s: a state takes %g allocations", model, n)
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := e.Recommend(best, history, 5); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: recommendations take %g allocations", model, n)
		}
		for name, c := range map[string]struct {
			history []int32
			want    string
		}{"empty": {nil, "empty"}, "unknown": {[]int32{1, 1 << 20}, "catalogue"}, "negative": {[]int32{-1}, "catalogue"}} {
			if err := e.State(state, c.history); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Highest agrees with sorting all.
func TestHighest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		scores := make([]float32, 1+random.IntN(40))
		for i := range scores {
			scores[i] = float32(random.IntN(10)) // many are equal
		}
		excluded := []int32{int32(random.IntN(40)), int32(random.IntN(40))}
		var all []Scored
		for i, score := range scores {
			if !slices.Contains(excluded, int32(i)) {
				all = append(all, Scored{int32(i), score})
			}
		}
		slices.SortStableFunc(all, func(a, b Scored) int { return int(b.Score - a.Score) })
		k := random.IntN(45)
		if got, want := Highest(scores, k, excluded), all[:min(k, len(all))]; !slices.Equal(got, want) {
			t.Fatalf("%d of %v without %v: %v, want %v", k, scores, excluded, got, want)
		}
	}
}

func BenchmarkEncoder(b *testing.B) {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer engine.Close()
	c, err := Default(models.SASRec, 1682)
	if err != nil {
		b.Fatal(err)
	}
	r, err := New(engine, c)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	e, best, history := r.Encoder(), make([]Scored, 0, 10), []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Recommend(best, history, 10); err != nil {
			b.Fatal(err)
		}
	}
}
