package run

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// answersAlone says whether the adapter answers without the LLM: it looks up what is asked for, or
// was warmed up to write answers by their tokens.
func (r *Run) answersAlone() bool {
	kind := r.Spec.Adapter.Entry()
	switch {
	case kind.LookUps:
		return true
	case kind.Entries:
		return r.Task.Last
	}
	return kind.Reads == adapter.OneState && !kind.Blind && r.Task.Legible
}

// alone answers by the adapter without the LLM: it says what it looks up, or the answer of the
// training part that its soft tokens come nearest to.
func (c *controlling) alone(ctx context.Context) (evaluate.Answerer, error) {
	states, err := c.States(ctx, c.Source, c.pasts)
	if err != nil {
		return nil, err
	}
	for i := range c.samples {
		c.samples[i].States = states[i]
	}
	trained, _, err := align.LoadAdapter(filepath.Join(c.dir, align.AdapterFile))
	if err != nil {
		return nil, err
	}
	if trained, err = trained.For(c.Spec.Template.Asks); err != nil {
		return nil, err
	}
	say := func(inputs []float32) ([]string, error) { return c.lookUp(trained, inputs) }
	if trained.Entries == 0 {
		lessons, err := c.lessonsOf(c.lessons(c.Spec.Drawn, c.Spec.Config.Seed))
		if err != nil {
			return nil, err
		}
		var texts []string
		var tokens [][]int32
		known := map[string]bool{}
		for _, l := range lessons {
			if text := strings.Join(l.lines, "\n"); l.task == 0 && !known[text] {
				known[text], texts, tokens = true, append(texts, text), append(tokens, l.answer)
			}
		}
		say = func(inputs []float32) ([]string, error) {
			nearest, err := trained.Nearest(c.engine, c.GGUF, inputs, tokens)
			said := make([]string, len(nearest))
			for i, at := range nearest {
				said[i] = texts[at]
			}
			return said, err
		}
	}
	return func(_ context.Context, asked []prompt.States) ([]prompt.Answer, error) {
		var inputs []float32
		for _, s := range asked {
			inputs = append(inputs, s.Values[len(s.Values)-trained.Width():]...) // of the last slot
		}
		texts, err := say(inputs)
		said := make([]prompt.Answer, len(texts))
		for i, text := range texts {
			said[i] = prompt.Answer{Text: text, Ended: true}
		}
		return said, err
	}, nil
}

// lookUp says what the entries hold that an adapter finds for each input: the answer about their
// item, or the titles of all that it shows.
func (c *controlling) lookUp(trained *align.Adapter, inputs []float32) ([]string, error) {
	best, err := trained.LookUp(c.engine, inputs)
	items := make([]int32, trained.Entries) // of each entry
	for item, entry := range c.places() {
		if !c.held[int32(item)] {
			items[entry] = int32(item)
		}
	}
	said := make([]string, len(best))
	for i, entries := range best {
		var lines []string
		for _, entry := range entries {
			if trained.LookUps > 0 {
				lines = append(lines, c.Data.Items[items[entry]].Title)
			} else {
				lines = append(lines, c.attribute(c.Task, items[entry])...)
			}
		}
		said[i] = strings.Join(lines, "\n")
	}
	return said, err
}
