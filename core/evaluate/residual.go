package evaluate

import "context"

// Result is what an evaluation of the residual task found.
type Result struct {
	Label      string      `json:"label"`
	N          int         `json:"n"`
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
	score := func(answer string, titles []string) hits {
		title := titles[0]
		return hits{count(Exact(answer, title)), count(Contains(answer, title)), count(Paper(answer, title)),
			count(known.Has(answer))}
	}
	j, err := ask(ctx, "residual", samples, answer, score, opts)
	if err != nil {
		return nil, err
	}
	result := &Result{Label: opts.Label, N: j.n, Seed: opts.Seed}
	for _, name := range j.header.Conditions {
		var sum hits
		records := j.of(name)
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
func (c *Condition) rank(records []record) {
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
