package run

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// exemplified is how many examples are made for a question.
const exemplified = 6

// exemplify makes examples for questions whose answer is in one state, where the prompt has none,
// or some with a line that the data set does not allow: of the answers that are most frequent in
// training. The spec keeps them. A prompt with slots before the reply can have none.
func (p *Parts) exemplify(s *Spec, lessons []lesson) error {
	templates := s.Templates()
	for number, one := range p.asked {
		if !one.Closed || !one.inOneState() {
			continue
		}
		template := templates[number]
		allowed, _ := one.Allowed(p.Facts, p.Source.Positions())
		if len(template.Examples) > 0 && !slices.ContainsFunc(slices.Concat(template.Examples...), func(answer string) bool {
			return slices.ContainsFunc(strings.Split(answer, "\n"), func(line string) bool { return !slices.Contains(allowed, line) })
		}) {
			continue
		}
		template.Examples = examples(lessons, number)
		if template.Validate() != nil {
			continue
		}
		var err error
		if p.asked[number], err = p.compile(template); err != nil {
			return err
		}
		templates[number] = template
	}
	s.Template, s.Also = templates[0], append(s.Also[:0:0], templates[1:]...)
	p.Prompts, p.Hashes.Template = p.asked[0].prompts, s.Template
	return nil
}

// examples makes those of a task, each of the answers for two choices, one after the other.
func examples(lessons []lesson, task int) (all [][]string) {
	times := map[string]int{}
	for _, l := range lessons {
		if l.task == task {
			times[strings.Join(l.lines, "\n")]++
		}
	}
	answers := slices.SortedFunc(maps.Keys(times), func(a, b string) int { return cmp.Or(times[b]-times[a], strings.Compare(a, b)) })
	answers = answers[:min(exemplified, len(answers))]
	random, shown := rand.New(rand.NewPCG(1, 0)), []string(nil)
	for len(shown) <= exemplified { // few answers stand several times, in another order each time
		random.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
		shown = append(shown, answers...)
	}
	for i := range exemplified {
		all = append(all, shown[i:i+2])
	}
	return all
}
