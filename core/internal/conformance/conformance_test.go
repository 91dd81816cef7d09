package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
)

// sampled is the number of elements of a tensor whose derivatives are compared: all of them in a
// smaller one.
const sampled = 200

// onEveryBackend runs a test on an engine of each kind; a backend that is not there is a visible
// skip.
func onEveryBackend(t *testing.T, test func(t *testing.T, engine *cgo.Engine)) {
	for _, backend := range []string{"cpu", "portable", "cuda", "metal"} {
		t.Run(backend, func(t *testing.T) {
			engine, err := cgo.NewEngine(cgo.EngineParams{Backend: backend, Threads: 1})
			if errors.Is(err, cgo.ErrBackend) && (backend == "cuda" || backend == "metal") {
				t.Skipf("no %s here: %v", backend, err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { engine.Close() })
			test(t, engine)
		})
	}
}

// normal gives n numbers around mean.
func normal(rng *rand.Rand, n int, mean, spread float64) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(mean + spread*rng.NormFloat64())
	}
	return values
}

// count is the number of elements of a shape.
func count(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// fill writes random values into a model and returns the same numbers for complexstep. Vectors
// named like norm weights are near 1.
func fill(t *testing.T, model *cgo.Model, rng *rand.Rand, norm func(name string) bool) complexstep.Params {
	t.Helper()
	infos, err := model.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	params := complexstep.Params{}
	for i, info := range infos {
		mean, spread := 0.0, 0.4
		if norm(info.Name) {
			mean, spread = 1, 0.2
		}
		values := normal(rng, count(info.Shape), mean, spread)
		if err := model.Write(i, cgo.Value, values); err != nil {
			t.Fatal(err)
		}
		params[info.Name] = complexstep.Lift(values)
	}
	return params
}

// tolerance bounds the error of a gradient.
type tolerance struct {
	// Of an exact mode: the bound of each element follows from this number of evaluations of the
	// formula in Monte Carlo arithmetic (roundOff).
	evaluations int
	// Of a backend with coarse products: relative to the tensor's largest derivative, or to 1/50 of
	// the model's where that is more.
	relative float64
	// Of a mode with 16-bit products, which err in every element: the least cosine of the angle
	// between gradient and formula.
	cosine float64
}

// gradientTolerance is derived for exact products and relative for coarse ones.
func gradientTolerance(backend string, coarse float64) tolerance {
	if (cgo.EngineInfo{Backend: backend}).CoarseProducts() {
		return tolerance{relative: coarse}
	}
	return tolerance{evaluations: rounds}
}

// gradients are the accumulated ones of every tensor of a model.
func gradients(t *testing.T, model *cgo.Model) map[string][]float32 {
	t.Helper()
	infos, err := model.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]float32{}
	for _, info := range infos {
		found[info.Name] = readTensor(t, model, info.Name, cgo.Gradient)
	}
	return found
}

// compareGradients compares the accumulated gradient of every tensor of a model with the
// derivatives of loss. What the formula gives is kept in known for other backends.
func compareGradients(t *testing.T, model *cgo.Model, loss func(complexstep.Params) complex128,
	params complexstep.Params, allowed tolerance, known references) {
	t.Helper()
	found := gradients(t, model)
	parts := strings.Split(t.Name(), "/")
	of := strings.Join(slices.Delete(parts, 1, 2), "/") + fmt.Sprint(allowed.evaluations) // the second one is the backend
	if known[of] == nil {
		known[of] = newReference(found, loss, params, allowed.evaluations)
	}
	for _, problem := range gradientProblems(t, found, known[of], allowed) {
		t.Error(problem)
	}
}

// references are what formulas give, by case.
type references map[string]*reference

// reference is what a formula gives for some elements of each tensor. It takes far longer than the
// native core.
type reference struct {
	at    map[string][]int     // the elements
	want  map[string][]float64 // their derivatives
	bound map[string]float64   // the largest error that rounding explains; none where it is not asked for
}

// newReference takes derivatives of a loss for the tensors that have gradients. It estimates their
// rounding errors by a number of evaluations; 0: not at all.
func newReference(gradients map[string][]float32, loss func(complexstep.Params) complex128, params complexstep.Params,
	evaluations int) *reference {
	r := &reference{map[string][]int{}, map[string][]float64{}, map[string]float64{}}
	rng := rand.New(rand.NewPCG(17, 0))
	for _, name := range slices.Sorted(maps.Keys(gradients)) {
		derivatives := func(at []int) (found []float64) {
			for _, j := range at {
				found = append(found, complexstep.Derivative(loss, params, name, j))
			}
			return found
		}
		at := rng.Perm(len(gradients[name]))
		at = at[:min(sampled, len(at))]
		r.at[name], r.want[name] = at, derivatives(at)
		if evaluations > 0 {
			chosen := largestAndOthers(at, r.want[name], evaluations)
			_, r.bound[name] = roundOff(complexstep.Float32, evaluations, func() []float64 { return derivatives(chosen) })
		}
	}
	return r
}

// largestAndOthers are the indices of the n largest derivatives and of n others, as far as there
// are.
func largestAndOthers(indices []int, derivatives []float64, n int) []int {
	order := make([]int, len(indices))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(math.Abs(derivatives[b]), math.Abs(derivatives[a]))
	})
	step := max(1, (len(order)-n)/n)
	var chosen []int
	for at := 0; at < len(order); at++ {
		if at < n || (at-n)%step == 0 {
			chosen = append(chosen, indices[order[at]])
		}
	}
	return chosen
}

// gradientProblems says which gradients are not the derivatives of the formula.
func gradientProblems(t *testing.T, gradients map[string][]float32, formula *reference, allowed tolerance) (problems []string) {
	t.Helper()
	names := slices.Sorted(maps.Keys(gradients))
	var largest float64 // derivative of any tensor
	for _, name := range names {
		for _, want := range formula.want[name] {
			largest = max(largest, math.Abs(want))
		}
	}
	for _, name := range names {
		wants, got := formula.want[name], make([]float64, len(formula.at[name]))
		if len(wants) == 0 && len(gradients[name]) > 0 {
			problems = append(problems, name+": it has gradients, but those of the formula were not derived")
			continue
		}
		for i, j := range formula.at[name] {
			got[i] = float64(gradients[name][j])
		}
		worst, at, most := 0.0, 0, 0.0
		var dot, normGot, normWant float64
		for i, want := range wants {
			if e := math.Abs(got[i] - want); e > worst || math.IsNaN(e) { // NaN stays the worst
				worst, at = e, i
			}
			most = max(most, math.Abs(want))
			dot, normGot, normWant = dot+got[i]*want, normGot+got[i]*got[i], normWant+want*want
		}
		// A small derivative can be the difference of large terms: of the queries' and keys'
		// tensors it is what softmax leaves of terms that add up to 0 (of a bias on all keys
		// nothing at all).
		against := max(most, 0.02*largest)
		bound := allowed.relative * against
		if allowed.evaluations > 0 {
			bound = formula.bound[name]
			if bound > distinct*against {
				problems = append(problems, fmt.Sprintf("%s: rounding alone explains errors of %.2g in derivatives of at most %.2g, so that "+
					"the comparison says nothing: use a better conditioned case", name, bound, against))
			}
		}
		cosine := dot / math.Sqrt(normGot*normWant)
		if normGot == 0 && normWant == 0 { // of what is never trained
			cosine = 1
		}
		t.Logf("%s: largest error %.2g of %.2g allowed, of derivatives of %.3g; cosine %.8f", name, worst, bound, against, cosine)
		if (allowed.evaluations > 0 || allowed.relative > 0) && !(worst <= bound) {
			problems = append(problems, fmt.Sprintf("%s: gradient %g where the formula gives %g; allowed is an error of %g",
				name, got[at], wants[at], bound))
		}
		if allowed.cosine > 0 && !(cosine >= allowed.cosine) {
			problems = append(problems, fmt.Sprintf("%s: cosine of gradient and formula %g, at least %g", name, cosine, allowed.cosine))
		}
	}
	return problems
}
