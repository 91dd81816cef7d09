package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/recinterpreter/recinterpreter/cgo"
)

func (b *bed) adapters(ctx context.Context) (works []work, err error) {
	w, err := b.newWorkload(ctx, residual, 4*workloadBatch, 0)
	if err != nil {
		return nil, err
	}
	folder := b.path("workload-adapter")
	if err := w.write(folder, workloadBatch); err != nil {
		return nil, err
	}
	if b.Sweep == ByBatch {
		for _, batch := range doubled(1, sweptTo) {
			one := b.softTokens(w, folder, batch)
			one.Name, one.Batch = "soft tokens", batch
			works = append(works, one)
		}
		return works, nil
	}
	return []work{b.softTokens(w, folder, 1), b.softTokens(w, folder, manyStates), b.regression(w), b.lookups(w)}, nil
}

// regression is an update of the warm start of an adapter without entries.
func (b *bed) regression(w *workload) work {
	s := w.adapter.Shape
	targets := make([]float32, manyStates*s.Tokens*s.Embd)
	for i := range targets {
		targets[i] = float32(i%7) - 3
	}
	return work{
		Figure: Figure{Name: "warm start, regression", Unit: "samples", Asked: "50 % of the peak",
			FLOP:    2 * float64(s.Hidden*(2*s.In+3*s.Tokens*s.Embd)),
			Formula: "products with the adapter's matrices, and their gradients; none for the states"},
		open: func(context.Context) (*ready, error) {
			model, err := w.adapter.Model(b.engine)
			if err != nil {
				return nil, err
			}
			return b.updates(&model.Model, w, func(states []float32) error {
				_, err := model.Regress(states, targets, manyStates)
				return err
			})
		},
	}
}

// lookups is an update of a probe that names items by an MLP, which is also the warm start of an
// adapter with entries.
func (b *bed) lookups(w *workload) work {
	s, items := w.adapter.Shape, len(b.data.Items)
	targets := make([]int32, manyStates)
	for i := range targets {
		targets[i] = int32(i * items / manyStates)
	}
	return work{
		Figure: Figure{Name: "warm start, lookup, and probe", Unit: "samples", Asked: "50 % of the peak",
			FLOP:    2 * float64(s.Hidden*(2*s.In+3*items)),
			Formula: "products with the probe's matrices, and their gradients; none for the states"},
		open: func(context.Context) (*ready, error) {
			probe, err := cgo.NewProbe(b.engine, cgo.ProbeParams{In: s.In, Hidden: s.Hidden, Classes: items})
			if err != nil {
				return nil, err
			}
			return b.updates(&probe.Model, w, func(states []float32) error {
				_, err := probe.Backward(states, targets, manyStates)
				return err
			})
		},
	}
}

// updates repeats a gradient over states of the workload, and an update by it.
func (b *bed) updates(model *cgo.Model, w *workload, gradient func(states []float32) error) (*ready, error) {
	var states []float32
	for i := range manyStates {
		states = append(states, w.samples[i%len(w.samples)].Values[:w.adapter.Shape.In]...)
	}
	step := int64(0)
	return &ready{close: model.Close, once: func(context.Context) (measured, error) {
		return calls(b.Length, manyStates, func() error {
			if err := gradient(states); err != nil {
				return err
			}
			step++
			_, err := model.Update(cgo.AdamW{LearningRate: 1e-4, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Step: step})
			return err
		})
	}}, nil
}

// softTokens maps states to soft tokens, so many at once.
func (b *bed) softTokens(w *workload, folder string, batch int) work {
	s := w.adapter.Shape
	name := fmt.Sprintf("soft tokens of %d states", batch)
	if batch == 1 {
		name = "soft tokens of one state"
	}
	return work{
		Figure: Figure{Name: name, Unit: "states", FLOP: 2 * float64(s.Hidden*(s.In+s.Tokens*s.Embd)),
			Formula: "2 × numbers in the adapter's matrices"},
		latency: batch == 1,
		peers: []peer{{kind: PyTorch, command: []string{"time_adapter.py", folder, "--batch", strconv.Itoa(batch)},
			threads: b.someThreads(), agrees: closeTo(map[string]float64{"soft_tokens_sum": 1e-4})}},
		open: func(context.Context) (*ready, error) {
			model, err := w.adapter.Model(b.engine)
			if err != nil {
				return nil, err
			}
			var states []float32
			for _, sample := range w.samples {
				states = append(states, sample.Values...)
			}
			dst, at, each := make([]float32, batch*s.Tokens*s.Embd), 0, batch*s.In
			body := func() error {
				from := at * each
				at = (at + 1) % (len(states) / each)
				return model.SoftTokens(dst, states[from:from+each], batch)
			}
			if err := body(); err != nil {
				return nil, errors.Join(err, model.Close())
			}
			var sum, absolute float64
			for _, x := range dst {
				sum, absolute = sum+float64(x), absolute+math.Abs(float64(x))
			}
			return &ready{
				check: check{"soft_tokens_sum": sum, "soft_tokens_absolute": absolute}, close: model.Close,
				once: func(context.Context) (measured, error) { return calls(b.Length, batch, body) },
			}, nil
		},
	}
}
