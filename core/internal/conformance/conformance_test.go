package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
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
// derivatives of loss.
func compareGradients(t *testing.T, model *cgo.Model, loss func(complexstep.Params) complex128,
	params complexstep.Params, allowed tolerance) {
	t.Helper()
	for _, problem := range gradientProblems(t, gradients(t, model), loss, params, allowed) {
		t.Error(problem)
	}
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

// gradientProblems says which gradients are not the derivatives of loss.
func gradientProblems(t *testing.T, gradients map[string][]float32, loss func(complexstep.Params) complex128,
	params complexstep.Params, allowed tolerance) (problems []string) {
	t.Helper()
	names := slices.Sorted(maps.Keys(gradients))
	var largest float64 // derivative of any tensor
	type pair struct{ got, want []float64 }
	pairs, indices := map[string]pair{}, map[string][]int{}
	rng := rand.New(rand.NewPCG(17, 0))
	for _, name := range names {
		gradient := gradients[name]
		at := rng.Perm(len(gradient))
		at = at[:min(sampled, len(at))]
		var p pair
		for _, j := range at {
			want := complexstep.Derivative(loss, params, name, j)
			p.got, p.want = append(p.got, float64(gradient[j])), append(p.want, want)
			largest = max(largest, math.Abs(want))
		}
		pairs[name], indices[name] = p, at
	}
	for _, name := range names {
		p := pairs[name]
		worst, at, most := 0.0, 0, 0.0
		var dot, normGot, normWant float64
		for i := range p.got {
			if e := math.Abs(p.got[i] - p.want[i]); e > worst || math.IsNaN(e) { // NaN stays the worst
				worst, at = e, i
			}
			most = max(most, math.Abs(p.want[i]))
			dot, normGot, normWant = dot+p.got[i]*p.want[i], normGot+p.got[i]*p.got[i], normWant+p.want[i]*p.want[i]
		}
		// A small derivative can be the difference of large terms: of the queries' and keys'
		// tensors it is what softmax leaves of terms that add up to 0 (of a bias on all keys
		// nothing at all).
		against := max(most, 0.02*largest)
		bound := allowed.relative * against
		if n := allowed.evaluations; n > 0 {
			chosen := largestAndOthers(indices[name], p.want, n)
			_, bound = roundOff(complexstep.Float32, n, func() (derivatives []float64) {
				for _, j := range chosen {
					derivatives = append(derivatives, complexstep.Derivative(loss, params, name, j))
				}
				return derivatives
			})
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
				name, p.got[at], p.want[at], bound))
		}
		if allowed.cosine > 0 && !(cosine >= allowed.cosine) {
			problems = append(problems, fmt.Sprintf("%s: cosine of gradient and formula %g, at least %g", name, cosine, allowed.cosine))
		}
	}
	return problems
}
