package task

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

//go:embed claims.html
var claimsPage string

// claims is a task whose answers are lines from a closed set, each of them a claim. what completes
// the sentence "Say …".
func claims(name, what, reply string) Task {
	return Task{
		Name: name, Asks: prompt.Asked(name), Usage: what, Closed: true, Right: "all lines of the answer are right, and none is missing",
		Prompts: []prompt.Template{{
			Name: name, Asks: prompt.Asked(name), Reply: reply,
			Texts: []string{"Say " + what + ".", "Give " + what + ", one on each line.", "Tell me " + what + ".", "What do you know? Answer with " +
				what + "."},
			Untrained: []string{"I would like to know " + what + ".", "Write down " + what + " and nothing else."},
		}},
		Places: 1,
		Score: func(answer string, truth []string, known evaluate.Titles) (h evaluate.Hits) {
			for _, line := range evaluate.Lines(answer, truth) {
				h.Exact += count(line.Right)
				h.Valid += count(known.Has(line.Text))
			}
			h.Contains, h.Paper = h.Exact, h.Exact
			return h
		},
		Summarise: func(a *evaluate.Answers) Summary { return summariseClaims(name, a) },
		Named:     evaluate.Named,
		Parts:     byLine,
		Kind: func(free evaluate.Record, _ *evaluate.Record) string {
			switch {
			case whole(free):
				return Right
			case free.Exact > 0:
				return Near
			}
			return Wrong
		},
		Section: func(file string, b *Breakdown) any {
			return ClaimsSection{File: file, Result: summariseClaims(name, b.answers), Answers: b.said()}
		},
		Page: claimsPage,
	}
}

// whole reports whether an answer makes all true claims and no other.
func whole(r evaluate.Record) bool {
	return r.Exact == len(r.Titles) && len(evaluate.Lines(r.Answer, r.Titles)) == r.Exact
}

// Claims is the result of an evaluation whose answers are lists of claims.
type Claims struct {
	Basis
	Task        string               `json:"task"`
	Conditions  []ClaimsCondition    `json:"conditions"`
	Calibration evaluate.Calibration `json:"calibration"` // of free answers from the samples' own states
	Constant    ClaimsCondition      `json:"constant"`    // one answer to all questions: the most frequent true one
	Parted[Claims]
}

// ClaimsCondition is the outcome under one condition.
type ClaimsCondition struct {
	Name      string         `json:"name"`
	Exact     evaluate.Share `json:"exact"` // answers that make all true claims and no other
	Precision float64        `json:"precision"`
	Recall    float64        `json:"recall"`
	F1        float64        `json:"f1"`       // of all claims together (micro)
	Balanced  float64        `json:"balanced"` // mean recall of the values
	Allowed   evaluate.Share `json:"allowed"`  // answers that consist of allowed lines
}

func summariseClaims(name string, a *evaluate.Answers) *Claims {
	c := &Claims{Basis: basis(a), Task: name}
	for _, condition := range a.Header.Conditions {
		c.Conditions = append(c.Conditions, countClaims(condition, a.Of(condition)))
	}
	own := a.Of(evaluate.TrueState)
	c.Constant, c.Calibration = constant(own), calibrated(own, whole)
	c.Parted = parted(a, func(part *evaluate.Answers) *Claims { return summariseClaims(name, part) })
	return c
}

func countClaims(name string, records []evaluate.Record) ClaimsCondition {
	made, right, trueOnes, exact, allowed := 0, 0, 0, 0, 0
	asked, named := map[string]int{}, map[string]int{}
	for _, r := range records {
		lines := evaluate.Lines(r.Answer, r.Titles)
		made, right, trueOnes = made+len(lines), right+r.Exact, trueOnes+len(r.Titles)
		exact += count(whole(r))
		allowed += count(len(lines) > 0 && r.Valid == len(lines))
		for i, is := range evaluate.Named(r.Answer, r.Titles) {
			asked[r.Titles[i]]++
			named[r.Titles[i]] += count(is)
		}
	}
	c := ClaimsCondition{Name: name, Exact: evaluate.NewShare(exact, len(records)), Allowed: evaluate.NewShare(allowed, len(records)),
		Precision: ratio(right, made), Recall: ratio(right, trueOnes), F1: ratio(2*right, made+trueOnes)}
	for value, n := range asked {
		c.Balanced += ratio(named[value], n) / float64(len(asked))
	}
	return c
}

func ratio(n, of int) float64 { return float64(n) / float64(max(of, 1)) }

// constant is the score of the most frequent true answer. No constant chosen beforehand can know
// it.
func constant(records []evaluate.Record) ClaimsCondition {
	best, same := evaluate.MostFrequent(records), slices.Clone(records)
	for i := range same {
		same[i].Answer, same[i].Exact, same[i].Valid = best, 0, 0
		for _, line := range evaluate.Lines(best, same[i].Titles) {
			same[i].Exact += count(line.Right)
			same[i].Valid++
		}
	}
	return countClaims(strings.ReplaceAll(best, "\n", ", "), same)
}

// What names the figure.
func (c *Claims) What() string { return c.Task + " named" }

// Figures are the shares of answers that make all true claims and no other.
func (c *Claims) Figures() (figures []Figure) {
	for _, x := range c.Conditions {
		figures = append(figures, Figure{x.Name, false, x.Exact, fmt.Sprintf("F1 of all claims %.3f", x.F1)})
	}
	return figures
}

// Write writes a row for each condition, of all samples and, if items were held out, of both parts.
func (c *Claims) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tn\texact\t95 % interval\tF1\tprecision\trecall\tbalanced\tallowed answers")
	row := func(name string, n int, x ClaimsCondition) {
		fmt.Fprintf(w, "%s\t%d\t%.2f %%\t%.2f–%.2f\t%.3f\t%.3f\t%.3f\t%.3f\t%.1f %%\n", name, n, 100*x.Exact.Value, 100*x.Exact.Low,
			100*x.Exact.High, x.F1, x.Precision, x.Recall, x.Balanced, 100*x.Allowed.Value)
	}
	for of, part := range c.with(c) {
		for _, x := range part.Conditions {
			row(of+evaluate.ConditionNames[x.Name], part.N, x)
		}
		row(of+"always "+part.Constant.Name, part.N, part.Constant)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, "calibration error (ECE) of free answers' probabilities: %.3f\n", c.Calibration.ECE)
	return err
}

// ClaimsSection is an evaluation in a report.
type ClaimsSection struct {
	File    string   `json:"file"`
	Result  *Claims  `json:"result"`
	Answers []Answer `json:"answers"`
}
