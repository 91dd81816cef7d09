package run

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// ScoredItem is an item of the catalogue with log p(its title | states) under the LLM, in nats.
type ScoredItem struct {
	Item    int32
	LogProb float64
}

// Scores gives every item of the catalogue the probability that the LLM says its title, and no
// more, when it is shown the states of a history (dense item ids, oldest first); for each history
// the likeliest item first. Items of one title share their number.
func (r *Run) Scores(ctx context.Context, histories [][]int32) ([][]ScoredItem, error) {
	if !r.Task.Title {
		return nil, fmt.Errorf("run: titles are scored by a prompt that asks for the last item; this run's asks for the %s", r.Task.Asks)
	}
	states, err := r.States(ctx, r.Source, histories)
	if err != nil {
		return nil, err
	}
	if r.scorer == nil {
		precision, err := r.Spec.Precision.native()
		if err != nil {
			return nil, err
		}
		if r.scorer, err = r.Interpreter.NewScorer(r.catalogue(), precision); err != nil {
			return nil, err
		}
	}
	scores, err := r.scorer.Scores(ctx, states)
	if err != nil {
		return nil, err
	}
	ranked := make([][]ScoredItem, len(scores))
	for i, of := range scores {
		for item, logProb := range of {
			ranked[i] = append(ranked[i], ScoredItem{int32(item), logProb})
		}
		slices.SortStableFunc(ranked[i], func(a, b ScoredItem) int { return cmp.Compare(b.LogProb, a.LogProb) })
	}
	return ranked, nil
}
