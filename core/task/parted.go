package task

import (
	"iter"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Parted holds the summaries of both parts of an evaluation: samples that end in an item that the
// adapter was trained on, and samples that end in a held-out item. Both are nil if no items were
// held out.
type Parted[S any] struct {
	Seen    *S `json:"seen,omitempty"`
	HeldOut *S `json:"held_out,omitempty"`
}

// parted summarises both parts.
func parted[S any](a *evaluate.Answers, summarise func(*evaluate.Answers) *S) (p Parted[S]) {
	if seen, held := a.Parts(); held != nil {
		p.Seen, p.HeldOut = summarise(seen), summarise(held)
	}
	return p
}

// with yields the summary of all samples and then those of the parts, each with the words that
// begin its rows.
func (p Parted[S]) with(all *S) iter.Seq2[string, *S] {
	return func(yield func(string, *S) bool) {
		if yield("", all) && p.HeldOut != nil && yield("seen items: ", p.Seen) {
			yield("held-out items: ", p.HeldOut)
		}
	}
}

// calibrated compares the probabilities of answers with how often they are right.
func calibrated(records []evaluate.Record, right func(evaluate.Record) bool) evaluate.Calibration {
	logProbs, are := make([]float64, len(records)), make([]bool, len(records))
	for i, r := range records {
		logProbs[i], are[i] = r.LogProb, right(r)
	}
	return evaluate.Calibrate(logProbs, are)
}
