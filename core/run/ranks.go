package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
)

// Ranks says where the true titles of held-out items stand among the titles of all held-out items,
// by log p(title | states). The adapter was trained on none of these titles, so that none has an
// advantage of having been trained.
type Ranks struct {
	Label  string       `json:"label"`
	Seed   uint64       `json:"seed"`
	N      int          `json:"n"`
	Titles int          `json:"titles"` // among which a title is ranked
	Rows   []RankedRow  `json:"-"`
	scored []titleScore // of each sample
}

// RankedRow is one way to rank: the share of the other titles that are less likely than the true
// one, in %, ties counting half. Titles ranked by chance have a median of 50.
type RankedRow struct {
	Name   string  `json:"name"`
	Median float64 `json:"median"`
	Low    float64 `json:"low"` // 95 % interval, by a bootstrap over users
	High   float64 `json:"high"`
}

// titleScore holds the scores of all titles for one sample.
type titleScore struct {
	Sample string    `json:"sample"`
	True   int       `json:"true"`   // number of the true title
	Scores []float64 `json:"scores"` // nats
}

// TitleRanks ranks the titles of held-out items for n test sequences that end in one; all if n is
// 0. Finished sequences are kept in path. told is told after two of the LLM's calls what the
// titles cost for each sequence. It and progress may be nil.
func (r *Run) TitleRanks(ctx context.Context, n int, seed uint64, path string, told func(interpret.Cost), progress func(done, total int)) (
	_ *Ranks, err error) {
	switch {
	case !r.Task.Title:
		return nil, fmt.Errorf("run: titles are ranked by a question for the title of the last item; this one asks for the %s", r.Task.Asks)
	case len(r.held) == 0:
		return nil, errors.New("run: this run holds no items out, so that all titles were trained; train one with held-out items")
	}
	titles, number := r.heldOutTitles()
	samples, _, pasts, err := r.evaluated(0, seed)
	if err != nil {
		return nil, err
	}
	var ends []int // samples that end in a held-out item
	for i, s := range samples {
		if s.HeldOut {
			ends = append(ends, i)
		}
	}
	asked := draw(len(ends), n, seed)
	if len(asked) < 2 {
		return nil, fmt.Errorf("run: %d test sequences end in a held-out item; at least 2 are needed", len(asked))
	}
	result := &Ranks{Label: r.label(), Seed: seed, N: len(asked), Titles: len(titles)}
	journal, err := artifact.OpenJournal(path, *result, func(records []titleScore) (int, error) { return len(records), nil })
	if err != nil {
		return nil, fmt.Errorf("run: ranks: %w", err)
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	precision, err := r.Spec.Precision.native()
	if err != nil {
		return nil, err
	}
	scorer, err := r.Interpreter.NewScorer(precision)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scorer.Close()) }()
	scored, err := scorer.Titles(titles)
	if err != nil {
		return nil, err
	}
	for at := len(journal.Records); at < len(asked); at++ {
		i := ends[asked[at]]
		states, err := r.States(ctx, r.Source, pasts[i:i+1])
		var scores [][]float64
		if err == nil {
			scores, err = scored.Scores(ctx, states, told)
			told = nil
		}
		if err != nil {
			return nil, artifact.Resumable(err)
		}
		score := titleScore{Sample: samples[i].ID, True: number[samples[i].Titles[0]], Scores: scores[0]}
		for k, x := range score.Scores {
			score.Scores[k] = math.Round(1e4*x) / 1e4
		}
		if err := journal.Append(score); err != nil {
			return nil, fmt.Errorf("run: ranks: %w", err)
		}
		if progress != nil {
			progress(at+1, len(asked))
		}
	}
	result.scored = journal.Records
	return result, result.rank(r.UserOf)
}

// heldOutTitles gives the titles of held-out items, each once, and their numbers.
func (r *Run) heldOutTitles() (titles []string, number map[string]int) {
	number = map[string]int{}
	for item, i := range r.Data.Items {
		if _, known := number[i.Title]; r.held[int32(item)] && !known {
			number[i.Title] = len(titles)
			titles = append(titles, i.Title)
		}
	}
	return titles, number
}

// rank ranks each sample's true title by its own states, by those of another sample, and by how
// much its own states favour each title over its mean under the states of all samples, which takes
// away that some titles are likelier than others whatever the states.
func (k *Ranks) rank(userOf func(sample string) (int32, error)) error {
	users, means := make([]int32, len(k.scored)), make([]float64, k.Titles)
	var err error
	for i, s := range k.scored {
		if users[i], err = userOf(s.Sample); err != nil {
			return err
		}
		for t, x := range s.Scores {
			means[t] += x / float64(len(k.scored))
		}
	}
	others := evaluate.Derangement(len(k.scored), k.Seed)
	for _, way := range []struct {
		name  string
		score func(sample, title int) float64
	}{
		{"own states", func(i, t int) float64 { return k.scored[i].Scores[t] }},
		{"states of another sample", func(i, t int) float64 { return k.scored[others[i]].Scores[t] }},
		{"own states, less each title's mean over all states", func(i, t int) float64 { return k.scored[i].Scores[t] - means[t] }},
	} {
		percentiles := make([]float64, len(k.scored))
		for i, s := range k.scored {
			scores := make([]float64, k.Titles)
			for t := range scores {
				scores[t] = way.score(i, t)
			}
			percentiles[i] = percentile(scores, s.True)
		}
		row := RankedRow{Name: way.name}
		row.Median, row.Low, row.High = control.Median(users, percentiles, k.Seed)
		k.Rows = append(k.Rows, row)
	}
	return nil
}

// percentile is the share of the other scores that are below one of them, in %; equal ones count
// half.
func percentile(scores []float64, of int) float64 {
	below := -0.5 // of itself
	for _, x := range scores {
		switch {
		case x < scores[of]:
			below++
		case x == scores[of]:
			below += 0.5
		}
	}
	return 100 * below / float64(max(1, len(scores)-1))
}

// Write writes a row for each way to rank.
func (k *Ranks) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "by\tn\tmedian percentile\t95 % interval")
	for _, row := range k.Rows {
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f–%.1f\n", row.Name, k.N, row.Median, row.Low, row.High)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, "percentile of the true title among the %d titles of held-out items, by their probability; chance is 50; intervals are a bootstrap over users\n",
		k.Titles)
	return err
}
