package recommender

import (
	"context"
	"fmt"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Oracles draws a vector for the ideal next item after each history: dst [len(histories), D].
// Histories are as for States. Oracle number i follows from the seed and i alone. Only recommenders
// with a Diffusion draw oracles.
func (r *Recommender) Oracles(ctx context.Context, dst []float32, histories [][]int32, seed uint64) error {
	return r.oracles(ctx, dst, histories, seed, 0)
}

// oracles draws those from number first on.
func (r *Recommender) oracles(ctx context.Context, dst []float32, histories [][]int32, seed uint64, first int) error {
	d := r.config.Diffusion()
	if d == nil {
		return fmt.Errorf("recommender: %s draws no oracles; these do: %s", r.config.Model, generating())
	}
	guidance := make([]float32, atOnce*r.config.Width)
	return r.run(ctx, dst, r.config.Width, histories, standIns{}, func(dst []float32, h cgo.Histories) error {
		guidance := guidance[:len(dst)]
		if err := r.model.States(guidance, h, false); err != nil {
			return err
		}
		err := r.model.Diffusion().Sample(dst, cgo.Sampling{
			Guidance: guidance, Strength: float32(d.Strength), Steps: d.SamplingSteps(), Deterministic: d.DDIMSteps > 0,
			Seed: seed, First: uint64(first),
		})
		first += len(h.Lengths)
		return err
	})
}
