package align

import (
	"context"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// scoredAtOnce is how many inputs are scored at a time.
const scoredAtOnce = 256

// retell gives each sample of an adapter that shows several entries the answer that it can be
// taught: the items that the adapter shows, in that order, down to the last that is in the sample's
// history. One vector does not hold the history's order, items that are not shown could only be
// guessed, and which of those before the last are wrong nobody can tell. The scores, and so the
// answers, are the same whenever the run is resumed.
func (r *run) retell(ctx context.Context) error {
	s := r.job.Shape
	if s.LookUps == 0 {
		return nil
	}
	probe, err := cgo.NewProbe(r.job.Engine, cgo.ProbeParams{In: s.In, Hidden: s.Hidden, Classes: s.Entries})
	if err != nil {
		return err
	}
	defer probe.Close()
	if err := copyLayers(&probe.Model, &r.model.Model, cgo.Value); err != nil {
		return err
	}
	r.job.Train = slices.Clone(r.job.Train) // the caller's keep their answers
	if err := r.retellEach(ctx, probe, r.job.Train); err != nil {
		return err
	}
	return r.retellEach(ctx, probe, r.job.Validation)
}

func (r *run) retellEach(ctx context.Context, probe *cgo.Probe, samples []prompt.Sample) error {
	var shown [][]int32
	entries := r.job.Shape.Entries
	for batch := range slices.Chunk(samples, scoredAtOnce) {
		if err := ctx.Err(); err != nil {
			return err
		}
		var inputs []float32
		for _, sample := range r.standard.standardised(batch) {
			inputs = append(inputs, sample.Values...)
		}
		scores := make([]float32, len(batch)*entries)
		if err := probe.Scores(scores, inputs, len(batch)); err != nil {
			return err
		}
		for i, sample := range batch {
			shown = append(shown, found(scores[i*entries:(i+1)*entries], sample.Items, r.job.Shape.LookUps))
		}
	}
	answers, err := r.job.Tell(shown)
	if err != nil {
		return err
	}
	if len(answers) != len(samples) {
		return fmt.Errorf("align: %d answers for %d samples", len(answers), len(samples))
	}
	info, err := r.job.GGUF.Describe()
	if err != nil {
		return err
	}
	for i := range samples {
		samples[i].Answer = answers[i]
		if err := r.job.check(samples[i], int(info.Context)); err != nil {
			return fmt.Errorf("align: with all that a %s adapter shows of sample %d: %w", r.job.Shape.Kind, i, err)
		}
	}
	return nil
}

// found gives the items with the n best scores, best first, down to the last of them that is one of
// the items; the best if none is.
func found(scores []float32, items []int32, n int) []int32 {
	var best []int32
	for _, s := range recommender.Highest(scores, n, nil) {
		best = append(best, s.Item)
	}
	last := len(best) - 1
	for last > 0 && !slices.Contains(items, best[last]) {
		last--
	}
	return best[:last+1]
}
