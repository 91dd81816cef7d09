package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Parts is what a run stands on, opened.
type Parts struct {
	Data        *dataset.Dataset
	Split       dataset.Split // as the data set says, by the default protocol
	Recommender *recommender.Recommender
	GGUF        *cgo.GGUF
	Prompts     []*prompt.Prompt // the template's wordings
	Hashes      align.Provenance // of the three files, with the template
	Task        task.Task        // that the template asks

	encoding, engine *cgo.Engine // of the recommender, and of all else
	kind             align.Kind  // of the adapter
}

// openParts opens what the spec names and refuses pieces that do not belong together.
func openParts(encoding, engine *cgo.Engine, s Spec) (*Parts, error) {
	p := &Parts{encoding: encoding, engine: engine, kind: s.Adapter}
	if err := p.open(s); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Parts) open(s Spec) (err error) {
	if p.Data, err = dataset.Load(s.Dataset); err != nil {
		return err
	}
	if p.Split, err = p.Data.Split(dataset.DefaultProtocol()); err != nil {
		return err
	}
	if p.Recommender, err = recommender.Load(p.encoding, s.Recommender); err != nil {
		return err
	}
	if err := p.Recommender.TrainedOn(p.Data); err != nil {
		return err
	}
	if p.GGUF, err = cgo.OpenGGUF(s.LLM); err != nil {
		return err
	}
	if err := p.GGUF.CheckLLaMA(); err != nil {
		return fmt.Errorf("run: the LLM cannot be used: %w", err)
	}
	shown := prompt.Shown{Tokens: s.Tokens, PerState: 1, AllItems: s.Adapter.ShowsAllItems()}
	if s.Adapter == align.Recall {
		shown.PerState = p.lookUps()
	}
	if p.Task, err = task.Of(s.Template); err != nil {
		return err
	}
	if p.Prompts, err = task.Compile(p.GGUF, s.Template, shown); err != nil {
		return err
	}
	p.Hashes = align.Provenance{Recommender: p.Recommender.Hash(), Dataset: p.Data.Hash(), Template: s.Template}
	p.Hashes.LLM, err = artifact.HashFile(s.LLM)
	return err
}

// Close releases what is open. A second Close does nothing.
func (p *Parts) Close() error {
	var err error
	if p.GGUF != nil {
		err = p.GGUF.Close()
	}
	if p.Recommender != nil {
		err = errors.Join(err, p.Recommender.Close())
	}
	return err
}

// inputWidth is how many numbers the adapter reads at a time.
func (p *Parts) inputWidth() int {
	return align.InputWidth(p.Recommender, p.Prompts[0].SlotNames())
}

// Titles gives the clean titles of items.
func (p *Parts) Titles(items []int32) []string {
	titles := make([]string, len(items))
	for i, item := range items {
		titles[i] = p.Data.Items[item].Title
	}
	return titles
}

// lessons are the sequences that an adapter is trained on: those of the training part and, so that the share of them is drawn,
// copies that end in another item. Drawn items are all of the catalogue in turn, in random order: the recommender has a state for
// each, and an adapter that is to read it must not have met the popular ones only.
func (p *Parts) lessons(drawn float64, seed uint64) []dataset.Sequence {
	lessons := slices.Clone(p.Split.Train)
	random := rand.New(rand.NewPCG(seed, 0))
	var items []int
	for range int(drawn / (1 - drawn) * float64(len(p.Split.Train))) {
		if len(items) == 0 {
			items = random.Perm(len(p.Data.Items))
		}
		lesson := p.Split.Train[random.IntN(len(p.Split.Train))]
		lesson.Next, items = int32(items[0]), items[1:]
		lessons = append(lessons, lesson)
	}
	return lessons
}

// questions makes the task's questions of sequences.
func (p *Parts) questions(sequences []dataset.Sequence) []task.Question {
	questions := make([]task.Question, len(sequences))
	for i, s := range sequences {
		questions[i] = p.Task.Question(p.Data, s, p.Recommender.Positions())
	}
	return questions
}

// tell gives the tokens that name items: a title on each line.
func (p *Parts) tell(items [][]int32) ([][]int32, error) {
	texts := make([]string, len(items))
	for i := range items {
		texts[i] = strings.Join(p.Titles(items[i]), "\n")
	}
	return prompt.AllTokens(p.GGUF, texts)
}

// answers gives, for each sequence, the history that is asked about and the tokens to answer with.
func (p *Parts) answers(sequences []dataset.Sequence) (histories, answers [][]int32, err error) {
	var texts []string
	for _, q := range p.questions(sequences) {
		histories, texts = append(histories, q.History), append(texts, q.Text())
	}
	answers, err = prompt.AllTokens(p.GGUF, texts)
	return histories, answers, err
}

// most is how many items of a history can get soft tokens of their own: no more than there were in training.
func (p *Parts) most() int {
	return min(p.Recommender.Positions(), dataset.DefaultProtocol().MaxHistory+1)
}

// lookUps is how many items a recall adapter shows: as many as a history has in training, or all that there are.
func (p *Parts) lookUps() int {
	return min(p.Recommender.Positions(), dataset.DefaultProtocol().MaxHistory, len(p.Data.Items))
}

// longestAnswer is how many tokens the longest line of an answer takes, or the longest answer of the training part, about: lines
// can take a few tokens less or more together than one by one.
func (p *Parts) longestAnswer() (int, error) {
	tokens := map[string]int{}
	lines, _ := p.Task.Allowed(p.Data, p.Recommender.Positions())
	for _, line := range lines {
		answer, err := prompt.Tokens(p.GGUF, line)
		if err != nil {
			return 0, err
		}
		tokens[line] = len(answer)
	}
	longest := slices.Max(slices.Collect(maps.Values(tokens)))
	for _, q := range p.questions(p.Split.Train) {
		sum := 0
		for _, line := range q.Answer {
			sum += tokens[line]
		}
		longest = max(longest, sum)
	}
	return longest, nil
}

// States gives each history (dense item ids, oldest first) what the prompt asks for. Histories may hold virtual items, of the
// encoder's vectors.
func (p *Parts) States(ctx context.Context, encoder align.Encoder, histories [][]int32) ([]prompt.States, error) {
	if p.kind.ShowsAllItems() {
		cut := make([][]int32, len(histories))
		for i, history := range histories {
			cut[i] = history[max(0, len(history)-p.most()):]
		}
		histories = cut
	}
	return p.kind.States(ctx, encoder, p.Prompts[0].SlotNames(), histories)
}

// pairs makes those of the warm start: what stands for an item with that item's title; for a recall adapter, which learns there to look
// up what the samples name, these with all their titles.
func (p *Parts) pairs(ctx context.Context, encoder align.Encoder, sequences []dataset.Sequence, samples []prompt.Sample) ([]align.Pair, error) {
	if p.kind == align.Recall {
		return p.recalls(samples)
	}
	titles := make([]string, len(sequences))
	for i, s := range sequences {
		titles[i] = p.Data.Items[s.Next].Title
	}
	answers, err := prompt.AllTokens(p.GGUF, titles)
	if err != nil {
		return nil, err
	}
	return align.Pairs(ctx, encoder, p.Prompts[0].SlotNames(), recommender.Extended(sequences), answers)
}

// recalls makes the lessons of a recall adapter's warm start.
func (p *Parts) recalls(samples []prompt.Sample) ([]align.Pair, error) {
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
