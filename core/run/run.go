package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/grammar"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Run is a trained run, open for questions. It is not safe for concurrent use.
type Run struct {
	*Parts
	Spec       Spec
	Provenance align.Provenance // what the adapter was made from, and how long it trained
	// Interpreter answers by one of the prompt's wordings. It belongs to the run.
	Interpreter *interpret.Interpreter

	drawn   bool              // words are drawn
	wording int               // number of the prompt that questions are put in
	grammar *grammar.Grammar  // nil until it is needed
	scorer  *interpret.Scorer // nil until it is needed
	titles  *interpret.Titles // of the catalogue; nil until they are scored
	hash    string            // of the adapter's file
	dir     string            // the run's folder
}

// Open opens a trained run. An adapter that was trained with another recommender, LLM or data set
// than those that run.json names is refused.
func Open(engine *cgo.Engine, dir string, opts interpret.Options) (*Run, error) {
	return OpenApart(engine, engine, dir, opts)
}

// OpenApart opens a run whose recommender has an engine of its own: states need not wait then until
// the LLM has computed something on the other one.
func OpenApart(encoding, engine *cgo.Engine, dir string, opts interpret.Options) (*Run, error) {
	return OpenAsking(encoding, engine, dir, Asking{}, opts)
}

// Asking says which question a run is opened for, of those that its adapter was trained on. The
// zero value is the first one in its first wording.
type Asking struct {
	Task    string // its name; "": the first
	Wording int    // number of the wording, from 0; those that training draws come first
}

// OpenAsking opens a run for one of its questions.
func OpenAsking(encoding, engine *cgo.Engine, dir string, asking Asking, opts interpret.Options) (*Run, error) {
	s, err := Read(dir)
	if err != nil {
		return nil, err
	}
	if s, err = s.first(asking); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, align.AdapterFile)
	trained, provenance, err := align.LoadAdapter(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("run: %s has no %s: its training has not ended; the same recint align command continues it",
			dir, align.AdapterFile)
	}
	if err != nil {
		return nil, err
	}
	if trained, err = trained.For(s.Template.Asks); err != nil {
		return nil, fmt.Errorf("%s: %w; %s names other questions", path, err, SpecFile)
	}
	parts, err := openParts(encoding, engine, s)
	if err != nil {
		return nil, err
	}
	r := &Run{Parts: parts, Spec: s, Provenance: provenance, dir: dir, wording: asking.Wording, drawn: opts.Sampling.Temperature > 0}
	if err := r.open(trained, path, opts); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Run) open(trained *align.Adapter, path string, opts interpret.Options) error {
	err := r.Provenance.Check(r.Hashes.Recommender, r.Hashes.LLM, r.Hashes.Dataset)
	if m := (*artifact.Mismatch)(nil); errors.As(err, &m) && m.Got == r.Hashes.Recommender && r.Spec.States != "" {
		m.On = "file of states"
		return fmt.Errorf("run: %s: %w", r.Spec.States, err)
	}
	if err != nil {
		return err
	}
	info, err := r.GGUF.Describe()
	if err != nil {
		return err
	}
	if err := trained.Fits(r.inputWidth(), info.Embd); err != nil {
		return err
	}
	if r.reads == adapter.EachState {
		opts.MaxStates = r.most()
	}
	if opts.MaxTokens == 0 {
		longest, err := r.longestAnswer()
		if err != nil {
			return err
		}
		opts.MaxTokens = max(interpret.DefaultMaxTokens, longest+longest/8) // a held-out answer may be longer
	}
	if opts.Slots > 0 {
		opts.Slots = max(opts.Slots, Places) // what a beam needs
	}
	if r.hash, err = artifact.HashFile(path); err != nil {
		return err
	}
	r.Interpreter, err = interpret.New(r.engine, r.GGUF, trained, r.Prompts[r.wording], opts)
	return err
}

// longestAnswer is how many tokens the longest line of an answer takes, or the longest answer of
// the training part, about: lines can take a few tokens less or more together than one by one.
func (r *Run) longestAnswer() (int, error) {
	lines, most := r.Task.Allowed(r.Facts, r.Source.Positions())
	if most == 1 {
		g, err := r.Grammar()
		if err != nil {
			return 0, err
		}
		return g.Longest(), nil
	}
	answers, err := prompt.AllTokens(r.GGUF, lines)
	if err != nil {
		return 0, err
	}
	tokens, longest := make(map[string]int, len(lines)), 0
	for i, line := range lines {
		tokens[line] = len(answers[i])
		longest = max(longest, tokens[line])
	}
	for _, s := range r.Split.Train {
		sum := 0
		for _, line := range r.question(s).Answer {
			sum += tokens[line]
		}
		longest = max(longest, sum)
	}
	return longest, nil
}

// Close releases what is open. A second Close does nothing.
func (r *Run) Close() error {
	var err error
	if r.scorer != nil {
		err = r.scorer.Close()
	}
	if r.Interpreter != nil {
		err = errors.Join(err, r.Interpreter.Close())
	}
	return errors.Join(err, r.Parts.Close())
}

// Interpret puts the recommender's states of histories (dense item ids, oldest first) into words,
// as the run's prompt asks: what the last item was, or what the items were. Where answers come from
// a closed set they keep to it, unless words are drawn.
func (r *Run) Interpret(ctx context.Context, histories [][]int32) ([]prompt.Answer, error) {
	states, err := r.States(ctx, r.Source, histories)
	if err != nil {
		return nil, err
	}
	keeps, err := r.Keeps()
	if err != nil {
		return nil, err
	}
	if keeps == nil {
		return r.Interpreter.Answer(ctx, states)
	}
	ranked, err := r.Interpreter.Rank(ctx, states, keeps, 1)
	if err != nil {
		return nil, err
	}
	answers := make([]prompt.Answer, len(ranked))
	for i := range ranked {
		answers[i] = ranked[i][0]
	}
	return answers, nil
}

// Question is the one that the run asks about a history of a user, -1 where nobody knows whose it
// is, with its true answer.
func (r *Run) Question(user int32, history []int32) task.Question {
	return r.Task.Ask(task.Subject{Facts: r.Facts, User: user, History: history, Positions: r.Source.Positions()})
}

// Evaluate asks the run's question about test sequences (n of them drawn by the seed; all if n is
// 0) and sums up the answers. opts.Label is set here.
func (r *Run) Evaluate(ctx context.Context, n int, opts evaluate.Options) (task.Summary, error) {
	samples, _, pasts, err := r.evaluated(n, opts.Seed)
	if err != nil {
		return nil, err
	}
	states, err := r.States(ctx, r.Source, pasts)
	if err != nil {
		return nil, err
	}
	for i := range samples {
		samples[i].States = states[i]
	}
	opts.Label, opts.Restricted = r.label(), r.ranker(r.Task.Places)
	answers, err := evaluate.Ask(ctx, r.Task.Name, samples, r.Interpreter.Answer, r.score(), opts)
	if err != nil {
		return nil, err
	}
	return r.Task.Summarise(answers), nil
}

// evaluated are the samples of an evaluation, without their states, and the histories that these
// are of: items, and as the source of states takes them.
func (r *Run) evaluated(n int, seed uint64) (samples []evaluate.Sample, histories, pasts [][]int32, err error) {
	chosen := draw(len(r.Split.Test), n, seed)
	for i, sequence := range r.testSequences(n, seed) {
		q := r.question(sequence)
		if len(q.Answer) == 0 || r.Task.Last && r.choosing[q.History[len(q.History)-1]] {
			continue // nobody knows it, or training chose the adapter by it
		}
		histories, pasts = append(histories, q.History), append(pasts, r.past(r.Task, sequence, q))
		samples = append(samples, evaluate.Sample{ID: task.SampleID(chosen[i]), Titles: q.Answer,
			HeldOut: r.Task.Last && r.held[q.History[len(q.History)-1]]})
	}
	if len(samples) == 0 {
		return nil, nil, nil, fmt.Errorf("run: nothing is known of the %s of any test sequence", r.Task.Asks)
	}
	return samples, histories, pasts, nil
}

// score compares answers with the truth.
func (r *Run) score() func(answer string, truth []string) evaluate.Hits {
	lines, _ := r.Task.Allowed(r.Facts, r.Source.Positions())
	known := evaluate.NewTitles(lines)
	return func(answer string, truth []string) evaluate.Hits { return r.Task.Score(answer, truth, known) }
}

// Places is how many of the likeliest titles an oracle has.
const Places = 5

// ranker gives the likeliest of the answers that the task allows.
func (r *Run) ranker(width int) evaluate.Ranker {
	return func(ctx context.Context, samples []prompt.States) ([][]prompt.Answer, error) {
		g, err := r.Grammar()
		if err != nil {
			return nil, err
		}
		return r.Interpreter.Rank(ctx, samples, g, width)
	}
}

// Keeps is the grammar that answers keep to in use: that of a closed set, unless words are drawn;
// else nil.
func (r *Run) Keeps() (*grammar.Grammar, error) {
	if !r.Task.Closed || r.drawn {
		return nil, nil
	}
	return r.Grammar()
}

// Grammar is that of the answers that the task allows. It is made at the first call.
func (r *Run) Grammar() (g *grammar.Grammar, err error) {
	if r.grammar == nil {
		lines, most := r.Task.Allowed(r.Facts, r.Source.Positions())
		r.grammar, err = grammar.Titles(r.GGUF, lines, most)
	}
	return r.grammar, err
}

// label says what an evaluation is of.
func (r *Run) label() string { return Label(r.hash, r.Hashes.Dataset) }

// Hash is the content hash of the adapter's file.
func (r *Run) Hash() string { return r.hash }

// Label is what evaluations of an adapter on a data set are called, by the content hashes of both.
func Label(adapter, dataset string) string {
	return fmt.Sprintf("adapter %s, data set %s", adapter, dataset)
}

// catalogue gives the clean titles of all items.
func (r *Run) catalogue() []string {
	titles := make([]string, len(r.Data.Items))
	for i, item := range r.Data.Items {
		titles[i] = item.Title
	}
	return titles
}

// draw chooses n of all numbers below total, in order, the same for the same seed; all of them if n
// is 0 or too many.
func draw(total, n int, seed uint64) []int {
	chosen := rand.New(rand.NewPCG(seed, 0)).Perm(total)
	if n > 0 && n < total {
		chosen = chosen[:n]
	}
	slices.Sort(chosen)
	return chosen
}
