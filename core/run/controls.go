package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/probe"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/states"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// The controls of an evaluation: ways of answering the same questions.
const (
	Alone          = "adapter alone"                            // the entry that it looks up, or the answer nearest to its soft tokens, without the LLM
	LinearProbe    = "linear probe"                             // on the states that the prompt shows, without any LLM
	MLPProbe       = "MLP probe"                                // the same
	UntrainedProbe = "linear probe of an untrained recommender" // on the states of the recommender as it was before its training
	Permuted       = "permuted item table"                      // through the adapter, of a recommender that takes each item for another one
	Swapped        = "another last item"                        // through the adapter, of a history that ends in another item
	PlainText      = "history as plain text"                    // the titles of the history in place of the states
)

// claims are what the controls test that read states after the samples' own histories.
var claims = map[string]control.Claim{Alone: control.ThroughLLM, LinearProbe: control.ThroughLLM, MLPProbe: control.ThroughLLM,
	UntrainedProbe: control.FromLearned}

// Controls are those that apply to the run's task.
func (r *Run) Controls() []string {
	controls := []string{Permuted, PlainText}
	if r.Task.Last {
		controls = append(controls, Swapped)
	}
	if r.probed() {
		controls = append([]string{LinearProbe, MLPProbe, UntrainedProbe}, controls...)
	}
	controls = append([]string{Alone}, controls...)
	return slices.DeleteFunc(controls, func(control string) bool { return r.lacks(control) != nil })
}

// lacks says why a control cannot be made of the run's source of states.
func (r *Run) lacks(control string) error {
	switch {
	case control == UntrainedProbe && r.Recommender == nil:
		return errNoRecommender
	case (control == Permuted || control == Swapped) && r.Live == nil:
		return states.ErrUnknownHistory
	case control == Alone && !r.answersAlone():
		return fmt.Errorf("a %s adapter says nothing about the %s without the LLM", r.Spec.Adapter, r.Task.Asks)
	}
	return nil
}

// probed says whether the task's answers are few enough for probes.
func (r *Run) probed() bool {
	answers := map[string]bool{}
	for _, s := range r.Split.Train {
		if answers[r.question(s).Text()] = true; len(answers) > probe.MaxClasses {
			return false
		}
	}
	return true
}

// Answers evaluates the run and gives the answers. They are kept in the run's folder, from which
// the next call goes on. progress may be nil.
func (r *Run) Answers(ctx context.Context, dir string, kept AnswersOf, progress func(done, total int)) (*evaluate.Answers, error) {
	opts := evaluate.Options{Seed: kept.Seed, Controls: kept.Controls, Path: AnswersPath(dir, r.Task, kept), Progress: progress}
	if kept.Minutes > 0 {
		opts.Drawn = kept.Samples
	}
	if _, err := r.Evaluate(ctx, kept.Samples, opts); err != nil {
		return nil, err
	}
	return evaluate.ReadAnswers(opts.Path)
}

// WithControls evaluates the run and all of its controls, as Answers does. progress is told what
// answers.
func (r *Run) WithControls(ctx context.Context, dir string, kept AnswersOf, progress func(what string, done, total int)) (e control.Evaluated, err error) {
	kept.Controls = true
	if e.Answers, err = r.Answers(ctx, dir, kept, func(done, total int) { progress("own states", done, total) }); err != nil {
		return e, err
	}
	for _, name := range r.Controls() {
		kept.Control = name
		other, err := r.EvaluateControl(ctx, name, kept.Samples, evaluate.Options{Seed: kept.Seed, Path: AnswersPath(dir, r.Task, kept),
			Progress: func(done, total int) { progress(name, done, total) }})
		if err != nil {
			return e, err
		}
		e.Others = append(e.Others, *other)
	}
	return e, nil
}

// EvaluateControl asks a control about the samples that Evaluate asks about with the same n and
// seed. opts.Label is set here.
func (r *Run) EvaluateControl(ctx context.Context, name string, n int, opts evaluate.Options) (*control.Other, error) {
	if err := r.lacks(name); err != nil {
		return nil, fmt.Errorf("run: the control %q: %w", name, err)
	}
	samples, histories, pasts, err := r.evaluated(n, opts.Seed)
	if err != nil {
		return nil, err
	}
	c := &controlling{Run: r, samples: samples, histories: histories, pasts: pasts, seed: opts.Seed}
	defer c.close()
	answerer, err := c.answerer(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("run: the control %q: %w", name, err)
	}
	opts.Label, opts.Restricted, opts.Controls = r.label(), nil, false
	answers, err := evaluate.Ask(ctx, r.Task.Name, samples, answerer, r.score(), opts)
	return &control.Other{Name: name, Answers: answers, Tests: claims[name], Shown: c.shown}, err
}

// controlling is the evaluation of a control.
type controlling struct {
	*Run
	samples   []evaluate.Sample
	histories [][]int32 // items
	pasts     [][]int32 // the same, as the source of states takes them
	shown     map[string][]string
	seed      uint64
	closers   []func() error // of what was made for it
}

func (c *controlling) close() (err error) {
	for _, closer := range c.closers {
		err = errors.Join(err, closer())
	}
	return err
}

// answerer gives the samples what the control shows, and what answers them. What takes long is done
// when the first question comes.
func (c *controlling) answerer(ctx context.Context, control string) (evaluate.Answerer, error) {
	switch control {
	case Permuted:
		items := evaluate.Derangement(len(c.Data.Items), c.seed)
		for i, history := range c.histories {
			other := make([]int32, len(history))
			for at, item := range history {
				other[at] = int32(items[item])
			}
			c.histories[i] = other
		}
		return c.Interpreter.Answer, c.show(ctx)
	case Swapped:
		last := make([]int32, len(c.histories))
		for _, heldOut := range []bool{false, true} { // the item is as well known to the adapter as the sample's own
			var part [][]int32
			var of []int
			for i, history := range c.histories {
				if c.samples[i].HeldOut == heldOut {
					part, of = append(part, history), append(of, i)
				}
			}
			for i, other := range evaluate.Derangement(len(part), c.seed) {
				last[of[i]] = part[other][len(part[other])-1]
			}
		}
		for i, history := range c.histories {
			c.histories[i] = append(slices.Clone(history[:len(history)-1]), last[i])
		}
		return c.Interpreter.Answer, c.show(ctx)
	case PlainText:
		return c.plainText()
	case Alone:
		return c.alone(ctx)
	case LinearProbe:
		return c.probe(ctx, c.Source, probe.Linear(c.Spec.Config.Seed))
	case MLPProbe:
		return c.probe(ctx, c.Source, probe.MLP(c.Spec.Config.Seed))
	case UntrainedProbe:
		untrained, err := recommender.New(c.encoding, c.Recommender.Config())
		if err != nil {
			return nil, err
		}
		c.closers = append(c.closers, untrained.Close)
		return c.probe(ctx, untrained, probe.Linear(c.Spec.Config.Seed))
	}
	return nil, errors.New("there is no such control")
}

// show gives the samples the states of other histories, and notes what is true of these.
func (c *controlling) show(ctx context.Context) error {
	if err := c.give(c.States(ctx, c.Source, c.histories)); err != nil {
		return err
	}
	c.shown = map[string][]string{}
	for i := range c.samples {
		s, err := task.TestSequence(c.Split, c.samples[i].ID)
		if err != nil {
			return err
		}
		s.History = c.histories[i]
		if last := len(s.History) - 1; c.Task.Last {
			s.History, s.Next = s.History[:last], s.History[last]
		}
		c.shown[c.samples[i].ID] = c.Task.Question(c.Facts, s, c.Source.Positions()).Answer
	}
	return nil
}

// give gives the samples states, one after the other.
func (c *controlling) give(states []prompt.States, err error) error {
	for i := range states {
		c.samples[i].States = states[i]
	}
	return err
}

// probe answers by a probe on the states of an encoder, which learns from the adapter's training
// samples and is chosen by its validation samples.
func (c *controlling) probe(ctx context.Context, encoder adapter.Encoder, config probe.Config) (evaluate.Answerer, error) {
	if err := c.give(c.read(ctx, encoder, c.pasts)); err != nil {
		return nil, err
	}
	var answers *probe.Answers
	return func(ctx context.Context, asked []prompt.States) ([]prompt.Answer, error) {
		if answers == nil {
			train, err := c.lessonsOf(c.lessons(c.Spec.Drawn, c.Spec.Config.Seed))
			if err != nil {
				return nil, err
			}
			validation, err := c.validationLessons()
			if err != nil {
				return nil, err
			}
			var told [2]probe.Told
			for i, lessons := range [][]lesson{train, validation} {
				if told[i], err = c.told(ctx, encoder, lessons); err != nil {
					return nil, err
				}
			}
			if answers, err = probe.NewAnswers(ctx, c.engine, told[0], told[1], config); err != nil {
				return nil, err
			}
			c.closers = append(c.closers, answers.Close)
		}
		var inputs []float32
		for _, s := range asked {
			inputs = append(inputs, s.Values...)
		}
		lines, err := answers.Answer(ctx, inputs)
		said := make([]prompt.Answer, len(lines))
		for i := range said {
			said[i] = prompt.Answer{Text: strings.Join(lines[i], "\n"), Ended: true}
		}
		return said, err
	}, nil
}

// read gives the states that the prompt shows, side by side, whatever kind the adapter is of.
func (c *controlling) read(ctx context.Context, encoder adapter.Encoder, histories [][]int32) ([]prompt.States, error) {
	return adapter.OneState.States(ctx, encoder, c.Prompts[0].SlotNames(), histories)
}

// told puts lessons of the run's own task before an encoder, for probes.
func (c *controlling) told(ctx context.Context, encoder adapter.Encoder, lessons []lesson) (t probe.Told, err error) {
	var histories [][]int32
	for _, l := range lessons {
		if l.task == 0 {
			histories, t.Answers = append(histories, l.past), append(t.Answers, l.lines)
		}
	}
	states, err := c.read(ctx, encoder, histories)
	for _, s := range states {
		t.Inputs = append(t.Inputs, s.Values...)
	}
	return t, err
}

// mostExamples is how many examples the LLM is shown before a history as plain text, where its
// context has room for them: nothing else has taught it the question.
const mostExamples = 4

// examples are histories of the training part with their answers, as plain text.
func (c *controlling) examples() ([]string, error) {
	lessons, err := c.lessonsOf(c.Split.Train)
	if err != nil {
		return nil, err
	}
	lessons = slices.DeleteFunc(lessons, func(l lesson) bool { return l.task > 0 })
	random, texts := rand.New(rand.NewPCG(c.seed, streamExamples)), make([]string, mostExamples)
	for i := range texts {
		l := lessons[random.IntN(len(lessons))]
		texts[i] = fmt.Sprintf("%s:\n%s\n\n", c.listed(l.history), strings.Join(l.lines, "\n"))
		texts[i] = strings.NewReplacer("{", "(", "}", ")").Replace(texts[i]) // braces would be slots
	}
	return texts, nil
}

// streamExamples tells the random numbers of examples from others of the same seed.
const streamExamples = 11

// listed is a history as plain text.
func (c *controlling) listed(history []int32) string { return strings.Join(c.Titles(history), "; ") }

// plainText shows the LLM the titles of the history where the prompt shows states, after some
// examples. Answers are restricted to those that are allowed.
func (c *controlling) plainText() (evaluate.Answerer, error) {
	info, err := c.GGUF.Describe()
	if err != nil {
		return nil, err
	}
	// An adapter that changes nothing reads embeddings of tokens as if they were states: one for
	// each token.
	same := &align.Adapter{Shape: align.Shape{Kind: adapter.Projection, In: info.Embd, Tokens: 1, Embd: info.Embd},
		Values: [][]float32{make([]float32, info.Embd*info.Embd), make([]float32, info.Embd)}}
	for i := range info.Embd {
		same.Values[0][i*info.Embd+i] = 1
	}
	shown := make([][][]int32, len(c.histories)) // tokens of each slot
	longest := 0
	for i, history := range c.histories {
		for _, slot := range c.Prompts[0].SlotNames() {
			tokens, err := c.GGUF.Tokenize(c.listed(prompt.About(slot, history)), false)
			if err != nil {
				return nil, err
			}
			shown[i], longest = append(shown[i], tokens), max(longest, len(tokens))
		}
	}
	examples, err := c.examples()
	if err != nil {
		return nil, err
	}
	template, slots, maxTokens := c.Spec.Template, c.Prompts[0].Slots(), c.Interpreter.MaxTokens()
	var asking *prompt.Prompt
	for room := 0; room < longest; examples = examples[1:] {
		template.Examples, template.Reply = nil, strings.Join(examples, "")+c.Spec.Template.Reply+"\n"
		prompts, err := prompt.Compile(c.GGUF, template, prompt.Shown{Tokens: 1, PerState: 1})
		if err != nil {
			return nil, err
		}
		asking = prompts[c.wording]
		room = (info.Context - asking.Positions(make([]int, slots), maxTokens)) / slots
		if len(examples) == 0 {
			longest = min(longest, room) // the last tokens of longer histories
			break
		}
	}
	if longest < 1 {
		return nil, fmt.Errorf("the LLM's context of %d tokens has no room for a history", info.Context)
	}
	for i := range c.histories { // ids of tokens until they are asked for, since embeddings of all would take much memory
		states := prompt.States{}
		for _, tokens := range shown[i] {
			tokens = tokens[max(0, len(tokens)-longest):]
			states.Counts = append(states.Counts, len(tokens))
			for _, token := range tokens {
				states.Values = append(states.Values, float32(token))
			}
		}
		c.samples[i].States = states
	}
	opts := interpret.Options{Slots: c.Interpreter.Slots(), MaxTokens: maxTokens, MaxStates: longest}
	var reader *interpret.Interpreter
	return func(ctx context.Context, asked []prompt.States) ([]prompt.Answer, error) {
		grammar, err := c.Grammar()
		if err != nil {
			return nil, err
		}
		if reader == nil {
			if reader, err = interpret.New(c.engine, c.GGUF, same, asking, opts); err != nil {
				return nil, err
			}
			c.closers = append(c.closers, reader.Close)
		}
		embedded := make([]prompt.States, len(asked))
		for i, s := range asked {
			tokens := make([]int32, len(s.Values))
			for at, token := range s.Values {
				tokens[at] = int32(token)
			}
			embedded[i] = prompt.States{Counts: s.Counts, Values: make([]float32, len(tokens)*info.Embd)}
			if err := c.GGUF.Embed(embedded[i].Values, tokens); err != nil {
				return nil, err
			}
		}
		ranked, err := reader.Rank(ctx, embedded, grammar, 1)
		answers := make([]prompt.Answer, len(ranked))
		for i := range ranked {
			answers[i] = ranked[i][0]
		}
		return answers, err
	}, nil
}
