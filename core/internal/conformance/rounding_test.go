package conformance

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
)

// room is the largest error of an exact mode, in units of the largest standard deviation that
// rounding gives the numbers of one array. 4 standard deviations hold for the largest of ten
// thousand numbers. The factor 2 is for implementations that round several times where the formula
// rounds once: their exp and erf are polynomials, and their divisions can be products with a
// reciprocal.
const room = 2 * 4

// rounds is the number of evaluations that estimate a standard deviation, to about 20 %.
const rounds = 12

// distinct is the largest bound, relative to what is compared, that still shows errors of 0.1 %.
const distinct = 1e-3

// roundOff is the allowed error of implementations of a formula in an arithmetic. complexstep
// evaluates the formula several times in it, as Monte Carlo arithmetic, and the largest
// standard deviation from its exact value, times room, is the bound. So the bound follows from the
// computation alone, for any order of summation, vector width and contraction to FMA.
func roundOff(as complexstep.Arithmetic, evaluations int, formula func() []float64) (exact []float64, allowed float64) {
	exact = formula()
	squares := make([]float64, len(exact))
	for round := range evaluations {
		complexstep.Rounded(as, uint64(round), func() {
			for i, v := range formula() {
				squares[i] += (v - exact[i]) * (v - exact[i])
			}
		})
	}
	for _, square := range squares {
		allowed = max(allowed, room*math.Sqrt(square/float64(evaluations)))
	}
	return exact, allowed
}

// realParts are the values of a formula.
func realParts(values []complex128) []float64 {
	parts := make([]float64, len(values))
	for i, v := range values {
		parts[i] = real(v)
	}
	return parts
}

// isClose fails unless every number is that of the formula, within the rounding errors of an
// arithmetic or, where coarse is more than 0, within that much of the largest one.
func isClose(t *testing.T, what string, got []float32, formula func() []complex128, as complexstep.Arithmetic, coarse float64) {
	t.Helper()
	want, allowed := roundOff(as, rounds, func() []float64 { return realParts(formula()) })
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, the formula gives %d", what, len(got), len(want))
	}
	most, worst := 0.0, 0.0
	for _, v := range want {
		most = max(most, math.Abs(v))
	}
	if coarse > 0 {
		allowed = coarse * most
	} else if as == complexstep.Float32 && allowed > distinct*most {
		t.Errorf("%s: rounding alone explains errors of %.2g in numbers of at most %.2g: use a better conditioned case", what, allowed, most)
	}
	for i := range want {
		e := math.Abs(float64(got[i]) - want[i])
		worst = max(worst, e)
		if !(e <= allowed) {
			t.Errorf("%s: number %d is %.9g, the formula gives %.9g (error %.3g, allowed %.3g)", what, i, got[i], want[i], e, allowed)
		}
	}
	t.Logf("%s: largest error %.2g of %.2g allowed, of numbers of at most %.3g", what, worst, allowed, most)
}

// near is isClose for one number.
func near(t *testing.T, what string, got float64, formula func() complex128, as complexstep.Arithmetic, coarse float64) {
	t.Helper()
	isClose(t, what, []float32{float32(got)}, func() []complex128 { return []complex128{formula()} }, as, coarse)
}

// What would be wrong is found on every model that is compared: a derivative that is 0.2 % off, one
// with the wrong sign, and one that a term is missing from.
func TestGradientProblems_planted(t *testing.T) {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	targets := []int32{3, 3, 6, 1, 2, 4, -1, -1, 0, -1, -1, -1}
	for name, m := range models(engine) {
		if _, dream := m.formula.(complexstep.DreamRecShape); dream {
			continue
		}
		t.Run(name, func(t *testing.T) {
			model, err := m.create()
			if err != nil {
				t.Fatal(err)
			}
			defer model.Close()
			params := fill(t, &model.Model, rand.New(rand.NewPCG(8, 1)), isNorm)
			if _, err := model.Backward(cgo.RecommenderBatch{
				Histories: cgo.Histories{Items: items, Lengths: lengths, Times: times}, Targets: targets,
			}); err != nil {
				t.Fatal(err)
			}
			batch := complexstep.Batch{Histories: complexstep.Histories{Items: items, Lengths: lengths, Times: times}, Targets: targets}
			loss := func(p complexstep.Params) complex128 { return complexstep.Loss(m.formula, p, batch) }
			// The scores' bias, or the one closest to them.
			biases := []string{"s_fc.bias", "output_bias", "last_norm.bias"}
			tensor := biases[slices.IndexFunc(biases, func(name string) bool { return params[name] != nil })]
			right := readTensor(t, &model.Model, tensor, cgo.Gradient)
			largest := 0
			for i, g := range right {
				if math.Abs(float64(g)) > math.Abs(float64(right[largest])) {
					largest = i
				}
			}
			formula := newReference(map[string][]float32{tensor: right}, loss, params, rounds)
			for what, spoil := range map[string]func(g float32) float32{
				"nothing":       func(g float32) float32 { return g },
				"0.2 %":         func(g float32) float32 { return 1.002 * g },
				"the sign":      func(g float32) float32 { return -g },
				"a target of 7": func(g float32) float32 { return g + 1./7 }, // bias: Σ(p − y)/7
				"no number":     func(float32) float32 { return float32(math.NaN()) },
			} {
				wrong := slices.Clone(right)
				wrong[largest] = spoil(wrong[largest])
				found := gradientProblems(t, map[string][]float32{tensor: wrong}, formula, tolerance{evaluations: rounds})
				if (len(found) > 0) != (what != "nothing") {
					t.Errorf("%s was spoilt: %q", what, found)
				}
			}
		})
	}
}
