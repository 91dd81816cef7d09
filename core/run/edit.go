package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Space knows where in the recommender's states the values of an attribute lie.
type Space struct {
	run     *Run
	task    task.Task
	states  []float32  // after training sequences, [n, W]
	answers [][]string // the values of their last items
}

// mostStates bounds the training sequences that directions are computed from.
const mostStates = 20_000

// Space computes the states that directions are taken from, without items that are held out.
// attribute is the name of a task about the last item, such as genres.
func (r *Run) Space(ctx context.Context, attribute string) (*Space, error) {
	if r.Recommender == nil {
		return nil, errNoRecommender
	}
	s := &Space{run: r}
	template, err := task.Prompt(attribute)
	if err == nil {
		s.task, err = task.Of(template)
	}
	if err != nil || !s.task.Last || s.task.Title {
		var known []string
		for _, t := range task.All() {
			if t.Last && !t.Title {
				known = append(known, t.Name)
			}
		}
		return nil, fmt.Errorf("run: %q is no attribute of the last item; states can be moved towards %s, or item:COLUMN for a column of the items' table",
			attribute, strings.Join(known, ", "))
	}
	slots := r.Prompts[0].SlotNames()
	if last := slots[len(slots)-1]; r.reads.EveryItem() || last != prompt.SlotState && last != prompt.SlotAfter {
		return nil, errors.New("run: the adapter does not read the state after the history alone, so that there is no state to move")
	}
	var histories [][]int32
	for _, i := range draw(len(r.Split.Train), mostStates, 1) {
		q := s.task.Question(r.Facts, r.Split.Train[i], r.Recommender.Positions())
		if len(q.Answer) > 0 && !r.held[q.History[len(q.History)-1]] {
			histories, s.answers = append(histories, q.History), append(s.answers, q.Answer)
		}
	}
	s.states = make([]float32, len(histories)*r.Recommender.StateWidth())
	return s, r.Recommender.States(ctx, s.states, histories)
}

// Values are those that at least so many items have, most items first.
func (s *Space) Values(least int) (values []string, items map[string]int) {
	items = map[string]int{}
	for item := range s.run.Data.Items {
		for _, value := range s.of(int32(item)) {
			items[value]++
		}
	}
	for value, n := range items {
		if n >= least {
			values = append(values, value)
		}
	}
	slices.SortFunc(values, func(a, b string) int {
		if items[a] != items[b] {
			return items[b] - items[a]
		}
		return strings.Compare(a, b)
	})
	return values, items
}

// of gives an item's values.
func (s *Space) of(item int32) []string { return s.run.attribute(s.task, item) }

// attribute gives what a task about the last item has for an answer where that is the item.
func (p *Parts) attribute(t task.Task, item int32) []string {
	return t.Question(p.Facts, dataset.Sequence{User: -1, Next: item}, 1).Answer
}

// Direction leads from the states after items without a value to those after items with it: the
// difference of their means.
func (s *Space) Direction(value string) ([]float32, error) {
	width := s.run.Recommender.StateWidth()
	var sums [2][]float64
	var counts [2]float64
	for i := range sums {
		sums[i] = make([]float64, width)
	}
	for i, answer := range s.answers {
		has := 0
		if slices.Contains(answer, value) {
			has = 1
		}
		counts[has]++
		for k, x := range s.states[i*width : (i+1)*width] {
			sums[has][k] += float64(x)
		}
	}
	if counts[0] == 0 || counts[1] == 0 {
		known, _ := s.Values(1)
		return nil, fmt.Errorf("run: %s %q is true of %.0f of %.0f training sequences' last items, so that there is no direction towards it; known are %q",
			s.task.Name, value, counts[1], counts[0]+counts[1], known)
	}
	direction := make([]float32, width)
	for k := range direction {
		direction[k] = float32(sums[1][k]/counts[1] - sums[0][k]/counts[0])
	}
	return direction, nil
}

// random gives a direction that means nothing, as long as another one.
func random(like []float32, seed uint64) []float32 {
	draws, other, own, drawn := rand.New(rand.NewPCG(seed, streamEdits)), make([]float32, len(like)), 0.0, 0.0
	for i, x := range like {
		other[i] = float32(draws.NormFloat64())
		own, drawn = own+float64(x)*float64(x), drawn+float64(other[i])*float64(other[i])
	}
	for i := range other {
		other[i] *= float32(math.Sqrt(own / drawn))
	}
	return other
}

// streamEdits tells the random numbers of directions from others of the same seed.
const streamEdits = 13

// Edited is what is said and recommended after a moved state.
type Edited struct {
	Answers []prompt.Answer // those that were weighed; none where the LLM was not asked
	Top     []recommender.Scored
}

// editedTop is how many items are recommended after an edit.
const editedTop = 10

// Edit moves the state after each history along a direction, and gives the likeliest answer of the
// LLM about it and what the recommender recommends.
func (r *Run) Edit(ctx context.Context, histories [][]int32, direction []float32, dose float64) ([]Edited, error) {
	return r.edit(ctx, histories, len(histories), r.ranker(r.Task.Places), direction, dose)
}

// edit is Edit, which has answers about the first histories alone weighed.
func (r *Run) edit(ctx context.Context, histories [][]int32, asked int, weigh evaluate.Ranker, direction []float32, dose float64) (
	[]Edited, error) {
	states, err := r.States(ctx, r.Recommender, histories)
	if err != nil {
		return nil, err
	}
	width := r.Recommender.StateWidth()
	moved := make([]float32, 0, len(histories)*width)
	for i := range histories {
		last := states[i].Values[len(states[i].Values)-width:] // of the last slot: the state after all of the history
		for k, d := range direction {
			last[k] += float32(dose) * d
		}
		moved = append(moved, last...)
	}
	var weighed [][]prompt.Answer
	if asked > 0 {
		if weighed, err = weigh(ctx, states[:asked]); err != nil {
			return nil, err
		}
	}
	scores := make([]float32, len(histories)*len(r.Data.Items))
	if err := r.Recommender.ScoreStates(scores, moved); err != nil {
		return nil, err
	}
	edited := make([]Edited, len(histories))
	for i, history := range histories {
		edited[i].Top = recommender.Highest(scores[i*len(r.Data.Items):][:len(r.Data.Items)], editedTop, history)
		if i < asked {
			edited[i].Answers = weighed[i]
		}
	}
	return edited, nil
}

// weigher weighs all answers that are true of training sequences' last items. A search for the
// likeliest answers would give all others the probability 0, at which doses tie.
func (s *Space) weigher() (evaluate.Ranker, error) {
	var texts []string
	for _, answer := range s.answers {
		texts = append(texts, strings.Join(answer, "\n"))
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	if err := s.run.openScorer(); err != nil {
		return nil, err
	}
	titles, err := s.run.scorer.Titles(texts)
	return func(ctx context.Context, states []prompt.States) ([][]prompt.Answer, error) {
		scores, err := titles.Scores(ctx, states, nil)
		weighed := make([][]prompt.Answer, len(scores))
		for i, of := range scores {
			for at, logProb := range of {
				weighed[i] = append(weighed[i], prompt.Answer{Text: texts[at], LogProb: logProb})
			}
		}
		return weighed, err
	}, err
}

// Says is the probability that a line is part of the answer, among those that were weighed.
func (e Edited) Says(line string) float64 {
	with, all := 0.0, 0.0
	best := slices.MaxFunc(e.Answers, func(a, b prompt.Answer) int { return cmp.Compare(a.LogProb, b.LogProb) }).LogProb
	for _, a := range e.Answers {
		p := math.Exp(a.LogProb - best)
		if all += p; slices.Contains(strings.Split(a.Text, "\n"), line) {
			with += p
		}
	}
	return with / all
}
