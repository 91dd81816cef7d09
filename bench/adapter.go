package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
)

func (b *bed) adapters(ctx context.Context) (works []work, err error) {
	w, err := b.newWorkload(ctx, residual, 4*workloadBatch, 0)
	if err != nil {
		return nil, err
	}
	folder := b.path("workload-adapter")
	if err := w.write(folder); err != nil {
		return nil, err
	}
	if b.Sweep == ByBatch {
		for batch := 1; batch <= 512; batch *= 2 {
			one := b.softTokens(w, folder, batch)
			one.Name, one.Batch = "soft tokens", batch
			works = append(works, one)
		}
		return works, nil
	}
	return []work{b.softTokens(w, folder, 1), b.softTokens(w, folder, manyStates)}, nil
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
