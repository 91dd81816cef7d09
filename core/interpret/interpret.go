package interpret

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/grammar"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// DefaultMaxTokens is where answers are cut if nothing else is said.
const DefaultMaxTokens = 48

// Options are how answers are generated.
type Options struct {
	Slots     int // samples answered side by side, 1..cgo.MaxSlots; 0: 32
	MaxTokens int // an answer is cut here; 0: DefaultMaxTokens
	MaxStates int // the most states in a slot of the prompt; 0: 1
	Sampling  Sampling
}

// Sampling is how the next token of a free answer is chosen. The zero value takes the likeliest.
type Sampling struct {
	Temperature float64 `json:"temperature"` // of the softmax that tokens are drawn from; 0: none are drawn
	TopP        float64 `json:"top_p"`       // only the likeliest tokens that make up this probability are drawn (Holtzman et al. 2020, arXiv 1904.09751); 0: all
	Seed        uint64  `json:"seed"`        // answer number n of a call follows from the seed and n
}

// Validate reports what is wrong with it, or nil.
func (s Sampling) Validate() error {
	if !(s.Temperature >= 0 && s.Temperature <= 100) || !(s.TopP >= 0 && s.TopP <= 1) {
		return fmt.Errorf("interpret: temperature %g and top-p %g; the first is 0 to 100, the second 0 to 1", s.Temperature, s.TopP)
	}
	if s.TopP > 0 && s.Temperature == 0 {
		return errors.New("interpret: a top-p without a temperature; nothing is drawn")
	}
	return nil
}

// Interpreter answers one prompt through one adapter. It is not safe for concurrent use.
type Interpreter struct {
	engine    *cgo.Engine
	gguf      *cgo.GGUF
	adapter   *cgo.Adapter
	generator *cgo.Generator
	prompt    *prompt.Prompt
	shape     align.Shape
	opts      Options
	vocab     int
	words     map[int32][]float32 // embeddings of the suffix's tokens
}

// New makes an interpreter. It keeps using engine and gguf, and copies the adapter.
func New(engine *cgo.Engine, gguf *cgo.GGUF, adapter *align.Adapter, p *prompt.Prompt, opts Options) (
	*Interpreter, error) {
	if opts.Slots == 0 {
		opts.Slots = 32
	}
	if opts.MaxTokens == 0 {
		opts.MaxTokens = DefaultMaxTokens
	}
	if opts.MaxStates == 0 {
		opts.MaxStates = 1
	}
	if opts.Slots < 1 || opts.Slots > cgo.MaxSlots || opts.MaxTokens < 1 {
		return nil, fmt.Errorf("interpret: %d slots and %d tokens at most; slots are 1 to %d, tokens at least 1",
			opts.Slots, opts.MaxTokens, cgo.MaxSlots)
	}
	if err := opts.Sampling.Validate(); err != nil {
		return nil, err
	}
	info, err := gguf.Describe()
	if err != nil {
		return nil, err
	}
	if err := adapter.Fits(adapter.In, int(info.Embd)); err != nil {
		return nil, err
	}
	if adapter.Tokens != p.TokensPerState() {
		return nil, fmt.Errorf("interpret: the adapter writes %d soft tokens for a state, the prompt has room for %d",
			adapter.Tokens, p.TokensPerState())
	}
	counts := make([]int, p.Slots())
	for slot := range counts {
		counts[slot] = opts.MaxStates
	}
	positions := p.Positions(counts, opts.MaxTokens)
	if positions > int(info.Context) {
		return nil, fmt.Errorf("interpret: the prompt and %d answer tokens take %d positions; the LLM's context has %d",
			opts.MaxTokens, positions, info.Context)
	}
	i := &Interpreter{engine: engine, gguf: gguf, prompt: p, shape: adapter.Shape, opts: opts, vocab: int(info.Vocab),
		words: map[int32][]float32{}}
	if err := i.open(adapter, p.Suffix(counts), positions); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

func (i *Interpreter) open(adapter *align.Adapter, suffix []int32, positions int) (err error) {
	if i.adapter, err = adapter.Model(i.engine); err != nil {
		return err
	}
	for _, token := range suffix {
		if token < 0 || i.words[token] != nil {
			continue
		}
		i.words[token] = make([]float32, i.shape.Embd)
		if err := i.gguf.Embed(i.words[token], []int32{token}); err != nil {
			return err
		}
	}
	params := cgo.GeneratorParams{Slots: i.opts.Slots, Context: positions}
	if i.generator, err = cgo.NewGenerator(i.engine, i.gguf, params); err != nil {
		return err
	}
	return i.generator.Prefix(i.prompt.Prefix())
}

// Close releases what the interpreter holds; a second Close does nothing.
func (i *Interpreter) Close() error {
	var err error
	if i.generator != nil {
		err = i.generator.Close()
	}
	if i.adapter != nil {
		err = errors.Join(err, i.adapter.Close())
	}
	return err
}

// Answer answers each sample, choosing tokens as Options.Sampling says. The answers do not depend
// on how many samples are answered side by side, up to rounding.
func (i *Interpreter) Answer(ctx context.Context, samples []prompt.States) ([]prompt.Answer, error) {
	ranked, err := i.search(ctx, samples, nil, 1)
	if err != nil {
		return nil, err
	}
	answers := make([]prompt.Answer, len(ranked))
	for n := range ranked {
		answers[n] = ranked[n][0]
	}
	return answers, nil
}

// Rank gives, for each sample, up to `width` of the likeliest answers that g allows, the likeliest
// first. It is a beam search: of the beginnings of answers only the `width` likeliest are pursued,
// so that a title that starts unlikely can be missed. An answer that is cut at MaxTokens ends with
// its last whole title.
func (i *Interpreter) Rank(ctx context.Context, samples []prompt.States, g *grammar.Grammar, width int) ([][]prompt.Answer, error) {
	if width < 1 || width > i.opts.Slots {
		return nil, fmt.Errorf("interpret: %d answers at a time; at least 1, and at most the %d slots", width, i.opts.Slots)
	}
	return i.search(ctx, samples, g, width)
}

// Check refuses states that the prompt or the generator has no room for, and numbers that are not
// finite.
func (i *Interpreter) Check(states prompt.States) error {
	if err := i.prompt.Check(states, i.shape.Width()); err != nil {
		return err
	}
	if most := slices.Max(states.Counts); most > i.opts.MaxStates {
		return fmt.Errorf("%d states in a slot; at most %d are expected", most, i.opts.MaxStates)
	}
	return nil
}

// check does so for each of some samples.
func (i *Interpreter) check(samples []prompt.States) error {
	for n, states := range samples {
		if err := i.Check(states); err != nil {
			return fmt.Errorf("interpret: sample %d: %w", n, err)
		}
	}
	return nil
}
