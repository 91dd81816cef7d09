package conformance

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
)

// sampled is the number of elements of a tensor whose derivatives are compared: all of them in a smaller one.
const sampled = 200

// onEveryBackend runs a test on an engine of each kind; a backend that is not there is a visible skip.
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

// fill writes random values into a model and returns the same numbers for complexstep. Vectors named like norm weights
// are near 1.
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

// tolerance bounds the error of a gradient. An exact mode is bounded element by element; a rounding mode by the angle, as a 16-bit product errs in every element.
type tolerance struct {
	relative float64 // to the tensor's largest derivative, or to 1/50 of the model's where that is more; 0: not asked
	cosine   float64
}

// compareGradients holds the accumulated gradient of every tensor of a model against the derivatives of loss.
func compareGradients(t *testing.T, model *cgo.Model, loss func(complexstep.Params) complex128,
	params complexstep.Params, allowed tolerance) {
	t.Helper()
	infos, err := model.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	var largest float64 // derivative of any tensor
	type pair struct{ got, want []float64 }
	pairs := map[string]pair{}
	rng := rand.New(rand.NewPCG(17, 0))
	for i, info := range infos {
		gradient := make([]float32, count(info.Shape))
		if err := model.Read(gradient, i, cgo.Gradient); err != nil {
			t.Fatal(err)
		}
		indices := rng.Perm(len(gradient))
		var p pair
		for _, j := range indices[:min(sampled, len(indices))] {
			want := complexstep.Derivative(loss, params, info.Name, j)
			p.got, p.want = append(p.got, float64(gradient[j])), append(p.want, want)
			largest = max(largest, math.Abs(want))
		}
		pairs[info.Name] = p
	}
	for _, info := range infos {
		p := pairs[info.Name]
		worst, at, most := 0.0, 0, 0.0
		var dot, normGot, normWant float64
		for i := range p.got {
			if e := math.Abs(p.got[i] - p.want[i]); e > worst || math.IsNaN(e) { // NaN stays the worst
				worst, at = e, i
			}
			most = max(most, math.Abs(p.want[i]))
			dot, normGot, normWant = dot+p.got[i]*p.want[i], normGot+p.got[i]*p.got[i], normWant+p.want[i]*p.want[i]
		}
		// A small derivative can be the difference of large terms: of the queries' and keys' tensors it is what softmax leaves
		// of terms that add up to 0 (of a bias on all keys nothing at all).
		against := max(most, 0.02*largest)
		cosine := dot / math.Sqrt(normGot*normWant)
		if normGot == 0 && normWant == 0 { // of what is never trained
			cosine = 1
		}
		t.Logf("%s: largest error %.2g of %.3g, cosine %.8f", info.Name, worst/against, against, cosine)
		if allowed.relative > 0 && !(worst <= allowed.relative*against) {
			t.Errorf("%s: gradient %g where the formula gives %g; allowed is an error of %g times %g",
				info.Name, p.got[at], p.want[at], allowed.relative, against)
		}
		if allowed.cosine > 0 && !(cosine >= allowed.cosine) {
			t.Errorf("%s: cosine of gradient and formula %g, at least %g", info.Name, cosine, allowed.cosine)
		}
	}
}

// near fails unless got is want within a relative tolerance.
func near(t *testing.T, what string, got, want, relative float64) {
	t.Helper()
	if !(math.Abs(got-want) <= relative*math.Abs(want)) {
		t.Errorf("%s is %.9g, the formula gives %.9g (allowed %g of it)", what, got, want, relative)
	}
}
