package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// ScoredItem is an item of the catalogue with log p(its title | states) under the LLM, in nats.
type ScoredItem struct {
	Item    int32
	LogProb float64
}

// Scoring says which titles are scored. The zero value is all of the catalogue.
type Scoring struct {
	// Among, if not 0, scores only the last item of the history and so many others: those that the
	// recommender ranks highest before it.
	Among int
	// Cost, if not nil, is told after two of the LLM's calls what all titles of the catalogue cost
	// for each history.
	Cost func(interpret.Cost)
}

// Scores gives items of the catalogue the probability that the LLM says their titles, and no more,
// when it is shown the states of a history (dense item ids, oldest first); for each history the
// likeliest item first. Items of one title share their number.
func (r *Run) Scores(ctx context.Context, histories [][]int32, which Scoring) ([][]ScoredItem, error) {
	if !r.Task.Title {
		return nil, fmt.Errorf("run: titles are scored by a prompt that asks for the last item; this run's asks for the %s", r.Task.Asks)
	}
	if which.Among < 0 {
		return nil, fmt.Errorf("run: titles among %d items; give at least 1, or 0 for all", which.Among)
	}
	if which.Among > 0 && r.Live == nil {
		return nil, errors.New("run: the run's states come from a file, which ranks no items; score all titles")
	}
	states, err := r.States(ctx, r.Source, histories)
	if err != nil {
		return nil, err
	}
	if err := r.openScorer(); err != nil {
		return nil, err
	}
	ranked := make([][]ScoredItem, len(histories))
	for i, history := range histories {
		items, titles, err := r.scorable(ctx, history, which.Among)
		if err != nil {
			return nil, err
		}
		if i > 0 || which.Among > 0 {
			which.Cost = nil
		}
		scores, err := titles.Scores(ctx, states[i:i+1], which.Cost)
		if err != nil {
			return nil, err
		}
		for n, logProb := range scores[0] {
			ranked[i] = append(ranked[i], ScoredItem{items[n], logProb})
		}
		slices.SortStableFunc(ranked[i], func(a, b ScoredItem) int { return cmp.Compare(b.LogProb, a.LogProb) })
	}
	return ranked, nil
}

// openScorer makes the run's scorer at the first call.
func (r *Run) openScorer() error {
	precision, err := r.Spec.Precision.native()
	if err == nil && r.scorer == nil {
		r.scorer, err = r.Interpreter.NewScorer(precision)
	}
	return err
}

// scorable gives the items that Scoring.Among describes, and their titles.
func (r *Run) scorable(ctx context.Context, history []int32, among int) (items []int32, titles *interpret.Titles, err error) {
	if among > 0 {
		last := len(history) - 1
		best, err := recommender.Recommend(ctx, r.Live, [][]int32{history[:last]}, among)
		if err != nil {
			return nil, nil, err
		}
		items = append(items, history[last])
		for _, b := range best[0] {
			if b.Item != history[last] {
				items = append(items, b.Item)
			}
		}
		titles, err = r.scorer.Titles(r.Titles(items))
		return items, titles, err
	}
	for item := range r.Data.Items {
		items = append(items, int32(item))
	}
	if r.titles == nil {
		r.titles, err = r.scorer.Titles(r.Titles(items))
	}
	return items, r.titles, err
}
