package evaluate

import (
	"context"
	"fmt"
)

// Result is what an evaluation of the residual task found.
type Result struct {
	Label      string      `json:"label"`
	N          int         `json:"n"`               // samples asked about
	Shard      string      `json:"shard,omitempty"` // the part of the evaluation that they are, e.g. 2/4
	Seed       uint64      `json:"seed"`
	Conditions []Condition `json:"conditions"`
}

// Condition is the outcome under one condition.
type Condition struct {
	Name     string `json:"name"`
	Exact    Share  `json:"exact"`
	Contains Share  `json:"contains"`
	Paper    Share  `json:"paper"`
	Valid    Share  `json:"valid"`            // answers that are the title of any item of the catalogue, right or wrong
	Ranked   *Share `json:"ranked,omitempty"` // exact, among the likeliest answers: of restricted answers alone
	Places   int    `json:"places,omitempty"` // how many those are at most
}

// Residual asks for the one item of each sample. catalogue holds the clean titles of all items.
func Residual(ctx context.Context, samples []Sample, catalogue []string, answer Answerer, opts Options) (*Result, error) {
	known := NewTitles(catalogue)
	score := func(answer string, titles []string) Hits {
		title := titles[0]
		return Hits{count(Exact(answer, title)), count(Contains(answer, title)), count(Paper(answer, title)),
			count(known.Has(answer))}
	}
	answers, err := ask(ctx, ResidualTask, samples, answer, score, opts)
	if err != nil {
		return nil, err
	}
	return answers.Residual()
}

// ResidualTask and RecoveryTask are the evaluations that a file of answers can be of.
const (
	ResidualTask = "residual"
	RecoveryTask = "recovery"
)

// is refuses answers of another evaluation.
func (a *Answers) is(evaluation string) error {
	if a.Header.Evaluation != evaluation {
		return fmt.Errorf("evaluate: the answers are of a %s evaluation, not of %s", a.Header.Evaluation, evaluation)
	}
	return nil
}

// Residual counts the right answers of a residual evaluation.
func (a *Answers) Residual() (*Result, error) {
	if err := a.is(ResidualTask); err != nil {
		return nil, err
	}
	result := &Result{Label: a.Header.Label, N: a.n, Shard: a.Header.Shard, Seed: a.Header.Seed}
	for _, name := range a.Header.Conditions {
		var sum Hits
		records := a.Of(name)
		for _, r := range records {
			sum.Exact += r.Exact
			sum.Contains += r.Contains
			sum.Paper += r.Paper
			sum.Valid += r.Valid
		}
		n := len(records)
		c := Condition{Name: name, Exact: NewShare(sum.Exact, n), Contains: NewShare(sum.Contains, n),
			Paper: NewShare(sum.Paper, n), Valid: NewShare(sum.Valid, n)}
		if name == RestrictedState {
			c.rank(records)
		}
		result.Conditions = append(result.Conditions, c)
	}
	return result, nil
}

// rank counts the samples whose title is among the likeliest answers.
func (c *Condition) rank(records []Record) {
	hits := 0
	for _, r := range records {
		named := r.Exact > 0
		for _, other := range r.Others {
			named = named || Exact(other.Answer, r.Titles[0])
		}
		hits += count(named)
		c.Places = max(c.Places, 1+len(r.Others))
	}
	share := NewShare(hits, len(records))
	c.Ranked = &share
}
