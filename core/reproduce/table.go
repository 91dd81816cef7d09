package reproduce

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// Table sets each figure beside the paper's, and says what differs.
type Table struct {
	LLM    string `json:"llm"`
	Budget string `json:"budget"`
	Rows   []Row  `json:"rows"`
}

// Row is one figure.
type Row struct {
	What    string         `json:"what"`
	Ours    evaluate.Share `json:"ours"`
	Paper   string         `json:"paper"` // "" where the paper has no such figure
	Differs string         `json:"differs"`
}

// The paper's headline figures (arXiv 2310.20487, abstract and section 4), all with LLaMA-7B.
const (
	paperResidual = "97.89 %" // DreamRec, MovieLens
	paperRecovery = "over 35 %"
	paperOracle   = "50.53 %"
)

func (t *Table) add(what string, ours evaluate.Share, paper, differs string) {
	t.Rows = append(t.Rows, Row{what, ours, paper, differs})
}

// differs says what stands against the paper's 7 billion parameters and unbounded training.
func (t *Table) differs(share Share, minutes float64) string {
	return fmt.Sprintf("%s in place of LLaMA-7B; %s adapter, trained %.1f minutes", t.LLM, share.Adapter, minutes)
}

func (t *Table) addResidual(share Share, minutes float64, r *evaluate.Result) {
	paper := ""
	if share.Name == "residual-dreamrec" {
		paper = paperResidual
	}
	for _, c := range r.Conditions {
		switch c.Name {
		case evaluate.TrueState:
			t.add("residual accuracy, "+share.Recommender+", exact", c.Exact, "", t.differs(share, minutes))
			t.add("residual accuracy, "+share.Recommender+", as the paper scores", c.Paper, paper, "the title is not taken for a regular expression")
		case evaluate.RestrictedState:
			t.add("residual accuracy, "+share.Recommender+", restricted to titles", c.Exact, "", "answers are titles of the catalogue")
		case evaluate.ZeroState:
			t.add("control: "+share.Recommender+", a state of zeros", c.Exact, "", "near 0 if the answer comes from the state")
		}
	}
}

func (t *Table) addRecovery(share Share, minutes float64, r *evaluate.RecoveryResult) {
	for _, c := range r.Conditions {
		paper := paperRecovery
		differs := t.differs(share, minutes)
		switch {
		case c.Name == evaluate.TrueState && share.Adapter == "positions":
			paper, differs = "", differs+"; it reads the state after every item, not one vector"
		case c.Name == evaluate.RestrictedState:
			paper, differs = "", "answers are titles of the catalogue"
		case c.Name != evaluate.TrueState:
			continue
		}
		what := fmt.Sprintf("more than 5 items recovered, %s, %s", share.Recommender, share.Adapter)
		if c.Name == evaluate.RestrictedState {
			what += ", restricted to titles"
		}
		t.add(what, c.Exact.OverFive, paper, fmt.Sprintf("%s; %.2f items on average", differs, c.Exact.Mean))
	}
}

func (t *Table) addOracles(oracles *run.OracleResult, verdicts *judge.Result) {
	t.add("an item's own embedding in the oracle's place names it", oracles.Sanity, "", "what the words of an oracle can be trusted")
	t.add("verdicts for the oracle, against SASRec's first recommendation", verdicts.Preferred, paperOracle,
		fmt.Sprintf("judged by %s, in both orders", verdicts.Judge))
	t.add("the oracle wins in both orders", verdicts.Win, "", fmt.Sprintf("%.1f %% ties", 100*verdicts.Tie.Value))
	t.add("verdicts for what is shown first", verdicts.First, "", "half of them if the judge does not mind the place")
}

// WriteMarkdown writes the table for people.
func (t *Table) WriteMarkdown(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "| budget %s, %s | ours | 95 %% interval | n | paper | what differs |\n| --- | ---: | ---: | ---: | ---: | --- |\n",
		t.Budget, t.LLM); err != nil {
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
