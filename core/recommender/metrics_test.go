package recommender

import (
	"errors"
	"math"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12 }

// By hand: higher scores count one, other equal ones a half.
func TestRank(t *testing.T) {
	for _, c := range []struct {
		scores []float32
		item   int32
		want   float64
	}{
		{[]float32{3, 2, 1}, 0, 1},
		{[]float32{3, 2, 1}, 2, 3},
		{[]float32{1, 2, 2, 0}, 1, 1.5}, // none higher, one equal
		{[]float32{5, 2, 2, 2}, 3, 3},   // one higher, two equal
		{[]float32{7}, 0, 1},
	} {
		if got := rank(c.scores, c.item); got != c.want {
			t.Errorf("rank of item %d in %v is %v, want %v", c.item, c.scores, got, c.want)
		}
	}
}

// By hand from the formulas: ranks 1, 3, 10, 10.5 and 21.
func TestMeasure(t *testing.T) {
	m := measure([]float64{1, 3, 10, 10.5, 21})
	if m.N != 5 {
		t.Errorf("n is %d, want 5", m.N)
	}
	gain := func(rank float64) float64 { return 1 / math.Log2(rank+1) } // gain(1) = 1, gain(3) = 1/2
	for k, want := range map[int]struct{ hr, ndcg float64 }{
		1: {1. / 5, 1. / 5}, 5: {2. / 5, 1.5 / 5}, 10: {3. / 5, (1.5 + gain(10)) / 5},
		20: {4. / 5, (1.5 + gain(10) + gain(10.5)) / 5},
	} {
		if !near(m.HR[k], want.hr) || !near(m.NDCG[k], want.ndcg) {
			t.Errorf("HR@%d %v, NDCG@%d %v; want %v, %v", k, m.HR[k], k, m.NDCG[k], want.hr, want.ndcg)
		}
	}
	if want := (1 + 1./3 + 1./10 + 1/10.5 + 1./21) / 5; !near(m.MRR, want) {
		t.Errorf("MRR %v, want %v", m.MRR, want)
	}
	// Wilson's interval of 3 of 5, as given by statsmodels' proportion_confint and most tables:
	// 0.231 to 0.882.
	if math.Abs(m.CI[0]-0.2307) > 5e-4 || math.Abs(m.CI[1]-0.8824) > 5e-4 {
		t.Errorf("interval %v, want 0.2307 to 0.8824", m.CI)
	}
	if m := measure(nil); m.N != 0 || m.MRR != 0 || m.HR[10] != 0 || m.CI != [2]float64{0, 1} {
		t.Errorf("of nothing: %+v", m)
	}
}

// A scorer that gives every item the same score stands in the middle and hits nothing.
func TestConstantScorer(t *testing.T) {
	ranks := make([]float64, 100)
	for i := range ranks {
		ranks[i] = rank(make([]float32, 1682), int32(i))
	}
	m := measure(ranks)
	if ranks[0] != 841.5 || m.HR[20] != 0 || m.NDCG[20] != 0 || !near(m.MRR, 1/841.5) {
		t.Errorf("rank %v, metrics %+v; want 841.5 and no hit", ranks[0], m)
	}
}

// Ranks that are counted block by block are those of all scores, with ties, on every kind of
// backend.
func TestRank_blocks(t *testing.T) {
	for _, backend := range []string{"cpu", "portable"} {
		engine, err := cgo.NewEngine(cgo.EngineParams{Backend: backend, Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer engine.Close()
		for _, model := range []string{models.SASRec, models.BERT4Rec, models.HSTU} { // with and without biases
			c := smallOf(t, model)
			c.Items = 2500 // three blocks
			r, err := New(engine, c)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for _, n := range []int{1, 8, 300} {
				histories, items := make([][]int32, n), make([]int32, n)
				for i := range histories {
					histories[i], items[i] = []int32{int32(i), int32(7 * i)}, int32(i*1031%c.Items)
				}
				width := r.StateWidth()
				states, scores := make([]float32, n*width), make([]float32, n*c.Items)
				if err := r.States(t.Context(), states, histories); err != nil {
					t.Fatal(err)
				}
				clear(states[:width]) // all items score alike, but for a bias
				got := make([]float64, n)
				if err := errors.Join(r.ScoreStates(scores, states), r.Model().Rank(got, states, items)); err != nil {
					t.Fatal(err)
				}
				for i, item := range items {
					if want := rank(scores[i*c.Items:(i+1)*c.Items], item); got[i] != want {
						t.Errorf("%s, %s, %d of %d: rank %v, want %v", backend, model, i, n, got[i], want)
					}
				}
				items[0] = int32(c.Items)
				if err := r.Model().Rank(got, states, items); err == nil {
					t.Errorf("%s: item %d of %d has a rank", model, items[0], c.Items)
				}
			}
		}
	}
}
