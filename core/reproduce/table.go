package reproduce

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Table sets each figure beside the paper's, and says what differs.
type Table struct {
	LLM     string `json:"llm"`
	Dataset string `json:"dataset"`
	Budget  string `json:"budget"`
	Rows    []Row  `json:"rows"`
	// Controls sets answers about genres beside controls; nil where the budget had no time for it.
	Controls *control.Table `json:"controls,omitempty"`
}

// Row is one figure.
type Row struct {
	What    string         `json:"what"`
	Ours    evaluate.Share `json:"ours"`
	Paper   string         `json:"paper"` // "" where the paper has no such figure
	Differs string         `json:"differs"`
}

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
	text := fmt.Sprintf("%s in place of LLaMA-7B; %s adapter, trained %.1f minutes", t.LLM, share.Adapter.Label(), minutes)
	if note := share.planned().loss; note != "" {
		text += "; " + note
	}
	return text
}

// addEvaluation adds what the evaluation of a run found.
func (t *Table) addEvaluation(share Share, minutes float64, found task.Summary) {
	p := share.planned()
	for _, f := range found.Figures() {
		switch f.Condition {
		case evaluate.TrueState:
			if !f.Paper {
				t.add(p.what+", exact", f.Share, "", f.Note)
				continue
			}
			differs := []string{t.differs(share, minutes), f.Note}
			if p.remark != "" {
				differs = append(differs, p.remark)
			}
			t.add(p.what+", as the paper scores", f.Share, p.paper, strings.Join(differs, "; "))
		case evaluate.RestrictedState:
			t.add(p.what+", restricted to titles", f.Share, "", f.Note)
		case evaluate.ZeroState:
			t.add("control: "+p.what+", zeros in place of the state", f.Share, "", f.Note)
		}
	}
}

// addEdits adds what moving states does.
func (t *Table) addEdits(e *run.Edits) {
	t.add(fmt.Sprintf("%s that words and top 10 follow when states are moved", e.Attribute), evaluate.NewShare(e.Following(), len(e.Values)), "",
		fmt.Sprintf("means of %d runs; %d histories, of which the LLM is asked about %d", max(1, e.Runs), e.N, e.Asked))
}

// addOracles adds the verdicts on a run's oracles.
func (t *Table) addOracles(share Share, oracles *run.OracleResult, verdicts *judge.Result) {
	p := share.planned()
	way := " (" + p.oracle + ")"
	t.add("an item's own embedding in the oracle's place names it"+way, oracles.Sanity, "", "how far the words of an oracle can be trusted")
	t.add("the oracle's words are a title"+way, oracles.Valid, "", "free answers")
	t.add("verdicts for the oracle, against "+verdicts.Against+"'s first recommendation"+way, verdicts.Preferred, paperOracle,
		fmt.Sprintf("%s; the oracle is %s; judged by %s in both orders, which agree in %.1f %% of the "+
			"cases (a judge that looks at the place alone: 50 %% for the oracle, never the same verdict)", t.differs(share, share.Minutes), p.how,
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
	if t.Controls == nil {
		return nil
	}
	if _, err := fmt.Fprintf(w, "\n| %s of the last item, %d seeds, micro-F1 | n | through the LLM | control | difference | 95 %% interval | adjusted p |\n"+
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n", t.Controls.Task, t.Controls.Runs); err != nil {
		return err
	}
	for _, r := range t.Controls.Rows {
		if _, err := fmt.Fprintf(w, "| %s: %s | %d | %v | %v | %+.3f | %+.3f to %+.3f | %.2g |\n", r.Part, r.Control, r.N, r.OwnF1, r.OtherF1,
			r.Difference.Mean, r.Difference.Low, r.Difference.High, r.Adjusted); err != nil {
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
