package task

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

//go:embed recovery.html
var recoveryPage string

// recovery asks for the titles of a whole history, a line for each, oldest first if the states show
// the order: the recovery task of the paper. By the exact scorer a line of the answer has to be the
// title; the other scorers look for it anywhere. A title that occurs twice in a history must be
// named twice for the exact scorer, and once for the others.
func recovery() Task {
	const asks prompt.Asked = "history"
	worded := func(name string, texts ...string) prompt.Template {
		return prompt.Template{Name: name, Asks: asks, Texts: texts, Reply: "{state}:", Examples: [][]string{
			{"Back to the Future", "Jaws", "Singin' in the Rain"}, {"The Silence of the Lambs", "Heat", "The Lion King", "Fargo"},
		}}
	}
	return Task{
		Name: "recovery", Asks: asks, Own: true,
		Prompts: []prompt.Template{
			worded("recovery", "Repeat the titles, one on each line."),
			worded("recovery-varied",
				"Repeat the titles, one on each line.",
				"A person chose these titles. List them in their order.",
				"Which titles were chosen? Give each a line, the oldest first.",
				"Write the titles down, first to last.",
				"List what the person has chosen, a title on each line."),
		},
		Usage: "the items of a history, from its state", Right: "a line of the answer is the title",
		Ask: func(s Subject) Question {
			items := s.History[max(0, len(s.History)-s.Positions):]
			return Question{History: items, Items: items, Answer: titles(s.Data, items)}
		},
		Allowed:   func(f *Facts, positions int) ([]string, int) { return catalogue(f.Data), positions },
		Places:    1,
		Score:     recovered,
		Summarise: func(a *evaluate.Answers) Summary { return summariseRecovery(a) },
		Named:     evaluate.Named,
		Parts:     byLine,
		Kind: func(free evaluate.Record, _ *evaluate.Record) string {
			switch {
			case free.Exact == len(free.Titles):
				return Right
			case 2*free.Exact > len(free.Titles):
				return Near
			}
			return Wrong
		},
		Section: func(file string, b *Breakdown) any {
			return RecoverySection{File: file, Result: summariseRecovery(b.answers), ByPlace: b.ByPlace(), Details: b.Details()}
		},
		Page: recoveryPage,
	}
}

// Recovery is the result of an evaluation of the recovery task.
type Recovery struct {
	Basis
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
	Histogram []int          `json:"histogram"` // samples with exactly 0, 1, 2, … items named
	Mean      float64        `json:"mean"`      // items named
	OverFive  evaluate.Share `json:"over_five"` // samples with more than 5 items named, the paper's figure
}

func summariseRecovery(a *evaluate.Answers) *Recovery {
	result := &Recovery{Basis: basis(a)}
	for _, name := range a.Header.Conditions {
		records := a.Of(name)
		c := RecoveryCondition{Name: name,
			Exact:    summarise(records, func(h evaluate.Hits) int { return h.Exact }),
			Contains: summarise(records, func(h evaluate.Hits) int { return h.Contains }),
			Paper:    summarise(records, func(h evaluate.Hits) int { return h.Paper })}
		for _, r := range records {
			c.Valid += float64(r.Valid) / float64(len(records))
		}
		result.Conditions = append(result.Conditions, c)
	}
	return result
}

// What names the figure.
func (r *Recovery) What() string { return "items recovered" }

// Figures are the shares of histories with more than 5 items named.
func (r *Recovery) Figures() (figures []Figure) {
	for _, c := range r.Conditions {
		note := "%.2f items on average"
		if c.Name == evaluate.TrueState {
			figures = append(figures, Figure{c.Name, true, c.Paper.OverFive,
				fmt.Sprintf("histories of fewer than 6 items count as missed; "+note, c.Paper.Mean)})
			note = "lines are titles; " + note
		}
		figures = append(figures, Figure{c.Name, false, c.Exact.OverFive, fmt.Sprintf(note, c.Exact.Mean)})
	}
	return figures
}

// Write writes a row for each condition, and the numbers of items recovered from own states.
func (r *Recovery) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tmean, exact\tmore than 5\t95 % interval\tmean, contains\tmore than 5\tmean, paper\tmore than 5\ttitles in an answer")
	for _, c := range r.Conditions {
		over := c.Exact.OverFive
		fmt.Fprintf(w, "%s\t%.2f\t%.2f %%\t%.2f–%.2f", evaluate.ConditionNames[c.Name], c.Exact.Mean, 100*over.Value, 100*over.Low,
			100*over.High)
		for _, s := range []Recovered{c.Contains, c.Paper} {
			fmt.Fprintf(w, "\t%.2f\t%.2f %%", s.Mean, 100*s.OverFive.Value)
		}
		fmt.Fprintf(w, "\t%.1f\n", c.Valid)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(to, "\nsamples by the number of items recovered, own states, exact:"); err != nil {
		return err
	}
	w = tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	for n, samples := range r.Conditions[0].Exact.Histogram {
		fmt.Fprintf(w, "%d\t%d\t%.1f %%\t %s\n", n, samples, 100*float64(samples)/float64(r.N),
			strings.Repeat("█", (50*samples+r.N-1)/r.N))
	}
	return w.Flush()
}

// RecoverySection is an evaluation in a report.
type RecoverySection struct {
	File    string    `json:"file"`
	Result  *Recovery `json:"result"`
	ByPlace []Group   `json:"by_place"` // in the history, its last item first
	Details
}

// recovered counts the items that an answer names.
func recovered(answer string, titles []string, known evaluate.Titles) (h evaluate.Hits) {
	for _, line := range evaluate.Lines(answer, titles) {
		h.Exact += count(line.Right)
		h.Valid += count(known.Has(line.Text))
	}
	seen := map[string]bool{}
	for _, title := range titles {
		key := evaluate.Normalise(title)
		if !seen[key] {
			h.Contains += count(evaluate.Contains(answer, title))
			h.Paper += count(evaluate.Paper(answer, title))
		}
		seen[key] = true
	}
	return h
}

// summarise counts records by the items that they name.
func summarise(records []evaluate.Record, named func(evaluate.Hits) int) Recovered {
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
	r.OverFive = evaluate.NewShare(over, len(records))
	return r
}
