package evaluate

import (
	"context"
	"strings"
)

// RecoveryResult is what an evaluation of the recovery task found.
type RecoveryResult struct {
	Label      string              `json:"label"`
	N          int                 `json:"n"`               // samples asked about
	Shard      string              `json:"shard,omitempty"` // the part of the evaluation that they are, e.g. 2/4
	Seed       uint64              `json:"seed"`
	Conditions []RecoveryCondition `json:"conditions"`
}

// RecoveryCondition is the outcome under one condition.
type RecoveryCondition struct {
	Name     string    `json:"name"`
	Exact    Recovered `json:"exact"`
	Contains Recovered `json:"contains"`
	Paper    Recovered `json:"paper"`
	Valid    float64   `json:"valid"` // titles of the catalogue among an answer's lines, right or wrong: the mean number
}

// Recovered counts the items of a history that answers name.
type Recovered struct {
	Histogram []int   `json:"histogram"` // samples of which exactly 0, 1, 2, … items are named
	Mean      float64 `json:"mean"`      // items named
	OverFive  Share   `json:"over_five"` // samples of which more than 5 items are named, the paper's figure
}

// Recovery asks for all items of each sample, a line for each. By the exact scorer a line of the answer has to be the title;
// the other scorers look for it anywhere. A title that a history holds twice has to be named twice by the exact scorer, and is
// one for the others. catalogue holds the clean titles of all items.
func Recovery(ctx context.Context, samples []Sample, catalogue []string, answer Answerer, opts Options) (*RecoveryResult, error) {
	known := NewTitles(catalogue)
	score := func(answer string, titles []string) Hits { return recovered(answer, titles, known) }
	answers, err := ask(ctx, RecoveryTask, samples, answer, score, opts)
	if err != nil {
		return nil, err
	}
	return answers.Recovery()
}

// Recovery counts the items named in the answers of a recovery evaluation.
func (a *Answers) Recovery() (*RecoveryResult, error) {
	if err := a.is(RecoveryTask); err != nil {
		return nil, err
	}
	result := &RecoveryResult{Label: a.Header.Label, N: a.n, Shard: a.Header.Shard, Seed: a.Header.Seed}
	for _, name := range a.Header.Conditions {
		records := a.Of(name)
		c := RecoveryCondition{Name: name,
			Exact:    summarise(records, func(h Hits) int { return h.Exact }),
			Contains: summarise(records, func(h Hits) int { return h.Contains }),
			Paper:    summarise(records, func(h Hits) int { return h.Paper })}
		for _, r := range records {
			c.Valid += float64(r.Valid) / float64(len(records))
		}
		result.Conditions = append(result.Conditions, c)
	}
	return result, nil
}

// Line is a line of an answer that lists titles.
type Line struct {
	Text  string `json:"text"`
	Right bool   `json:"right"` // it is one of the titles asked for, which no line before it has used up
}

// Lines judges the lines of an answer, empty ones left out, by the exact scorer.
func Lines(answer string, titles []string) []Line {
	left := map[string]int{}
	for _, title := range titles {
		left[normalise(title)]++
	}
	lines := []Line{}
	for text := range strings.Lines(answer) {
		key := normalise(text)
		if key == "" {
			continue
		}
		lines = append(lines, Line{strings.TrimSpace(text), left[key] > 0})
		left[key]--
	}
	return lines
}

// Named says which titles are named by a line of an answer, by the exact scorer. Of a title that is asked for twice and said
// once it is the first.
func Named(answer string, titles []string) []bool {
	said := map[string]int{}
	for text := range strings.Lines(answer) {
		said[normalise(text)]++
	}
	named := make([]bool, len(titles))
	for i, title := range titles {
		key := normalise(title)
		named[i] = said[key] > 0
		said[key]--
	}
	return named
}

// recovered counts what an answer names.
func recovered(answer string, titles []string, known Titles) (h Hits) {
	for _, line := range Lines(answer, titles) {
		h.Exact += count(line.Right)
		h.Valid += count(known.Has(line.Text))
	}
	seen := map[string]bool{}
	for _, title := range titles {
		key := normalise(title)
		if !seen[key] {
			h.Contains += count(Contains(answer, title))
			h.Paper += count(Paper(answer, title))
		}
		seen[key] = true
	}
	return h
}

// summarise counts records by the items that they name.
func summarise(records []Record, named func(Hits) int) Recovered {
	var r Recovered
	sum, over := 0, 0
	for _, record := range records {
		n := named(record.Hits)
		for len(r.Histogram) <= max(n, len(record.Titles)) {
			r.Histogram = append(r.Histogram, 0)
		}
		r.Histogram[n]++
		sum += n
		over += count(n > 5)
	}
	r.Mean = float64(sum) / float64(len(records))
	r.OverFive = NewShare(over, len(records))
	return r
}
