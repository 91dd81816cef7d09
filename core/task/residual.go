package task

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

//go:embed residual.html
var residualPage string

// residual asks for the title of the item that separates two states, the residual task of the
// paper. The LLM is asked as if the soft tokens were words, because the warm start fits them to the
// words of titles.
func residual() Task {
	const asks prompt.Asked = "last item"
	worded := func(name string, texts ...string) prompt.Template {
		return prompt.Template{Name: name, Asks: asks, Texts: texts, Reply: "{before}{after}:", Examples: pairs()}
	}
	return Task{
		Name: "residual", Asks: asks, Own: true, Last: true, Title: true, Legible: true,
		Prompts: []prompt.Template{
			worded("residual", "Repeat the second title."),
			worded("residual-varied",
				"Repeat the second title.",
				"Two titles, one chosen after the other. Say the second one.",
				"Which title was chosen last?",
				"Here is what a person liked, before and after one more choice. Which title was added?",
				"Name the title of the last choice, word for word."),
		},
		Usage: "the last item of a history, from the states before and after it", Right: "the answer is the title",
		Ask: func(s Subject) Question {
			items := s.History[len(s.History)-1:]
			return Question{History: s.History, Items: items, Answer: titles(s.Data, items)}
		},
		Allowed: func(f *Facts, _ int) ([]string, int) { return catalogue(f.Data), 1 },
		Places:  5,
		Score: func(answer string, truth []string, known evaluate.Titles) evaluate.Hits {
			title := truth[0]
			return evaluate.Hits{Exact: count(evaluate.Exact(answer, title)), Contains: count(evaluate.Contains(answer, title)),
				Paper: count(evaluate.Paper(answer, title)), Valid: count(known.Has(answer))}
		},
		Summarise: func(a *evaluate.Answers) Summary { return summariseResidual(a) },
		Named:     func(answer string, truth []string) []bool { return []bool{evaluate.Exact(answer, truth[0])} },
		Parts:     func(r evaluate.Record) []Part { return []Part{{r.LogProbs, r.Exact > 0}} },
		Kind:      residualKind,
		Section: func(file string, b *Breakdown) any {
			return ResidualSection{File: file, Result: summariseResidual(b.answers), ByPopularity: b.ByPopularity(), ByHistory: b.ByHistory(),
				Details: b.Details()}
		},
		Page: residualPage,
	}
}

// pairs are the examples of prompts that ask for one item.
func pairs() [][]string {
	return [][]string{
		{"Back to the Future", "Jaws"}, {"The Godfather", "Singin' in the Rain"}, {"Fargo", "One Flew Over the Cuckoo's Nest"},
		{"Toy Story", "The Silence of the Lambs"}, {"Dr. Strangelove", "Heat"}, {"The Lion King", "Four Weddings and a Funeral"},
	}
}

// Residual is the result of an evaluation of the residual task.
type Residual struct {
	Basis
	Conditions  []ResidualCondition  `json:"conditions"`
	Calibration evaluate.Calibration `json:"calibration"` // of free answers from the samples' own states
	Parted[Residual]
}

// ResidualCondition is the outcome under one condition.
type ResidualCondition struct {
	Name     string          `json:"name"`
	Exact    evaluate.Share  `json:"exact"`
	Contains evaluate.Share  `json:"contains"`
	Paper    evaluate.Share  `json:"paper"`
	Valid    evaluate.Share  `json:"valid"`            // answers that are the title of any item of the catalogue, right or wrong
	Ranked   *evaluate.Share `json:"ranked,omitempty"` // exact, among the likeliest answers; only of restricted answers
	Places   int             `json:"places,omitempty"` // the largest number of these
}

func summariseResidual(a *evaluate.Answers) *Residual {
	result := &Residual{Basis: basis(a), Parted: parted(a, summariseResidual),
		Calibration: calibrated(a.Of(evaluate.TrueState), func(r evaluate.Record) bool { return r.Exact > 0 })}
	for _, name := range a.Header.Conditions {
		var sum evaluate.Hits
		records := a.Of(name)
		for _, r := range records {
			sum.Exact += r.Exact
			sum.Contains += r.Contains
			sum.Paper += r.Paper
			sum.Valid += r.Valid
		}
		n := len(records)
		c := ResidualCondition{Name: name, Exact: evaluate.NewShare(sum.Exact, n), Contains: evaluate.NewShare(sum.Contains, n),
			Paper: evaluate.NewShare(sum.Paper, n), Valid: evaluate.NewShare(sum.Valid, n)}
		if name == evaluate.RestrictedState {
			c.rank(records)
		}
		result.Conditions = append(result.Conditions, c)
	}
	return result
}

// rank counts the samples whose title is among the likeliest answers.
func (c *ResidualCondition) rank(records []evaluate.Record) {
	hits := 0
	for _, r := range records {
		named := r.Exact > 0
		for _, other := range r.Others {
			named = named || evaluate.Exact(other.Answer, r.Titles[0])
		}
		hits += count(named)
		c.Places = max(c.Places, 1+len(r.Others))
	}
	share := evaluate.NewShare(hits, len(records))
	c.Ranked = &share
}

// What names the figure.
func (r *Residual) What() string { return "residual accuracy" }

// Figures are the shares of answers that are the title.
func (r *Residual) Figures() (figures []Figure) {
	notes := map[string]string{evaluate.TrueState: "the answer is the title and nothing else",
		evaluate.RestrictedState: "answers are titles of the catalogue", evaluate.ZeroState: "near 0 if the answer comes from the state"}
	for _, c := range r.Conditions {
		if c.Name == evaluate.TrueState {
			figures = append(figures, Figure{c.Name, true, c.Paper, "the title is not taken for a regular expression"})
		}
		figures = append(figures, Figure{c.Name, false, c.Exact, notes[c.Name]})
	}
	return figures
}

// Write writes a row for each condition, of all samples and, if items were held out, of both parts.
func (r *Residual) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tn\texact\t95 % interval\tcontains\t95 % interval\tpaper\t95 % interval\tanswers that are a title")
	for of, part := range r.with(r) {
		for _, c := range part.Conditions {
			row(w, of+evaluate.ConditionNames[c.Name], part.N, c.Exact, c.Contains, c.Paper)
			fmt.Fprintf(w, "\t%.1f %%\n", 100*c.Valid.Value)
			if c.Ranked != nil {
				row(w, fmt.Sprintf("%samong the %d likeliest titles", of, c.Places), part.N, *c.Ranked)
				fmt.Fprintln(w)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, "calibration error (ECE) of free answers' probabilities: %.3f\n", r.Calibration.ECE)
	return err
}

// row begins a line of a table with shares and their intervals.
func row(w io.Writer, name string, n int, shares ...evaluate.Share) {
	fmt.Fprintf(w, "%s\t%d", name, n)
	for _, s := range shares {
		fmt.Fprintf(w, "\t%.2f %%\t%.2f–%.2f", 100*s.Value, 100*s.Low, 100*s.High)
	}
}

// ResidualSection is an evaluation in a report.
type ResidualSection struct {
	File         string    `json:"file"`
	Result       *Residual `json:"result"`
	ByPopularity []Group   `json:"by_popularity"`
	ByHistory    []Group   `json:"by_history"` // by its length
	Details
}

// residualKind calls an answer near if the title is among the likeliest, or named except for a few
// letters.
func residualKind(free evaluate.Record, restricted *evaluate.Record) string {
	title := free.Titles[0]
	among := restricted != nil && (evaluate.Exact(restricted.Answer, title) ||
		slices.ContainsFunc(restricted.Others, func(o evaluate.Alternative) bool { return evaluate.Exact(o.Answer, title) }))
	switch {
	case evaluate.Exact(free.Answer, title):
		return Right
	case among || evaluate.Close(free.Answer, title):
		return Near
	}
	return Wrong
}
