package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/task"
)

//go:embed page.html
var pageText string

// newPage makes the page from its own template and those of the tasks.
func newPage() *template.Template {
	page := template.New("page")
	page.Funcs(template.FuncMap{
		"percent":     func(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) },
		"interval":    func(s evaluate.Share) string { return fmt.Sprintf("%.1f–%.1f", 100*s.Low, 100*s.High) },
		"width":       func(x float64) string { return fmt.Sprintf("%.2f", 100*x) },
		"shown":       func(x *float64) string { return fmt.Sprintf("%.3f", *x) },
		"number":      func(x float64) string { return fmt.Sprintf("%.2f", x) },
		"nats":        func(m task.Mean) string { return fmt.Sprintf("%.3f", m.LogProb) },
		"probability": probability,
		"share":       func(n, of int) float64 { return float64(n) / float64(max(of, 1)) },
		"name":        func(condition string) string { return evaluate.ConditionNames[condition] },
		"losses":      losses,
		"sureness":    sureness,
		"reliability": reliability,
		"fewest":      func() int { return fewest },
		"worst":       worst,
		"tokens":      tokens,
		"section": func(name string, data any) (template.HTML, error) {
			var text strings.Builder
			err := page.ExecuteTemplate(&text, name, data)
			return template.HTML(text.String()), err
		},
	})
	template.Must(page.Parse(pageText))
	for _, t := range task.Evaluations() {
		template.Must(page.New(t.Name).Parse(t.Page))
	}
	return page
}

// WriteHTML writes the page: one file that refers to no other.
func (r *Report) WriteHTML(w io.Writer) error { return newPage().Execute(w, r) }

func probability(x float64) string { return fmt.Sprintf("%.2g", x) }

// worst returns up to 20 of the items that answers, free or restricted, most often fail to name.
func worst(items []task.Item) []task.Item {
	wrong := func(i task.Item) int {
		if i.Restricted != nil {
			return 2*i.Asked - i.Free - *i.Restricted
		}
		return i.Asked - i.Free
	}
	items = slices.DeleteFunc(slices.Clone(items), func(i task.Item) bool { return wrong(i) == 0 })
	slices.SortStableFunc(items, func(a, b task.Item) int { return cmp.Or(wrong(b)-wrong(a), a.Asked-b.Asked) })
	return items[:min(20, len(items))]
}

// token is a piece of an answer in the form of the page's template.
type token struct {
	Text        string
	Probability string // "" where it is unknown
	Class       string // of the style sheet; "" for likely tokens
}

// tokens returns the pieces of an answer, with a sign for its end; line breaks are shown as points.
func tokens(s task.Said) (shown []token) {
	visible := strings.NewReplacer("\n", " · ")
	if len(s.LogProbs) == 0 {
		return []token{{Text: visible.Replace(s.Text)}}
	}
	for i, x := range s.LogProbs {
		p := math.Exp(x)
		t := token{Text: "⏎", Probability: probability(p)}
		if i < len(s.Tokens) {
			t.Text = visible.Replace(s.Tokens[i])
		}
		switch {
		case p < 0.1:
			t.Class = "unlikely"
		case p < 0.5:
			t.Class = "doubtful"
		case p < 0.9:
			t.Class = "unsure"
		}
		shown = append(shown, t)
	}
	return shown
}
