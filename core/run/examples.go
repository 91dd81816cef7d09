package run

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Examples are those that training makes for questions, as templates have them.
type Examples map[prompt.Asked][][]string

// How many examples are made for a question, and the most tokens of each of their answers, the end
// included: examples are part of every prompt.
const (
	examplesMade   = 6
	longestExample = 24
)

// makeExamples gives questions with a legible answer from a closed set examples, if their templates
// have none, or some with a line that the data set does not allow: of the answers that are most
// frequent in training. The spec keeps them. A template with slots before the reply can have none.
func (p *Parts) makeExamples(s *Spec, lessons []lesson) error {
	made := Examples{}
	for number, template := range s.Templates() {
		one := p.asked[number]
		if !one.Closed || !one.Legible || !p.showsExamples(one.Task) || p.reads.EveryItem() {
			continue
		}
		allowed, _ := one.Allowed(p.Facts, p.Source.Positions())
		misfit := func(answer string) bool {
			return slices.ContainsFunc(strings.Split(answer, "\n"), func(line string) bool { return !slices.Contains(allowed, line) })
		}
		if all := slices.Concat(template.Examples...); len(all) > 0 && !slices.ContainsFunc(all, misfit) {
			continue
		}
		template.Examples = examplesOf(lessons, number)
		if len(template.Examples) == 0 || template.Validate() != nil {
			continue
		}
		made[template.Asks] = template.Examples
		var err error
		if p.asked[number], err = p.compile(template, made); err != nil {
			return err
		}
	}
	if p.Prompts = p.asked[0].prompts; len(made) > 0 {
		s.Made = made
	}
	return nil
}

// examplesOf makes those of a question, each of the answers for two choices, one after the other.
func examplesOf(lessons []lesson, task int) (all [][]string) {
	times := map[string]int{}
	for _, l := range lessons {
		if l.task == task && len(l.answer) <= longestExample {
			times[strings.Join(l.lines, "\n")]++
		}
	}
	answers := slices.SortedFunc(maps.Keys(times), func(a, b string) int { return cmp.Or(times[b]-times[a], strings.Compare(a, b)) })
	if answers = answers[:min(examplesMade, len(answers))]; len(answers) == 0 {
		return nil
	}
	random, shown := rand.New(rand.NewPCG(1, 0)), []string(nil)
	for len(shown) <= examplesMade { // few answers stand several times, in another order each time
		random.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
		shown = append(shown, answers...)
	}
	for i := range examplesMade {
		all = append(all, shown[i:i+2])
	}
	return all
}
