package recommender

import (
	"context"
	"fmt"
	"math"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/wilson"
)

// cutoffs are the k of HR@k and NDCG@k.
var cutoffs = [...]int{1, 5, 10, 20}

// Metrics say how high the next item is ranked among all items of the catalogue. Items of the
// history take part, as in the paper's family of work. With r = 1 + number of items that score
// higher + number of others that score the same / 2:
//
//	HR@k   = share of sequences with r ≤ k
//	NDCG@k = mean of 1/log2(r + 1) where r ≤ k, else 0
//	MRR    = mean of 1/r
type Metrics struct {
	N    int             `json:"n"`    // sequences
	HR   map[int]float64 `json:"hr"`   // by k = 1, 5, 10, 20
	NDCG map[int]float64 `json:"ndcg"` // by k = 1, 5, 10, 20
	MRR  float64         `json:"mrr"`
	CI   [2]float64      `json:"hr10_ci95"` // of HR@10, Wilson's score interval
}

// Evaluate ranks the next item of each sequence; a recommender that generates ranks by an oracle
// for each, as Scores does. The context is looked at between batches; progress may be nil.
func Evaluate(ctx context.Context, r Live, sequences []dataset.Sequence, progress func(done, total int)) (
	Metrics, error) {
	own, _ := r.(*Recommender)
	if t, ok := r.(timed); ok {
		own = t.Recommender
	}
	if own != nil && !own.Generates() {
		return own.evaluate(ctx, r, sequences, progress)
	}
	ranks := make([]float64, 0, len(sequences))
	items := r.Catalogue()
	score := func(dst []float32, histories [][]int32, first int) error { return r.Scores(ctx, dst, histories) }
	if own != nil { // whose oracles have numbers
		score = func(dst []float32, histories [][]int32, first int) error {
			return own.scores(ctx, dst, histories, first)
		}
	}
	scores := make([]float32, min(atOnce, len(sequences))*items)
	for from := 0; from < len(sequences); from += atOnce {
		part := sequences[from:min(from+atOnce, len(sequences))]
		scores := scores[:len(part)*items]
		if err := score(scores, pasts(r, part), from); err != nil {
			return Metrics{}, fmt.Errorf("recommender: from sequence %d on: %w", from, err)
		}
		for i, s := range part {
			if err := checkItem(s.Next, items); err != nil {
				return Metrics{}, fmt.Errorf("recommender: next of sequence %d: %w", from+i, err)
			}
			ranks = append(ranks, rank(scores[i*items:(i+1)*items], s.Next))
		}
		if progress != nil {
			progress(len(ranks), len(sequences))
		}
	}
	return measure(ranks), nil
}

// pasts gives the histories of sequences as an encoder takes them.
func pasts(r Live, sequences []dataset.Sequence) [][]int32 {
	histories := make([][]int32, len(sequences))
	for i, s := range sequences {
		histories[i] = r.Past(s, false)
	}
	return histories
}

// evaluate ranks by the states of an encoder, which is r itself or reads times as well, so that the
// scores of all items are never in memory.
func (r *Recommender) evaluate(ctx context.Context, encoder Live, sequences []dataset.Sequence, progress func(done, total int)) (Metrics, error) {
	ranks, states := make([]float64, len(sequences)), make([]float32, min(atOnce, len(sequences))*r.StateWidth())
	for from := 0; from < len(sequences); from += atOnce {
		part := sequences[from:min(from+atOnce, len(sequences))]
		states, next := states[:len(part)*r.StateWidth()], make([]int32, len(part))
		for i, s := range part {
			if err := checkItem(s.Next, r.config.Items); err != nil {
				return Metrics{}, fmt.Errorf("recommender: next of sequence %d: %w", from+i, err)
			}
			next[i] = s.Next
		}
		err := encoder.States(ctx, states, pasts(encoder, part))
		if err == nil {
			err = r.model.Rank(ranks[from:from+len(part)], states, next)
		}
		if err != nil {
			return Metrics{}, fmt.Errorf("recommender: from sequence %d on: %w", from, err)
		}
		if progress != nil {
			progress(from+len(part), len(sequences))
		}
	}
	return measure(ranks), nil
}

// rank is 1 + the number of items that score higher + half the number of others that score the
// same.
func rank(scores []float32, item int32) float64 {
	own := scores[item]
	higher, same := 0, -1
	for _, s := range scores {
		if s == own {
			same++
		} else if !(s < own) {
			higher++
		}
	}
	return 1 + float64(higher) + float64(same)/2
}

// measure summarises ranks. Of none, all figures are 0 and the interval says nothing.
func measure(ranks []float64) Metrics {
	m := Metrics{N: len(ranks), HR: map[int]float64{}, NDCG: map[int]float64{}}
	n := float64(max(len(ranks), 1))
	for _, k := range cutoffs {
		hits, gain := 0, 0.0
		for _, r := range ranks {
			if r <= float64(k) {
				hits++
				gain += 1 / math.Log2(r+1)
			}
		}
		m.HR[k], m.NDCG[k] = float64(hits)/n, gain/n
		if k == 10 {
			m.CI[0], m.CI[1] = wilson.Interval(hits, len(ranks))
		}
	}
	for _, r := range ranks {
		m.MRR += 1 / r / n
	}
	return m
}
