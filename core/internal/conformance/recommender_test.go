package conformance

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

func isNorm(name string) bool {
	inside := strings.HasPrefix(name, "ln_") || strings.Contains(name, "layer_norm") ||
		strings.Contains(name, "LayerNorm") || strings.HasPrefix(name, "output_ln") || strings.Contains(name, "norm")
	return inside && strings.HasSuffix(name, ".weight")
}

// V items, histories of at most T.
const V, T, pad = 7, 4, 7

func schedule(steps int) []float64 {
	betas := make([]float64, steps)
	for i := range betas {
		// What float32 holds: the core computes the schedule in it.
		betas[i] = float64(float32(0.05 + 0.05*float64(i)))
	}
	return betas
}

// models are the recommenders of the suite, each in both implementations.
func models(engine *cgo.Engine) map[string]struct {
	formula complexstep.Recommender
	create  func() (*cgo.Recommender, error)
} {
	type model = struct {
		formula complexstep.Recommender
		create  func() (*cgo.Recommender, error)
	}
	sasrec := func(width, blocks, heads, inner int) (complexstep.SASRecShape, sasRecParams) {
		return complexstep.SASRecShape{Items: V, Width: width, Positions: T, Blocks: blocks, Heads: heads, Inner: inner},
			sasRecParams{Items: V, Width: width, Positions: T, Blocks: blocks, Heads: heads, Inner: inner}
	}
	found := map[string]model{}
	for name, size := range map[string][4]int{
		"SASRec": {8, 1, 1, 8}, "SASRec, 2 heads": {16, 1, 2, 16}, "SASRec, 2 blocks": {8, 2, 2, 12},
	} {
		shape, params := sasrec(size[0], size[1], size[2], size[3])
		found[name] = model{shape, func() (*cgo.Recommender, error) { return newSASRec(engine, params) }}
	}
	for name, options := range map[string][2]bool{
		"SASRec, norm first": {true, false}, "SASRec, rotary": {false, true}, "SASRec, norm first and rotary": {true, true},
	} {
		for _, heads := range []int{1, 2} {
			shape, params := sasrec(8, 2, heads, 12)
			shape.NormFirst, shape.Rotary = options[0], options[1]
			params.NormFirst, params.Rotary = options[0], options[1]
			found[fmt.Sprintf("%s, %d heads", name, heads)] = model{shape, func() (*cgo.Recommender, error) {
				return newSASRec(engine, params)
			}}
		}
	}
	found["BERT4Rec"] = model{
		complexstep.BERT4RecShape{Items: V, Width: 8, Positions: T, Blocks: 2, Heads: 2, Inner: 12},
		func() (*cgo.Recommender, error) {
			_, params := sasrec(8, 2, 2, 12)
			return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: "bert4rec", Settings: params.settings()})
		},
	}
	for name, times := range map[string]int{"HSTU": 0, "HSTU with times": 1} {
		found[name] = model{
			complexstep.HSTUShape{Items: V, Width: 8, Positions: T, Blocks: 2, Heads: 2, Times: times == 1},
			func() (*cgo.Recommender, error) {
				return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: "hstu", Settings: map[string][]float64{
					"items": one(V), "width": one(8), "positions": one(T), "blocks": one(2), "heads": one(2), "times": one(times)}})
			},
		}
	}
	for name, layers := range map[string]int{"GRU4Rec": 1, "GRU4Rec, 2 layers": 2} {
		found[name] = model{
			complexstep.GRU4RecShape{Items: V, Width: 8, Positions: T, Hidden: 6, Layers: layers},
			func() (*cgo.Recommender, error) {
				return newGRU4Rec(engine, gru4RecParams{Items: V, Width: 8, Positions: T, Hidden: 6, Layers: layers})
			},
		}
	}
	found["Caser"] = model{
		complexstep.CaserShape{Items: V, Width: 8, Positions: T, Heights: []int{1, 2, 4}, Horizontal: 3, Vertical: 2},
		func() (*cgo.Recommender, error) {
			return newCaser(engine, caserParams{Items: V, Width: 8, Positions: T, Heights: []int{1, 2, 4}, Horizontal: 3,
				Vertical: 2})
		},
	}
	for name, params := range map[string]dreamRecParams{
		"DreamRec, mlp1": {DenoiserLayers: 1}, "DreamRec, mlp2": {DenoiserLayers: 2},
		"DreamRec, mlp2 with rounding": {DenoiserLayers: 2, Rounding: 0.5},
	} {
		shape, guidance := sasrec(8, 1, 2, 8)
		params.Guidance, params.Betas = guidance, schedule(6)
		found[name] = model{
			complexstep.DreamRecShape{Guidance: shape, TwoLayers: params.DenoiserLayers == 2, Betas: params.Betas,
				Rounding: params.Rounding},
			func() (*cgo.Recommender, error) { return newDreamRec(engine, params) },
		}
	}
	return found
}

// modelCase is a model with the formula that it must follow.
type modelCase struct {
	*cgo.Recommender
	formula complexstep.Recommender
	params  complexstep.Params
	allowed tolerance // of gradients
	backend string
	known   references // what formulas give, of all models and backends
}

// onEveryModel runs a test on every model with random weights, on every backend.
func onEveryModel(t *testing.T, test func(t *testing.T, c modelCase)) {
	known := references{}
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		info, err := engine.Describe()
		if err != nil {
			t.Fatal(err)
		}
		for name, m := range models(engine) {
			t.Run(name, func(t *testing.T) {
				model, err := m.create()
				if err != nil {
					t.Fatal(err)
				}
				defer model.Close()
				params := fill(t, &model.Model, rand.New(rand.NewPCG(8, 1)), isNorm)
				infos, err := model.Tensors()
				if err != nil {
					t.Fatal(err)
				}
				want := m.formula.Tensors()
				for _, info := range infos {
					if want[info.Name] != info.Elements() {
						t.Errorf("tensor %s has %d numbers, the formula's %d", info.Name, info.Elements(), want[info.Name])
					}
				}
				if len(infos) != len(want) {
					t.Errorf("%d tensors, the formula has %d", len(infos), len(want))
				}
				test(t, modelCase{model, m.formula, params, gradientTolerance(info.Backend, 1e-2), info.Backend, known})
			})
		}
	})
}

// Histories of 4, 2 and 1 items, one with an item that occurs twice in a row.
var (
	items   = []int32{0, 3, 3, 6, 5, 2, pad, pad, 1, pad, pad, pad}
	lengths = []int32{4, 2, 1}
	times   = []int64{-3, 0, 0, 1 << 40, 50, 57, 0, 0, 9, 0, 0, 0} // of which some are the same
)

// States, with vectors in place of items among them, and scores.
func TestRecommenderForward(t *testing.T) {
	onEveryModel(t, func(t *testing.T, c modelCase) {
		info, coarse := c.Info(), testllm.BoundOn(c.backend, 0, 5e-3)
		random := rand.New(rand.NewPCG(2, 2))
		vectors := normal(random, 2*info.Width, 0, 0.5)
		mixed := append([]int32(nil), items...)
		mixed[1], mixed[4] = -2, -1
		for what, h := range map[string]cgo.Histories{
			"items":   {Items: items, Lengths: lengths, Times: times},
			"vectors": {Items: mixed, Lengths: lengths, Times: times, Vectors: vectors},
		} {
			want := complexstep.Histories{Items: h.Items, Lengths: h.Lengths, Times: h.Times, Vectors: h.Vectors}
			last := make([]float32, len(lengths)*info.StateWidth)
			if err := c.States(last, h, false); err != nil {
				t.Fatal(err)
			}
			isClose(t, what+": states", last, func() []complex128 {
				return complexstep.LastStates(c.formula, c.params, want)
			}, complexstep.Float32, coarse)
			all := make([]float32, len(lengths)*T*info.StateWidth)
			if err := c.States(all, h, true); err != nil {
				t.Fatal(err)
			}
			isClose(t, what+": all states", all, func() []complex128 {
				return complexstep.States(c.formula, c.params, want)
			}, complexstep.Float32, coarse)
			scores := make([]float32, len(lengths)*V)
			if err := c.ScoreStates(scores, last, len(lengths)); err != nil {
				t.Fatal(err)
			}
			isClose(t, what+": scores of states", scores, func() []complex128 {
				return complexstep.ScoreStates(c.formula, c.params, complexstep.Lift(last))
			}, complexstep.Float32, coarse)
			if _, dream := c.formula.(complexstep.DreamRecShape); dream {
				continue
			}
			if err := c.Scores(scores, h); err != nil {
				t.Fatal(err)
			}
			isClose(t, what+": scores", scores, func() []complex128 {
				return complexstep.Scores(c.formula, c.params, want)
			}, complexstep.Float32, coarse)
		}
	})
}

func TestRecommenderGradients(t *testing.T) {
	targets := map[string][]int32{
		"all targets":  {3, 3, 6, 1, 2, 4, -1, -1, 0, -1, -1, -1},
		"last targets": {-1, -1, -1, 1, -1, 4, -1, -1, 0, -1, -1, -1},
	}
	negatives := []int32{1, 2, 0, 4, 5, 1, 2, 0, 6, 6, 0, 3, pad, -1, -1, 99, 2, 5, 0, 0, 0, 0, 0, 0} // 2 each
	onEveryModel(t, func(t *testing.T, c modelCase) {
		if dream, ok := c.formula.(complexstep.DreamRecShape); ok {
			dreamGradients(t, dream, c)
			return
		}
		for name, targets := range targets {
			for loss, kind := range map[string]complexstep.Batch{
				"cross-entropy": {}, "binary cross-entropy": {Negatives: negatives},
				"gBCE":    {Negatives: negatives, TargetDiscount: 0.625},
				"sampled": {Shared: []int32{3, 0, 6, 3}, SharedOffsets: []float32{0.25, -0.5, 1, 0.25}},
			} {
				t.Run(name+", "+loss, func(t *testing.T) {
					histories := cgo.Histories{Items: items, Lengths: lengths, Times: times}
					got, err := c.Backward(cgo.RecommenderBatch{Histories: histories, Targets: targets,
						Negatives: kind.Negatives, Shared: kind.Shared, SharedOffsets: kind.SharedOffsets,
						TargetDiscount: kind.TargetDiscount})
					if err != nil {
						t.Fatal(err)
					}
					kind.Histories, kind.Targets = complexstep.Histories{Items: items, Lengths: lengths, Times: times}, targets
					of := func(p complexstep.Params) complex128 { return complexstep.Loss(c.formula, p, kind) }
					near(t, "the loss", got, func() complex128 { return of(c.params) }, complexstep.Float32, testllm.BoundOn(c.backend, 0, 1e-3))
					compareGradients(t, &c.Model, of, c.params, c.allowed, c.known)
					clearGradients(t, &c.Model)
				})
			}
		}
	})
}

func clearGradients(t *testing.T, model *cgo.Model) {
	t.Helper()
	infos, err := model.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	for i, info := range infos {
		if err := model.Write(i, cgo.Gradient, make([]float32, info.Elements())); err != nil {
			t.Fatal(err)
		}
	}
}

func dreamGradients(t *testing.T, formula complexstep.DreamRecShape, c modelCase) {
	noise := normal(rand.New(rand.NewPCG(3, 3)), len(lengths)*formula.Guidance.Width, 0, 1)
	next, steps, unconditional := []int32{1, 4, 3}, []int32{0, 5, 2}, []int32{0, 1, 0}
	got, err := c.Diffusion().Backward(cgo.DiffusionBatch{Histories: cgo.Histories{Items: items, Lengths: lengths}, Targets: next,
		Steps: steps, Noise: noise, Unconditional: unconditional})
	if err != nil {
		t.Fatal(err)
	}
	batch := complexstep.DreamRecBatch{Histories: complexstep.Histories{Items: items, Lengths: lengths}, Targets: next,
		Steps: steps, Noise: noise, Unconditional: unconditional}
	of := func(p complexstep.Params) complex128 { return formula.Loss(p, batch) }
	near(t, "the loss", got, func() complex128 { return of(c.params) }, complexstep.Float32, testllm.BoundOn(c.backend, 0, 1e-3))
	compareGradients(t, &c.Model, of, c.params, c.allowed, c.known)
}

// The denoiser, and whole sampling runs of both samplers with given noise.
func TestDreamRecSampling(t *testing.T) {
	onEveryModel(t, func(t *testing.T, c modelCase) {
		dream, ok := c.formula.(complexstep.DreamRecShape)
		if !ok {
			return
		}
		n, width, coarse := len(lengths), dream.Guidance.Width, testllm.BoundOn(c.backend, 0, 5e-3)
		random := rand.New(rand.NewPCG(4, 4))
		x, guidance := normal(random, n*width, 0, 1), normal(random, n*width, 0, 1)
		at := []int32{0, 3, 5}
		x0 := make([]float32, n*width)
		for what, by := range map[string][]float32{"guided": guidance, "unguided": nil} {
			if err := c.Diffusion().Denoise(x0, x, at, by); err != nil {
				t.Fatal(err)
			}
			var lifted []complex128
			if by != nil {
				lifted = complexstep.Lift(by)
			}
			isClose(t, what, x0, func() []complex128 {
				return dream.Denoise(c.params, complexstep.Lift(x), at, lifted)
			}, complexstep.Float32, coarse)
		}
		for what, s := range map[string]cgo.Sampling{
			"DDPM": {Steps: []int32{5, 4, 3, 2, 1, 0}, Noise: normal(random, 6*n*width, 0, 1)},
			"DDIM": {Steps: []int32{5, 3, 0}, Noise: normal(random, n*width, 0, 1), Deterministic: true},
		} {
			s.Guidance, s.Strength = guidance, 1.5
			oracles := make([]float32, n*width)
			if err := c.Diffusion().Sample(oracles, s); err != nil {
				t.Fatal(err)
			}
			isClose(t, what, oracles, func() []complex128 {
				return dream.Sample(c.params, complexstep.DreamRecSampling{Guidance: complexstep.Lift(guidance),
					Strength: float64(s.Strength), Steps: s.Steps, Deterministic: s.Deterministic, Noise: s.Noise})
			}, complexstep.Float32, coarse)
		}
	})
}
