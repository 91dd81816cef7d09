package conformance

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

// adapters are all kinds; an adapter's tensors have the same names in the native core and in
// complexstep.
var adapters = map[string]complexstep.AdapterShape{
	"linear":    {In: 5, Tokens: 2},
	"mlp":       {In: 5, Hidden: 6, Tokens: 2},
	"mixture":   {In: 15, Mixed: 3, Tokens: 2},
	"memory":    {In: 5, Hidden: 6, Entries: 7, Tokens: 2},
	"retrieval": {In: 5, Hidden: 6, Entries: 7, LookUps: 2, Tokens: 2},
}

// newAdapter makes an adapter with random weights that lives as long as the test.
func newAdapter(
	t *testing.T, engine *cgo.Engine, kind string, embd int,
) (*cgo.Adapter, complexstep.Params) {
	t.Helper()
	a := adapters[kind]
	model, err := cgo.NewAdapter(engine, cgo.AdapterParams{
		Kind: kind, In: a.In, Hidden: a.Hidden, Mixed: a.Mixed, Entries: a.Entries, LookUps: a.LookUps,
		Tokens: a.Tokens, Embd: embd,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model, fill(t, &model.Model, rand.New(rand.NewPCG(23, uint64(a.Hidden))), func(string) bool { return false })
}

func TestAdapterRegression(t *testing.T) {
	const embd, n = 16, 3
	known := references{}
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		info, err := engine.Describe()
		if err != nil {
			t.Fatal(err)
		}
		for name, a := range adapters {
			t.Run(name, func(t *testing.T) {
				model, params := newAdapter(t, engine, name, embd)
				rng := rand.New(rand.NewPCG(29, 0))
				states, targets := normal(rng, n*a.In, 0, 1), normal(rng, n*a.Tokens*embd, 0, 1)
				loss, err := model.Regress(states, targets, n)
				if err != nil {
					t.Fatal(err)
				}
				formula := func(p complexstep.Params) complex128 {
					return complexstep.AdapterLoss(p, a, embd, complexstep.Lift(states), complexstep.Lift(targets))
				}
				near(t, "the loss", loss, func() complex128 { return formula(params) }, complexstep.Float32, testllm.BoundOn(info.Backend, 0, 1e-3))
				compareGradients(t, &model.Model, formula, params, gradientTolerance(info.Backend, 1e-3), known)
			})
		}
	})
}

func TestAdapterClassification(t *testing.T) {
	const embd, n, words = 16, 3, 7
	known := references{}
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		info, err := engine.Describe()
		if err != nil {
			t.Fatal(err)
		}
		a := adapters["linear"]
		model, params := newAdapter(t, engine, "linear", embd)
		rng := rand.New(rand.NewPCG(29, 1))
		states, table := normal(rng, n*a.In, 0, 1), normal(rng, words*embd, 0, 1)
		targets := make([]int32, n*a.Tokens)
		for i := range targets {
			targets[i] = rng.Int32N(words)
		}
		loss, err := model.Classify(states, table, targets, n)
		if err != nil {
			t.Fatal(err)
		}
		formula := func(p complexstep.Params) complex128 {
			return complexstep.AdapterChoice(p, a, embd, complexstep.Lift(states), complexstep.Lift(table), targets)
		}
		near(t, "the loss", loss, func() complex128 { return formula(params) }, complexstep.Float32, testllm.BoundOn(info.Backend, 0, 1e-3))
		compareGradients(t, &model.Model, formula, params, gradientTolerance(info.Backend, 1e-3), known)
	})
}

// prefix19 is longer than the 16 columns that the core's kernels take at once.
var prefix19 = []int32{3, 1, 8, 30, 2, 2, 17, 9, 11, 26, 5, 0, 14, 39, 7, 33, 21, 6, 12}

// alignBatch has a sample of two states and one of one, with soft tokens in order and not. The
// first has targets at several positions, one of them a soft token's; the second is one position
// shorter and padded.
func alignBatch(a complexstep.AdapterShape) cgo.AlignBatch {
	return cgo.AlignBatch{
		Samples: 2, Positions: 8, States: []int32{2, 1}, Weight: 0.2,
		Tokens:      []int32{4, -1, -2, 9, 11, -3, -4, 7, -2, 12, -1, 5, 30, 8, 21, 0},
		Targets:     []int32{-1, -1, -1, 11, -1, -1, 7, 30, -1, -1, -1, -1, -1, 21, 2, -1},
		StateValues: normal(rand.New(rand.NewPCG(31, 0)), 3*a.In, 0, 1),
	}
}

// mode is a precision of the LLaMA and the errors that it may make.
type mode struct {
	name      string
	precision cgo.Precision
	rounds    complexstep.Arithmetic
	coarse    float64 // relative, of log p and loss; 0: what rounding explains
	gradient  tolerance
}

// The errors of log p and loss are those of rounding. 0.995 is the bound of the project's reference
// numbers for the angle of a gradient in BF16, where every element errs by more than what some of
// them are.
var modes = []mode{
	{"F32", cgo.F32, complexstep.Float32, 0, tolerance{evaluations: 4}},
	{"BF16", cgo.BF16, complexstep.BFloat16, 0, tolerance{cosine: 0.995}},
}

// onTensorCores is F32 of NVIDIA GPUs: their products keep 10 bits of each factor's fraction, where
// BF16 keeps 7. Seen on an H100: log p off by 4e-3, losses by 5e-4, gradients by 1e-2, and a cosine
// of 1 − 2e-5.
var onTensorCores = mode{"F32", cgo.F32, complexstep.Float32, 1e-2, tolerance{relative: 0.03, cosine: 0.9999}}

// alignments are each kind of adapter behind one kind of prefix.
var alignments = []struct {
	adapter string
	prefix  []int32
}{{"linear", nil}, {"mlp", nil}, {"mlp", prefix19}, {"mixture", prefix19}, {"retrieval", prefix19}}

func TestLLaMA(t *testing.T) {
	known := references{}
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		info, err := engine.Describe()
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range slices.Concat(tinyModels, otherModels) {
			behind, modes := alignments, modes
			if i >= len(tinyModels) { // adapters and roundings are the same before every LLM
				behind, modes = alignments[2:3], modes[:1]
			}
			for _, m := range modes {
				if info.CoarseProducts() && m.precision == cgo.F32 {
					m = onTensorCores
				}
				if info.Backend == "portable" && m.precision == cgo.F32 && c.name != tinyModels[0].name {
					continue // the LLM's part of the exact mode is composed of the same operations as on "cpu": once will do
				}
				t.Run(c.name+", "+m.name, func(t *testing.T) {
					path, weights := c.write(t)
					gguf, err := cgo.OpenGGUF(path)
					if err != nil {
						t.Fatal(err)
					}
					defer gguf.Close()
					llama, err := cgo.NewLLM(engine, gguf, m.precision)
					if err != nil {
						t.Fatal(err)
					}
					defer llama.Close()
					for _, a := range behind {
						t.Run(fmt.Sprintf("%s, prefix of %d", a.adapter, len(a.prefix)), func(t *testing.T) {
							shape := adapters[a.adapter]
							model, params := newAdapter(t, engine, a.adapter, c.shape.Embd)
							maps.Copy(params, weights)
							compareAlignment(t, llama, model, a.prefix, params, c.shape, shape, m, known)
						})
					}
				})
			}
		}
	})
}

// compareAlignment holds log p, loss and gradients of one batch against the formulas.
func compareAlignment(t *testing.T, llama *cgo.LLM, model *cgo.Adapter, start []int32, params complexstep.Params,
	shape complexstep.LlamaShape, a complexstep.AdapterShape, m mode, known references) {
	t.Helper()
	prefix, err := llama.NewPrefix(start)
	if err != nil {
		t.Fatal(err)
	}
	defer prefix.Close()
	batch := alignBatch(a)
	same := complexstep.LlamaBatch{
		Prefix: start, Samples: batch.Samples, Positions: batch.Positions, States: batch.States,
		Tokens: batch.Tokens, Targets: batch.Targets,
		StateValues: complexstep.Lift(batch.StateValues), Weight: batch.Weight,
	}
	formula := func(p complexstep.Params) complex128 { return complexstep.LlamaLoss(p, shape, a, same) }

	logProbs := func() []complex128 { return complexstep.LlamaLogProbs(params, shape, a, same) }
	got := make([]float32, len(logProbs()))
	if err := llama.LogProbs(got, prefix, model, batch); err != nil {
		t.Fatal(err)
	}
	isClose(t, "log p", got, logProbs, m.rounds, m.coarse)
	loss, err := llama.Backward(prefix, model, batch)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "the loss", loss, func() complex128 { return formula(params) }, m.rounds, m.coarse)
	compareGradients(t, &model.Model, formula, params, m.gradient, known)
}
