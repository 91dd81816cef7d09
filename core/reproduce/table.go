package reproduce

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Table sets each figure beside the paper's, and says what differs.
type Table struct {
	LLM     string `json:"llm"`
	Dataset string `json:"dataset"`
	Budget  string `json:"budget"`
	Rows    []Row  `json:"rows"`
}

// Row is one figure.
type Row struct {
	What    string         `json:"what"`
	Ours    evaluate.Share `json:"ours"`
	Paper   string         `json:"paper"` // "" where the paper has no such figure
	Differs string         `json:"differs"`
}

// The paper's headline figures on MovieLens (arXiv 2310.20487, abstract and section 4), with LLaMA-7B.
const (
	paperResidual = "97.89 %" // DreamRec
	paperRecovery = "over 35 %"
	paperOracle   = "50.53 %"
)

// movieLens is the name of the data set that the paper's figures are beside.
const movieLens = "ml-100k"

func (t *Table) add(what string, ours evaluate.Share, paper, differs string) {
	if t.Dataset != movieLens {
		paper = ""
	}
	t.Rows = append(t.Rows, Row{what, ours, paper, differs})
}

// differs says what else a figure was made with.
func (t *Table) differs(share Share, minutes float64) string {
	text := fmt.Sprintf("%s in place of LLaMA-7B; %s adapter, trained %.1f minutes", t.LLM, share.Adapter, minutes)
	if share.Recommender == recommender.DreamRec {
		text += "; DreamRec with a cross-entropy beside its loss"
	}
	return text
}

func (t *Table) addEvaluation(share Share, minutes float64, found task.Summary) {
	switch found := found.(type) {
	case *task.Residual:
		t.addResidual(share, minutes, found)
	case *task.Recovery:
		t.addRecovery(share, minutes, found)
	}
}

func (t *Table) addResidual(share Share, minutes float64, r *task.Residual) {
	paper, name := "", "residual accuracy, "+share.Recommender
	switch {
	case share.Prompt == item:
		name = "items named from their own vectors, " + share.Recommender
	case share.Recommender == recommender.DreamRec:
		paper = paperResidual
	}
	for _, c := range r.Conditions {
		switch c.Name {
		case evaluate.TrueState:
			t.add(name+", as the paper scores", c.Paper, paper,
				t.differs(share, minutes)+"; the title is not taken for a regular expression")
			t.add(name+", exact", c.Exact, "", "the answer is the title and nothing else")
		case evaluate.RestrictedState:
			t.add(name+", restricted to titles", c.Exact, "", "answers are titles of the catalogue")
		case evaluate.ZeroState:
			t.add("control: "+name+", zeros in place of the state", c.Exact, "", "near 0 if the answer comes from the state")
		}
	}
}

func (t *Table) addRecovery(share Share, minutes float64, r *task.Recovery) {
	what := fmt.Sprintf("more than 5 items recovered, %s, %s", share.Recommender, share.Adapter)
	for _, c := range r.Conditions {
		paper, differs := paperRecovery, t.differs(share, minutes)+"; histories of fewer than 6 items count as missed"
		switch c.Name {
		case evaluate.TrueState:
			switch share.Adapter {
			case align.Positions:
				paper, differs = "", differs+"; it reads the state after every item, where the paper reads one vector"
			case align.Recall:
				differs += "; one vector, but what the states after every item add up to, and items are looked up by it, where the paper's map is linear"
			}
			t.add(what+", as the paper scores", c.Paper.OverFive, paper, fmt.Sprintf("%s; %.2f items on average", differs, c.Paper.Mean))
			t.add(what+", exact", c.Exact.OverFive, "", fmt.Sprintf("lines are titles; %.2f items on average", c.Exact.Mean))
		case evaluate.RestrictedState:
			t.add(what+", restricted to titles", c.Exact.OverFive, "", fmt.Sprintf("%.2f items on average", c.Exact.Mean))
		case evaluate.ZeroState:
			t.add("control: "+what+", zeros in place of the state", c.Exact.OverFive, "", fmt.Sprintf("%.2f items on average", c.Exact.Mean))
		}
	}
}

func (t *Table) addOracles(share Share, oracles *run.OracleResult, verdicts *judge.Result) {
	way, how := " (as the last of the history)", "read as a virtual item at the end of the history"
	if share.Prompt == item {
		way, how = " (by its own prompt)", "read by the item prompt, from its direction alone"
	}
	t.add("an item's own embedding in the oracle's place names it"+way, oracles.Sanity, "", "how far the words of an oracle can be trusted")
	t.add("the oracle's words are a title"+way, oracles.Valid, "", "free answers")
	t.add("verdicts for the oracle, against SASRec's first recommendation"+way, verdicts.Preferred, paperOracle,
		fmt.Sprintf("%s; the oracle is %s; judged by %s in both orders, which agree in %.1f %% of the "+
			"cases (a judge that looks at the place alone: 50 %% for the oracle, never the same verdict)", t.differs(share, share.Minutes), how,
			verdicts.Judge, 100*verdicts.Consistent.Value))
	t.add("the oracle wins in both orders"+way, verdicts.Win, "", fmt.Sprintf("%.1f %% ties", 100*verdicts.Tie.Value))
	t.add("verdicts for what is shown first"+way, verdicts.First, "", "half of them if the judge does not mind the place")
}

// WriteMarkdown writes the table for people.
func (t *Table) WriteMarkdown(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "| %s, %s, budget %s, seed 1 | ours | 95 %% interval | n | paper | what differs |\n"+
		"| --- | ---: | ---: | ---: | ---: | --- |\n", t.Dataset, t.LLM, t.Budget); err != nil {
		return err
	}
	for _, r := range t.Rows {
		paper := r.Paper
		if paper == "" {
			paper = "–"
		}
		if _, err := fmt.Fprintf(w, "| %s | %.2f %% | %.1f–%.1f | %d | %s | %s |\n", r.What, 100*r.Ours.Value, 100*r.Ours.Low, 100*r.Ours.High,
			r.Ours.N, paper, r.Differs); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes it for programs.
func (t *Table) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(t)
}
