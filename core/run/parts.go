package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/states"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Parts is what a run stands on, opened.
type Parts struct {
	Data        *dataset.Dataset
	Split       dataset.Split            // as the data set says, by the default protocol; of its training and validation parts a sample, see mostSequences
	Source      adapter.Source           // of all states
	Live        recommender.Live         // the source, where it encodes any history; nil for a file of states
	Recommender *recommender.Recommender // the source, where its weights are at hand; else nil
	GGUF        *cgo.GGUF
	Prompts     []*prompt.Prompt // the template's wordings
	Hashes      align.Provenance // of the three files, with the template
	Task        task.Task        // that the template asks
	Facts       *task.Facts      // that true answers are made of

	shown    prompt.Shown   // how prompts show titles
	asked    []asked        // each task of the run, the first one being Task with Prompts
	held     map[int32]bool // items that training is kept from
	choosing map[int32]bool // those of them by which training chooses an adapter, about which no evaluation asks

	encoding, engine *cgo.Engine   // of the recommender, and of all else
	reads            adapter.Reads // what the adapter does
	entries          bool          // whether it looks entries up
	retrieves        bool          // whether it shows several of them
}

// asked is a task that the adapter is trained on.
type asked struct {
	task.Task
	prompts []*prompt.Prompt // wordings, those that training draws first
	trained int              // how many those are
}

// openParts opens what the spec names and refuses pieces that do not belong together.
func openParts(encoding, engine *cgo.Engine, s Spec) (*Parts, error) {
	kind := s.Adapter.Entry()
	p := &Parts{encoding: encoding, engine: engine, reads: kind.Reads, entries: kind.Entries, retrieves: kind.LookUps}
	if err := p.open(s); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Parts) open(s Spec) (err error) {
	opened := make(chan error, 1)
	go func() { opened <- p.openRecommender(s) }()
	p.Data, err = dataset.Load(s.Dataset)
	if err := cmp.Or(err, <-opened); err != nil {
		return err
	}
	if err := p.openSource(s); err != nil {
		return err
	}
	if p.GGUF, err = cgo.OpenGGUF(s.LLM); err != nil {
		return err
	}
	if err := p.GGUF.CheckTraining(); err != nil {
		return fmt.Errorf("run: the LLM cannot be used: %w", err)
	}
	p.shown = prompt.Shown{Tokens: s.Tokens, PerState: 1, AllItems: p.reads.ShowsAllItems()}
	if p.retrieves {
		p.shown.PerState = p.lookUps()
	}
	p.Facts = task.NewFacts(p.Data, p.Split)
	p.Split.Train = thin(p.Split.Train, int((1-s.Drawn)*mostSequences), s.Config.Seed)
	p.Split.Validation = thin(p.Split.Validation, mostSequences/8, s.Config.Seed)
	p.held, p.choosing = heldOut(p.Data, s.HoldOut, s.Config.Seed)
	for _, template := range s.Templates() {
		if slots, _ := template.Slots(); p.Live == nil && slices.ContainsFunc(slots, prompt.Compares) {
			return fmt.Errorf("run: prompt %q compares states after parts of a history, which a file of states does not hold", template.Name)
		}
		one, err := p.compile(template, s.Made)
		if err != nil {
			return err
		}
		p.asked = append(p.asked, one)
	}
	p.Task, p.Prompts = p.asked[0].Task, p.asked[0].prompts
	p.Hashes = align.Provenance{Recommender: p.Source.Hash(), Dataset: p.Data.Hash(), Template: s.Template}
	p.Hashes.LLM, err = artifact.HashFile(s.LLM)
	return err
}

// compile makes a task of its template, with the examples that training has made for it, if any.
// Those that show titles of held-out items are left out.
func (p *Parts) compile(template prompt.Template, made Examples) (one asked, err error) {
	one.trained = len(template.Texts)
	if one.Task, err = task.Of(template); err != nil {
		return one, err
	}
	if made := made[template.Asks]; made != nil {
		template.Examples = made
	}
	switch {
	case !one.Closed:
		template.Examples = slices.DeleteFunc(slices.Clone(template.Examples), p.shows)
	case !p.showsExamples(one.Task):
		template.Examples = nil
	}
	one.prompts, err = task.Compile(p.GGUF, template, p.shown)
	return one, err
}

// showsExamples says whether prompts of a closed question show examples to the adapter: one with
// entries, which hold titles or answers about items, can show none of other answers.
func (p *Parts) showsExamples(t task.Task) bool { return t.Last || !p.entries }

// mostSequences is how many sequences an adapter is trained on at most, drawn ones included; it is
// chosen by an eighth of them. States and titles of all are in memory, and few runs are long enough
// to see as many.
const mostSequences = 1 << 19

// thin draws so many sequences that there are at most n, and keeps their order.
func thin(sequences []dataset.Sequence, n int, seed uint64) []dataset.Sequence {
	if len(sequences) <= n {
		return sequences
	}
	thinned := make([]dataset.Sequence, n)
	for to, from := range draw(len(sequences), n, seed) {
		thinned[to] = sequences[from]
	}
	return thinned
}

// openRecommender opens the recommender, if the run has one.
func (p *Parts) openRecommender(s Spec) (err error) {
	if s.States != "" {
		return nil
	}
	if p.Live, err = recommender.Open(p.encoding, s.Recommender); err != nil {
		return err
	}
	p.Source = p.Live
	p.Recommender, _ = p.Live.(*recommender.Recommender)
	return nil
}

// openSource makes the sequences and opens the file of states, if they come from one.
func (p *Parts) openSource(s Spec) (err error) {
	if p.Live == nil {
		file, err := states.Open(context.Background(), s.States, p.Data)
		if err != nil {
			return err
		}
		p.Source = file
		p.Split, err = file.Split()
		return err
	}
	if p.Recommender != nil && p.Recommender.Config().Timed() {
		return recommender.ErrNoTimes
	}
	if err := p.Live.TrainedOn(p.Data); err != nil {
		return err
	}
	p.Split, err = p.Data.Split(dataset.DefaultProtocol())
	return err
}

// Close releases what is open. A second Close does nothing.
func (p *Parts) Close() error {
	var err error
	if p.GGUF != nil {
		err = p.GGUF.Close()
	}
	if p.Source != nil {
		err = errors.Join(err, p.Source.Close())
	}
	return err
}

// inputWidth is how many numbers the adapter reads at a time.
func (p *Parts) inputWidth() int {
	return adapter.InputWidth(p.Source, p.Prompts[0].SlotNames())
}

// Titles gives the clean titles of items.
func (p *Parts) Titles(items []int32) []string {
	titles := make([]string, len(items))
	for i, item := range items {
		titles[i] = p.Data.Items[item].Title
	}
	return titles
}

// lessons are the sequences that an adapter is trained on: those of the training part and, so that
// the share of them is drawn, copies that end in another item. Drawn items are all of the catalogue
// in turn, in random order: the recommender has a state for each, and an adapter that is to read it
// must not have met the popular ones only.
func (p *Parts) lessons(drawn float64, seed uint64) []dataset.Sequence {
	lessons := slices.Clone(p.Split.Train)
	random := rand.New(rand.NewPCG(seed, 0))
	var items []int
	for range int(drawn / (1 - drawn) * float64(len(p.Split.Train))) {
		if len(items) == 0 {
			items = slices.DeleteFunc(random.Perm(len(p.Data.Items)), func(item int) bool { return p.held[int32(item)] })
		}
		lesson := p.Split.Train[random.IntN(len(p.Split.Train))]
		lesson.Next, items = int32(items[0]), items[1:]
		lessons = append(lessons, lesson)
	}
	return lessons
}

// shows says whether an example's titles are of items that are held out.
func (p *Parts) shows(titles []string) bool {
	if len(p.held) == 0 {
		return false
	}
	catalogue := p.Data.Catalogue()
	return slices.ContainsFunc(titles, func(title string) bool {
		item, ok := catalogue.Lookup(title)
		return ok && p.held[item]
	})
}

// Latest gives the last items of a user, as the source of states takes a history. Where that is a
// file it may also be the name of a sequence.
func (p *Parts) Latest(user string) ([]int32, error) {
	if file, ok := p.Source.(*states.File); ok {
		past, ok := file.Latest(user)
		if !ok {
			return nil, fmt.Errorf("run: the file of states has no user or sequence %q", user)
		}
		return past[max(0, len(past)-p.Source.Positions()):], nil
	}
	if len(p.Data.Users) == 0 {
		return nil, fmt.Errorf("run: data set %s came as sequences and names no users; give a history", p.Data.Name)
	}
	number, ok := p.Data.User(user)
	if !ok {
		return nil, fmt.Errorf("run: data set %s has no user %q; its users are %s to %s", p.Data.Name, user, p.Data.Users[0],
			p.Data.Users[len(p.Data.Users)-1])
	}
	return p.Data.History(number, p.Source.Positions()), nil
}

// LatestOfAll is Latest for many users, whose histories are made once.
func (p *Parts) LatestOfAll() func(user string) ([]int32, error) {
	if _, ok := p.Source.(*states.File); ok || len(p.Data.Users) == 0 {
		return p.Latest
	}
	histories, numbers := p.Data.Histories(p.Source.Positions()), make(map[string]int, len(p.Data.Users))
	for i, id := range p.Data.Users {
		numbers[id] = i
	}
	return func(user string) ([]int32, error) {
		if number, ok := numbers[user]; ok {
			return histories[number], nil
		}
		return p.Latest(user) // says what is wrong
	}
}

// Given lays out states that are there without a history, as the run's prompt shows them: one for
// each slot, in their order.
func (p *Parts) Given(vectors [][]float32) (prompt.States, error) {
	width := p.inputWidth()
	for i, v := range vectors {
		if len(v) != width {
			return prompt.States{}, fmt.Errorf("run: state %d has %d numbers; it needs %d", i, len(v), width)
		}
	}
	return p.reads.Given(p.Source, p.Prompts[0].SlotNames(), vectors)
}

// ItemsOf gives the items of a history that Latest has given.
func (p *Parts) ItemsOf(past []int32) []int32 {
	if file, ok := p.Source.(*states.File); ok {
		return file.ItemsOf(past)
	}
	return past
}

// question makes the task's question of a sequence.
func (p *Parts) question(s dataset.Sequence) task.Question {
	return p.Task.Question(p.Facts, s, p.Source.Positions())
}

// tell gives the tokens that name items: a title on each line.
func (p *Parts) tell(items [][]int32) ([][]int32, error) {
	texts := make([]string, len(items))
	for i := range items {
		texts[i] = strings.Join(p.Titles(items[i]), "\n")
	}
	return prompt.AllTokens(p.GGUF, texts)
}

// past gives the history of a task's question about a sequence, as the source of states takes it.
func (p *Parts) past(t task.Task, s dataset.Sequence, q task.Question) []int32 {
	past := p.Source.Past(s, t.Last)
	return past[len(past)-len(q.History):]
}

// lesson is a question that an adapter is trained on.
type lesson struct {
	history []int32
	past    []int32  // the history, as the source of states takes it
	lines   []string // of the true answer
	answer  []int32  // their tokens
	task    int      // number in asked
}

// lessonsOf makes lessons of sequences, for all tasks in turn. What tells of held-out items is left
// out, and so is what nobody knows the answer to.
func (p *Parts) lessonsOf(sequences []dataset.Sequence) ([]lesson, error) {
	facts := p.Facts.Without(p.held)
	return p.lessonsWhere(sequences, func(t task.Task, s dataset.Sequence) task.Question {
		if q := t.Question(facts, s, p.Source.Positions()); !p.tells(t, q) {
			return q
		}
		return task.Question{}
	})
}

// validationLessons are those that an adapter is chosen by. Where items are held out, half of the
// questions about the last item are about held-out ones: neither an adapter that has memorised the
// others, nor one that has not learned them yet, reads states best. Titles are the exception, since
// no state spells them.
func (p *Parts) validationLessons() ([]lesson, error) {
	facts, unseen := p.Facts.Without(p.held), map[string]bool{}
	for _, one := range p.asked {
		unseen[one.Name] = p.unseen(one.Task)
	}
	all, err := p.lessonsWhere(p.Split.Validation, func(t task.Task, s dataset.Sequence) task.Question {
		if unseen[t.Name] && p.choosing[s.Next] {
			return t.Question(p.Facts, s, p.Source.Positions())
		}
		if q := t.Question(facts, s, p.Source.Positions()); !p.tells(t, q) {
			return q
		}
		return task.Question{}
	})
	if err != nil {
		return nil, err
	}
	var lessons []lesson
	for number, one := range p.asked {
		var parts [2][]lesson // about items that are not held out, and about others
		for _, l := range all {
			if l.task == number {
				held := 0
				if unseen[one.Name] && p.choosing[l.history[len(l.history)-1]] {
					held = 1
				}
				parts[held] = append(parts[held], l)
			}
		}
		seen, held := parts[0], parts[1]
		most := len(seen)
		if unseen[one.Name] {
			most = min(most, len(held))
		}
		for i := range most { // evenly from all of them
			lessons = append(lessons, seen[i*len(seen)/most])
		}
		lessons = append(lessons, held...)
	}
	return lessons, nil
}

// unseen says whether an adapter is chosen by a task's answers about items that it was not trained
// on.
func (p *Parts) unseen(t task.Task) bool {
	return t.Last && !t.Title && slices.ContainsFunc(p.Split.Validation, func(s dataset.Sequence) bool {
		return p.choosing[s.Next] && len(t.Question(p.Facts, s, p.Source.Positions()).Answer) > 0
	})
}

// lessonsWhere makes lessons of the questions that each task asks about sequences, those without an
// answer left out.
func (p *Parts) lessonsWhere(sequences []dataset.Sequence, ask func(task.Task, dataset.Sequence) task.Question) ([]lesson, error) {
	var lessons []lesson
	var texts []string
	for number, one := range p.asked {
		before, about := len(lessons), sequences
		if !one.Last { // of which copies that end in drawn items say nothing new
			about = about[:min(len(about), len(p.Split.Train))]
		}
		for _, s := range about {
			if q := ask(one.Task, s); len(q.Answer) > 0 {
				lessons = append(lessons, lesson{history: q.History, past: p.past(one.Task, s, q), lines: q.Answer, task: number})
				texts = append(texts, q.Text())
			}
		}
		if len(lessons) == before {
			return nil, fmt.Errorf("run: nothing is known of the %s; does the data set have such a column? recint data stats lists them",
				one.Asks)
		}
	}
	answers, err := prompt.AllTokens(p.GGUF, texts)
	for i := range answers {
		lessons[i].answer = answers[i]
	}
	return lessons, err
}

// samples puts lessons before an encoder.
func (p *Parts) samples(ctx context.Context, encoder adapter.Encoder, lessons []lesson) ([]prompt.Sample, error) {
	var all []prompt.Sample
	for number, one := range p.asked {
		var histories, pasts, answers [][]int32
		for _, l := range lessons {
			if l.task == number {
				histories, pasts, answers = append(histories, l.history), append(pasts, l.past), append(answers, l.answer)
			}
		}
		samples, err := p.reads.Samples(ctx, encoder, one.prompts[0].SlotNames(), pasts, answers)
		if err != nil {
			return nil, err
		}
		for i := range samples {
			samples[i].Task = number
			if p.retrieves {
				samples[i].Items = histories[i]
			}
		}
		all = append(all, samples...)
	}
	return all, nil
}

// trainedOn are the wordings of each task that training draws.
func (p *Parts) trainedOn() [][]*prompt.Prompt {
	wordings := make([][]*prompt.Prompt, len(p.asked))
	for i, one := range p.asked {
		wordings[i] = one.prompts[:one.trained]
	}
	return wordings
}

// most is how many items of a history can get soft tokens of their own: no more than there were in
// training.
func (p *Parts) most() int {
	return min(p.Source.Positions(), dataset.DefaultProtocol().MaxHistory+1)
}

// lookUps is how many entries an adapter shows that shows several: as many as a history has in
// training, or all that there are.
func (p *Parts) lookUps() int {
	return min(p.Source.Positions(), dataset.DefaultProtocol().MaxHistory, len(p.Data.Items))
}

// States gives each history (dense item ids, oldest first) what the prompt asks for. Histories may
// hold virtual items, of the encoder's vectors.
func (p *Parts) States(ctx context.Context, encoder adapter.Encoder, histories [][]int32) ([]prompt.States, error) {
	if p.reads.ShowsAllItems() {
		cut := make([][]int32, len(histories))
		for i, history := range histories {
			cut[i] = history[max(0, len(history)-p.most()):]
		}
		histories = cut
	}
	return p.reads.States(ctx, encoder, p.Prompts[0].SlotNames(), histories)
}

// pairs makes those of the warm start: a state, and what its soft tokens are to begin with. That is
// the answer to the question or, where no single state holds it, the title of the last item. An
// entry holds one answer, whatever is asked: that to the first question, if it is about the last
// item, or else its title. An adapter that shows several entries learns to look up what the samples
// name.
func (p *Parts) pairs(ctx context.Context, encoder adapter.Encoder, sequences []dataset.Sequence, samples []prompt.Sample) ([]align.Pair, error) {
	if p.retrieves {
		return p.lookedUp(samples)
	}
	if p.entries || p.reads != adapter.OneState {
		return p.named(ctx, encoder, sequences, 0)
	}
	pairs := p.answered(samples)
	for number, one := range p.asked {
		if !one.Legible {
			titles, err := p.named(ctx, encoder, sequences, number)
			if err != nil {
				return nil, err
			}
			pairs = append(pairs, titles...)
		}
	}
	return pairs, nil
}

// named makes a pair of each sequence for a question: the state after it, and the answer, if that
// is about the last item, or else the item's title.
func (p *Parts) named(ctx context.Context, encoder adapter.Encoder, sequences []dataset.Sequence, question int) ([]align.Pair, error) {
	var histories [][]int32
	var items []int32
	var texts []string
	for _, s := range sequences {
		text := p.Data.Items[s.Next].Title
		if t := p.asked[question]; t.Last {
			text = t.Question(p.Facts, s, p.Source.Positions()).Text()
		}
		if text != "" && !p.held[s.Next] {
			histories, items, texts = append(histories, p.Source.Past(s, true)), append(items, s.Next), append(texts, text)
		}
	}
	answers, err := prompt.AllTokens(p.GGUF, texts)
	if err != nil {
		return nil, err
	}
	pairs, err := align.Pairs(ctx, encoder, p.asked[question].prompts[0].SlotNames(), histories, answers)
	places := p.places()
	for i := range pairs {
		pairs[i].Items[0], pairs[i].Question = places[items[i]], question
	}
	return pairs, err
}

// answered makes a pair of each sample whose answer is in the state that its prompt shows last.
func (p *Parts) answered(samples []prompt.Sample) (pairs []align.Pair) {
	width := p.inputWidth()
	for _, s := range samples {
		if p.asked[s.Task].Legible {
			state := s.Values[len(s.Values)-width:]
			pairs = append(pairs, align.Pair{State: state, Items: []int32{0}, Titles: [][]int32{s.Answer}, Question: s.Task})
		}
	}
	return pairs
}

// places gives each item's entry in an adapter that has some: its place among the items that are
// not held out.
func (p *Parts) places() []int32 {
	places, next := make([]int32, len(p.Data.Items)), int32(0)
	for item := range places {
		places[item] = next
		if !p.held[int32(item)] {
			next++
		}
	}
	return places
}

// lookedUp makes the pairs for an adapter that shows several entries.
func (p *Parts) lookedUp(samples []prompt.Sample) ([]align.Pair, error) {
	items := make([][]int32, len(p.Data.Items))
	for i := range items {
		items[i] = []int32{int32(i)}
	}
	titles, err := p.tell(items)
	if err != nil {
		return nil, err
	}
	pairs := make([]align.Pair, len(samples))
	for i, s := range samples {
		distinct := slices.Compact(slices.Sorted(slices.Values(s.Items)))
		pairs[i] = align.Pair{State: s.Values, Items: distinct}
		for _, item := range distinct {
			pairs[i].Titles = append(pairs[i].Titles, titles[item])
		}
	}
	return pairs, nil
}
