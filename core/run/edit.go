package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/control"
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
	template, err := task.Prompt(attribute)
	if err != nil {
		return nil, err
	}
	s := &Space{run: r}
	if s.task, err = task.Of(template); err != nil {
		return nil, err
	}
	if !s.task.Last || s.task.Title {
		return nil, fmt.Errorf("run: a state can be moved towards attributes of the last item, such as genres; %s is none", attribute)
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

// Doses are those of EvaluateEdits.
var Doses = []float64{-2, -1, 0, 1, 2}

// Curve is how two shares follow the dose, both means over histories.
type Curve struct {
	Words []float64 `json:"words,omitempty"` // probability that the answer names the value, at each dose; nil: not asked
	Top   []float64 `json:"top"`             // share of the top 10 that has it
}

// EditedValue is what moving states towards a value does.
type EditedValue struct {
	Value  string  `json:"value"`
	Items  int     `json:"items"`
	Own    Curve   `json:"own"`
	Random []Curve `json:"random"` // along random directions of the same length, at the lowest and the highest dose
}

// EditsOf describes an evaluation of edits.
type EditsOf struct {
	Samples int     // test sequences whose histories' states are moved
	Asked   int     // of them, which the LLM is asked about
	Minutes float64 // in place of Asked: the LLM is asked about as many as this takes, at least one
	Items   int     // least items that a value must have
	Seed    uint64
}

// Edits is what an evaluation of edits found.
type Edits struct {
	Label     string        `json:"label"`
	Attribute string        `json:"attribute"`
	Runs      int           `json:"runs,omitempty"` // whose means these are; 0: one
	N         int           `json:"n"`              // histories, of all runs
	Asked     int           `json:"asked"`          // those of them that the LLM is asked about
	Seed      uint64        `json:"seed"`
	Weighed   string        `json:"weighed"` // the answers whose probabilities are compared
	Doses     []float64     `json:"doses"`
	Values    []EditedValue `json:"-"`
}

// Random directions that are compared with each value's own. To recommend costs next to nothing, to
// ask the LLM does.
const (
	randomDirections = 20
	randomAsked      = 3 // so many of them are put into words
)

// ErrRare is the error of an evaluation of edits for which no value is frequent enough.
var ErrRare = errors.New("run: there is nothing to move states towards")

// EvaluateEdits moves the states after test histories towards each value that is frequent enough,
// and along random directions, and asks the LLM about the first of the histories. The run's task
// must be the attribute's. Finished values are kept in path. progress may be nil.
func (r *Run) EvaluateEdits(ctx context.Context, of EditsOf, path string, progress func(done, total int)) (_ *Edits, err error) {
	s, err := r.Space(ctx, r.Task.Name)
	if err != nil {
		return nil, err
	}
	values, items := s.Values(of.Items)
	if len(values) == 0 {
		return nil, fmt.Errorf("%w: no value of the %s is one of at least %d items", ErrRare, r.Task.Asks, of.Items)
	}
	_, histories, _, err := r.evaluated(of.Samples, of.Seed)
	if err != nil {
		return nil, err
	}
	if of.Minutes > 0 {
		if of.Asked, err = s.fitting(ctx, of.Minutes, len(values), histories[:1], path); err != nil {
			return nil, err
		}
	}
	asked := min(of.Asked, len(histories))
	e := Edits{Label: r.label(), Attribute: r.Task.Name, N: len(histories), Asked: asked, Seed: of.Seed,
		Weighed: fmt.Sprintf("those that are true of %d training sequences", len(s.answers)), Doses: Doses}
	journal, err := artifact.OpenJournal(path, e, func(records []EditedValue) (int, error) { return len(records), nil })
	if err != nil {
		return nil, fmt.Errorf("run: edits: %w", err)
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	if e.Values = journal.Records; len(e.Values) == len(values) { // nothing is left to ask the LLM about
		return &e, nil
	}
	weigh, err := s.weigher()
	if err != nil {
		return nil, err
	}
	unmoved, err := r.edit(ctx, histories, asked, weigh, nil, 0)
	if err != nil {
		return nil, err
	}
	curve := func(value string, direction []float32, doses []float64, asked int) (c Curve, err error) {
		for _, dose := range doses {
			edited := unmoved
			if dose != 0 {
				if edited, err = r.edit(ctx, histories, asked, weigh, direction, dose); err != nil {
					return c, err
				}
			}
			words, top := 0.0, 0.0
			for i, one := range edited {
				if i < asked {
					words += one.Says(value) / float64(asked)
				}
				for _, scored := range one.Top {
					if slices.Contains(s.of(scored.Item), value) {
						top += 1 / float64(len(edited)*len(one.Top))
					}
				}
			}
			if c.Top = append(c.Top, top); asked > 0 {
				c.Words = append(c.Words, words)
			}
		}
		return c, nil
	}
	ends := []float64{Doses[0], Doses[len(Doses)-1]}
	for at := len(journal.Records); at < len(values); at++ {
		value := EditedValue{Value: values[at], Items: items[values[at]]}
		direction, err := s.Direction(value.Value)
		if err != nil {
			return nil, err
		}
		value.Own, err = curve(value.Value, direction, Doses, asked)
		for number := 0; err == nil && number < randomDirections; number++ {
			asks, other := asked, Curve{}
			if number >= randomAsked {
				asks = 0
			}
			other, err = curve(value.Value, random(direction, of.Seed+uint64(at*randomDirections+number)), ends, asks)
			value.Random = append(value.Random, other)
		}
		if err != nil {
			return nil, artifact.Resumable(err)
		}
		if err := journal.Append(value); err != nil {
			return nil, fmt.Errorf("run: edits: %w", err)
		}
		if progress != nil {
			progress(at+1, len(values))
		}
	}
	e.Values = journal.Records
	return &e, nil
}

// fitting gives the number of histories that the LLM can be asked about in some minutes: the one of
// an evaluation that has begun, or what the time for one tells.
func (s *Space) fitting(ctx context.Context, minutes float64, values int, one [][]int32, path string) (int, error) {
	if begun, err := artifact.ReadJournal[Edits, EditedValue](path); err == nil { // opening the file tells what is wrong with it
		return begun.Header.Asked, nil
	}
	weigh, err := s.weigher()
	if err != nil {
		return 0, err
	}
	var took time.Duration
	for range 2 { // the first also does work that all later ones share
		began := time.Now()
		if _, err := s.run.edit(ctx, one, 1, weigh, nil, 0); err != nil {
			return 0, err
		}
		took = time.Since(began)
	}
	weighings := 1 + values*(len(Doses)-1+2*randomAsked)
	return max(1, int(minutes*float64(time.Minute)/float64(took)/float64(weighings))), nil
}

// PoolEdits gives the means of several runs' edits, such as runs of other seeds: of their curves,
// and of the rises along all of their random directions. It refuses edits of different values or
// doses.
func PoolEdits(runs []*Edits) (*Edits, error) {
	if len(runs) == 1 {
		return runs[0], nil
	}
	pooled := *runs[0]
	pooled.Runs, pooled.N, pooled.Asked, pooled.Values = len(runs), 0, 0, nil
	var labels []string
	for _, e := range runs {
		if e.Attribute != pooled.Attribute || !slices.Equal(e.Doses, pooled.Doses) ||
			!slices.EqualFunc(e.Values, runs[0].Values, func(a, b EditedValue) bool { return a.Value == b.Value }) {
			return nil, fmt.Errorf("run: edits of %s and of %s moved states towards other values; name runs on the same data set", runs[0].Label, e.Label)
		}
		labels = append(labels, e.Label)
		pooled.N, pooled.Asked = pooled.N+e.N, pooled.Asked+e.Asked
	}
	pooled.Label = strings.Join(labels, ", ")
	mean := func(at int, share func(Curve) []float64) []float64 {
		sums := make([]float64, len(pooled.Doses))
		for _, e := range runs {
			for dose, x := range share(e.Values[at].Own) {
				sums[dose] += x / float64(len(runs))
			}
		}
		return sums
	}
	for at, first := range runs[0].Values {
		value := EditedValue{Value: first.Value, Items: first.Items, Own: Curve{Words: mean(at, inWords), Top: mean(at, inTop)}}
		for _, e := range runs {
			value.Random = append(value.Random, e.Values[at].Random...)
		}
		pooled.Values = append(pooled.Values, value)
	}
	return &pooled, nil
}

func inWords(c Curve) []float64 { return c.Words }
func inTop(c Curve) []float64   { return c.Top }

// Effect is how a share follows the dose.
type Effect struct {
	Spearman float64 // rank correlation with the dose
	Rise     float64 // from the lowest dose to the highest
	Random   float64 // mean size of the rise along random directions
}

// Shows says whether the share rises with the dose, and at least three times as much as along
// random directions.
func (e Effect) Shows() bool { return e.Spearman >= 0.9 && e.Rise >= 3*e.Random }

// Effects are those on the words and on the top 10.
func (v EditedValue) Effects() (words, top Effect) {
	effect := func(of func(Curve) []float64) Effect {
		rise := func(share []float64) float64 { return share[len(share)-1] - share[0] }
		e, n := Effect{Spearman: control.Spearman(Doses, of(v.Own)), Rise: rise(of(v.Own))}, 0.0
		for _, c := range v.Random {
			if share := of(c); share != nil {
				e.Random, n = e.Random+math.Abs(rise(share)), n+1
			}
		}
		e.Random /= max(1, n)
		return e
	}
	return effect(inWords), effect(inTop)
}

// Following counts the values that words and the top 10 follow.
func (e *Edits) Following() (n int) {
	for _, v := range e.Values {
		if words, top := v.Effects(); words.Shows() && top.Shows() {
			n++
		}
	}
	return n
}

// Write writes a row for each value.
func (e *Edits) Write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\titems\twords, doses %v\trank corr.\trise\trandom\ttop 10\trank corr.\trise\trandom\t\n", e.Attribute, e.Doses)
	percent := func(shares []float64) string {
		var text []string
		for _, share := range shares {
			text = append(text, fmt.Sprintf("%.1f", 100*share))
		}
		return strings.Join(text, " ")
	}
	for _, v := range e.Values {
		words, top := v.Effects()
		mark := ""
		if words.Shows() && top.Shows() {
			mark = "follows"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%.2f\t%+.1f\t%.1f\t%s\t%.2f\t%+.1f\t%.1f\t%s\n", v.Value, v.Items, percent(v.Own.Words), words.Spearman,
			100*words.Rise, 100*words.Random, percent(v.Own.Top), top.Spearman, 100*top.Rise, 100*top.Random, mark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	of := ""
	if e.Runs > 0 {
		of = fmt.Sprintf(" of %d runs", e.Runs)
	}
	_, err := fmt.Fprintf(to, "shares in %%, means over %d histories%s (in words: %d of them); %d of %d values rise with the dose in words and in the top 10 (rank correlation at least 0.9), "+
		"at least 3 times as much as along random directions\n", e.N, of, e.Asked, e.Following(), len(e.Values))
	return err
}
