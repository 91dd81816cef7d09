package complexstep

import (
	"maps"
	"math"
	"math/cmplx"
	"slices"
	"testing"
)

// small are recommenders of 7 items and 4 positions that differ in width, depth and all else. A
// height of 4 has one window; with heights below, a short history leaves windows of padding, all
// alike.
var small = map[string]Recommender{
	"SASRec":             SASRecShape{Items: 7, Width: 8, Positions: 4, Blocks: 1, Heads: 1, Inner: 8},
	"SASRec, norm first": SASRecShape{Items: 7, Width: 8, Positions: 4, Blocks: 2, Heads: 1, Inner: 10, NormFirst: true},
	"SASRec, rotary":     SASRecShape{Items: 7, Width: 8, Positions: 4, Blocks: 2, Heads: 2, Inner: 10, Rotary: true},
	"SASRec, deeper":     SASRecShape{Items: 7, Width: 12, Positions: 4, Blocks: 2, Heads: 3, Inner: 10},
	"BERT4Rec":           BERT4RecShape{Items: 7, Width: 8, Positions: 4, Blocks: 2, Heads: 2, Inner: 12},
	"HSTU":               HSTUShape{Items: 7, Width: 8, Positions: 4, Blocks: 2, Heads: 2},
	"HSTU with times":    HSTUShape{Items: 7, Width: 8, Positions: 4, Blocks: 1, Heads: 1, Times: true},
	"GRU4Rec":            GRU4RecShape{Items: 7, Width: 6, Positions: 4, Hidden: 6, Layers: 1},
	"GRU4Rec, deeper":    GRU4RecShape{Items: 7, Width: 5, Positions: 4, Hidden: 7, Layers: 3},
	"Caser":              CaserShape{Items: 7, Width: 6, Positions: 4, Heights: []int{2, 3, 4}, Horizontal: 5, Vertical: 1},
	"Caser, other size":  CaserShape{Items: 7, Width: 3, Positions: 4, Heights: []int{1}, Horizontal: 4, Vertical: 3},
}

// smallHistories are of 4, 2 and 1 items. The second repeats an item, so that windows tie.
func smallHistories() Histories {
	return Histories{Items: []int32{0, 5, 2, 6, 3, 3, 7, 7, 1, 7, 7, 7}, Lengths: []int32{4, 2, 1},
		Times: []int64{-1, 0, 4, 900, 5, 5, 0, 0, 1, 0, 0, 0}}
}

var (
	smallTargets = []int32{5, 2, 6, 1, -1, 4, -1, -1, 0, -1, -1, -1}
	lastTargets  = []int32{-1, -1, -1, 1, -1, 4, -1, -1, 0, -1, -1, -1}
	// Two for each target. Where there is no target nothing is read: -9 is no item.
	smallNegatives = []int32{
		3, 4, 0, 6, 1, 1, 2, 5, -9, -9, 6, 0, -9, -9, -9, -9, 3, 5, -9, -9, -9, -9, -9, -9,
	}
)

func TestRecommenderDerivatives(t *testing.T) {
	for name, m := range small {
		for loss, negatives := range map[string][]int32{"softmax": nil, "negatives": smallNegatives} {
			t.Run(name+", "+loss, func(t *testing.T) {
				p := random(m.Tensors(), 0.5, 1)
				batch := Batch{Histories: smallHistories(), Targets: smallTargets, Negatives: negatives}
				f := func(p Params) complex128 { return Loss(m, p, batch) }
				agree(t, f, p, slices.Sorted(maps.Keys(p)))
				items, width, _ := m.layout()
				for i := range width { // the padding row must not matter
					if d := Derivative(f, p, m.table(), items*width+i); d != 0 {
						t.Errorf("the loss depends on the padding row: %g", d)
					}
				}
			})
		}
	}
}

// A loss with targets at the last positions only follows from the scores in real arithmetic.
func TestLossFollowsFromScores(t *testing.T) {
	for name, m := range small {
		p := random(m.Tensors(), 0.5, 2)
		scores := Scores(m, p, smallHistories())
		var softmax, negatives float64
		for b, length := range smallHistories().Lengths {
			at := b*4 + int(length) - 1
			score := func(item int32) float64 { return real(scores[b*7+int(item)]) }
			total := 0.0
			for item := range int32(7) {
				total += math.Exp(score(item))
			}
			softmax += (math.Log(total) - score(lastTargets[at])) / 3
			negatives += math.Log1p(math.Exp(-score(lastTargets[at]))) / 3
			for _, item := range smallNegatives[2*at:][:2] {
				negatives += math.Log1p(math.Exp(score(item))) / 3
			}
		}
		batch := Batch{Histories: smallHistories(), Targets: lastTargets}
		got := Loss(m, p, batch)
		batch.Negatives = smallNegatives
		gotNegatives := Loss(m, p, batch)
		if cmplx.Abs(got-complex(softmax, 0)) > 1e-13 || cmplx.Abs(gotNegatives-complex(negatives, 0)) > 1e-13 {
			t.Errorf("%s: losses %g and %g; from the scores %g and %g", name, got, gotNegatives, softmax, negatives)
		}
	}
}

// The state after an item is the last one of the history that ends there.
func TestStatesOfPrefixes(t *testing.T) {
	for name, m := range small {
		p := random(m.Tensors(), 0.5, 3)
		h := smallHistories()
		states := States(m, p, h)
		width := len(states) / 12
		for b, length := range h.Lengths {
			for position := range 4 {
				want := make([]complex128, width) // zero at padding
				if position < int(length) {
					cut := Histories{Items: slices.Clone(h.Items[b*4:][:4]), Lengths: []int32{int32(position + 1)}, Times: h.Times[b*4:]}
					for i := position + 1; i < 4; i++ {
						cut.Items[i] = 7
					}
					want = LastStates(m, p, cut)
				}
				if d := distance(states[(b*4+position)*width:][:width], want); d > 1e-15 {
					t.Errorf("%s, history %d: the state at position %d differs by %g", name, b, position, d)
				}
			}
		}
	}
}

// An item's own embedding in its place changes nothing.
func TestVectorsStandForItems(t *testing.T) {
	for name, m := range small {
		_, width, _ := m.layout()
		p := random(m.Tensors(), 0.5, 4)
		vectors := make([]float32, 2*width) // items 3 and 5
		for i := range width {
			vectors[i], vectors[width+i] = float32(real(p[m.table()][3*width+i])),
				float32(real(p[m.table()][5*width+i]))
		}
		copy(p[m.table()][3*width:], Lift(vectors[:width]))
		copy(p[m.table()][5*width:], Lift(vectors[width:]))
		h := smallHistories()
		with := Histories{Items: slices.Clone(h.Items), Lengths: h.Lengths, Times: h.Times, Vectors: vectors}
		with.Items[1], with.Items[5] = -2, -1
		if d := distance(Scores(m, p, with), Scores(m, p, h)); d != 0 {
			t.Errorf("%s: scores differ by %g", name, d)
		}
	}
}

// distance is the largest difference of two slices of equal length.
func distance(a, b []complex128) (d float64) {
	for i := range max(len(a), len(b)) {
		d = max(d, cmplx.Abs(a[i]-b[i]))
	}
	return d
}
