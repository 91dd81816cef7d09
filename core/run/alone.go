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

// answersAlone says whether the adapter answers without the LLM: the warm start taught it the
// entries that it looks up, or the first tokens of answers.
func (r *Run) answersAlone() bool {
	kind := r.Spec.Adapter.Entry()
	switch {
	case r.Spec.Config.WarmSteps == 0:
		return false
	case kind.LookUps:
		return !r.Task.Closed
	case kind.Entries:
		return r.Task.Last
	}
	return kind.Reads == adapter.OneState && !kind.Blind && r.Task.Legible
}

// alone answers by the adapter without the LLM: with what is true of the item whose entry fits
// best, with the titles of all entries that it shows, or with the answer of the training samples
// that its soft tokens come nearest to.
func (c *controlling) alone(ctx context.Context) (evaluate.Answerer, error) {
	if err := c.give(c.States(ctx, c.Source, c.pasts)); err != nil {
		return nil, err
	}
	var alone *align.Alone
	var answers []string // of each entry or text
	return func(_ context.Context, asked []prompt.States) ([]prompt.Answer, error) {
		if alone == nil {
			trained, _, err := align.LoadAdapter(filepath.Join(c.dir, align.AdapterFile))
			if err != nil {
				return nil, err
			}
			if trained, err = trained.For(c.Spec.Template.Asks); err != nil {
				return nil, err
			}
			var texts [][]int32
			if trained.Entries > 0 {
				answers = c.ofEntries()
			} else if answers, texts, err = c.trainingAnswers(); err != nil {
				return nil, err
			}
			if alone, err = align.NewAlone(c.engine, c.GGUF, trained, texts); err != nil {
				return nil, err
			}
			c.closers = append(c.closers, alone.Close)
		}
		var inputs []float32
		for _, s := range asked {
			inputs = append(inputs, s.Values[len(s.Values)-c.inputWidth():]...) // of the last slot
		}
		found, err := alone.Find(inputs)
		said := make([]prompt.Answer, len(found))
		for i, best := range found {
			var lines []string
			for _, at := range best {
				lines = append(lines, answers[at])
			}
			said[i] = prompt.Answer{Text: strings.Join(lines, "\n"), Ended: true}
		}
		return said, err
	}, nil
}

// ofEntries gives the answer that each entry stands for: what is true of its item or, where the
// question is not about the last item, the title.
func (c *controlling) ofEntries() []string {
	var answers []string
	for item := range c.Data.Items {
		if c.held[int32(item)] {
			continue
		}
		answer := c.Data.Items[item].Title
		if c.Task.Last {
			answer = strings.Join(c.attribute(c.Task, int32(item)), "\n")
		}
		answers = append(answers, answer)
	}
	return answers
}

// trainingAnswers gives the different answers of the training samples, as text and as tokens.
func (c *controlling) trainingAnswers() (texts []string, tokens [][]int32, err error) {
	lessons, err := c.lessonsOf(c.lessons(c.Spec.Drawn, c.Spec.Config.Seed))
	known := map[string]bool{}
	for _, l := range lessons {
		if text := strings.Join(l.lines, "\n"); l.task == 0 && !known[text] {
			known[text], texts, tokens = true, append(texts, text), append(tokens, l.answer)
		}
	}
	return texts, tokens, err
}
