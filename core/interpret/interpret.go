// Package interpret puts recommender states into words: it hands their soft tokens to an LLM and reads the answer.
package interpret

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Options are how answers are generated.
type Options struct {
	Slots     int // samples answered side by side, 1..255; 0: 32
	MaxTokens int // an answer is cut here; 0: 48
	MaxStates int // the most states in a slot of the prompt; 0: 1
}

// Answer is what the LLM says about one sample, choosing the most likely token each time.
type Answer struct {
	Text    string  // without surrounding white space
	Tokens  []int32 // without the end token
	LogProb float64 // sum of the log-probabilities of its tokens, the end token's included
	Ended   bool    // false where it was cut at MaxTokens
}

// Interpreter answers one prompt through one adapter. It is not safe for concurrent use.
type Interpreter struct {
	gguf      *cgo.GGUF
	adapter   *cgo.Model
	generator *cgo.Generator
	prompt    *prompt.Prompt
	shape     align.Shape
	opts      Options
	words     map[int32][]float32 // embeddings of the suffix's tokens
}

// New makes an interpreter. It keeps using engine and gguf, and copies the adapter.
func New(engine *cgo.Engine, gguf *cgo.GGUF, adapter *align.Adapter, p *prompt.Prompt, opts Options) (
	*Interpreter, error) {
	if opts.Slots == 0 {
		opts.Slots = 32
	}
	if opts.MaxTokens == 0 {
		opts.MaxTokens = 48
	}
	if opts.MaxStates == 0 {
		opts.MaxStates = 1
	}
	if opts.Slots < 1 || opts.Slots > 255 || opts.MaxTokens < 1 {
		return nil, fmt.Errorf("interpret: %d slots and %d tokens at most; slots are 1 to 255, tokens at least 1",
			opts.Slots, opts.MaxTokens)
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
	i := &Interpreter{gguf: gguf, prompt: p, shape: adapter.Shape, opts: opts, words: map[int32][]float32{}}
	if err := i.open(engine, adapter, p.Suffix(counts), positions); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

func (i *Interpreter) open(engine *cgo.Engine, adapter *align.Adapter, suffix []int32, positions int) (err error) {
	if i.adapter, err = adapter.Model(engine); err != nil {
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
	if i.generator, err = cgo.NewGenerator(engine, i.gguf, params); err != nil {
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

// Answer answers each sample. The answers do not depend on how many samples are answered side by side, up to rounding.
func (i *Interpreter) Answer(ctx context.Context, samples []prompt.States) ([]Answer, error) {
	for n, s := range samples {
		if err := i.prompt.Check(s, i.shape.Width()); err != nil {
			return nil, fmt.Errorf("interpret: sample %d: %w", n, err)
		}
		if most := slices.Max(s.Counts); most > i.opts.MaxStates {
			return nil, fmt.Errorf("interpret: sample %d has %d states in a slot; at most %d are expected", n, most, i.opts.MaxStates)
		}
	}
	t := &table{Interpreter: i, samples: samples, answers: make([]Answer, len(samples))}
	for slot := range i.opts.Slots {
		if err := i.generator.Reset(slot); err != nil {
			return nil, err
		}
		t.free = append(t.free, slot)
	}
	for t.next < len(t.answers) || len(t.busy) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := t.seat(); err != nil {
			return nil, err
		}
		if err := t.speak(); err != nil {
			return nil, err
		}
	}
	for n := range t.answers {
		text, err := i.gguf.Detokenize(t.answers[n].Tokens, false)
		if err != nil {
			return nil, err
		}
		t.answers[n].Text = strings.TrimSpace(text)
	}
	return t.answers, nil
}

// table is one call of Answer: which sample sits in which slot.
type table struct {
	*Interpreter
	samples []prompt.States
	answers []Answer
	next    int   // first sample that has not been seated
	free    []int // slots
	busy    []seat
}

// seat is a sample in a slot, with the token that its answer goes on with.
type seat struct {
	slot, sample int
	token        int32
}

// seat gives free slots their samples and puts the prompts through the LLM. It waits until half of the slots are free: a
// prompt by itself costs nearly as much as several side by side.
func (t *table) seat() error {
	n := min(len(t.free), len(t.answers)-t.next)
	if n == 0 || len(t.free) < len(t.busy) {
		return nil
	}
	var states []float32
	for _, s := range t.samples[t.next : t.next+n] {
		states = append(states, s.Values...)
	}
	inputs, width := len(states)/t.shape.Width(), t.shape.Embd
	soft := make([]float32, inputs*t.shape.Tokens*width)
	if err := t.adapter.SoftTokens(soft, states, inputs); err != nil {
		return fmt.Errorf("interpret: samples %d to %d: %w", t.next, t.next+n-1, err)
	}
	var rows []float32
	counts := make([]int32, n)
	seats := make([]seat, n)
	for s := range n {
		suffix := t.prompt.Suffix(t.samples[t.next+s].Counts)
		for _, token := range suffix {
			if token < 0 { // soft tokens stand in their order
				rows, soft = append(rows, soft[:width]...), soft[width:]
			} else {
				rows = append(rows, t.words[token]...)
			}
		}
		counts[s] = int32(len(suffix))
		seats[s] = seat{slot: t.free[s], sample: t.next + s}
	}
	t.free, t.next = t.free[n:], t.next+n
	return t.decode(seats, cgo.DecodeBatch{Counts: counts, Rows: rows})
}

// speak adds one token to every answer under way.
func (t *table) speak() error {
	if len(t.busy) == 0 {
		return nil
	}
	seats := t.busy
	t.busy = nil
	counts, tokens := make([]int32, len(seats)), make([]int32, len(seats))
	for s, seat := range seats {
		counts[s], tokens[s] = 1, seat.token
	}
	return t.decode(seats, cgo.DecodeBatch{Counts: counts, Tokens: tokens})
}

// decode runs a batch, notes the token that follows in each seat, and frees the slots of answers that are complete.
func (t *table) decode(seats []seat, batch cgo.DecodeBatch) error {
	batch.Slots = make([]int32, len(seats))
	for s, seat := range seats {
		batch.Slots[s] = int32(seat.slot)
	}
	tokens, logProbs := make([]int32, len(seats)), make([]float32, len(seats))
	if err := t.generator.Decode(batch, cgo.Decoded{Tokens: tokens, LogProbs: logProbs}); err != nil {
		return fmt.Errorf("interpret: %w", err)
	}
	for s, seat := range seats {
		answer := &t.answers[seat.sample]
		answer.LogProb += float64(logProbs[s])
		answer.Ended = t.gguf.IsEnd(tokens[s])
		if !answer.Ended {
			answer.Tokens = append(answer.Tokens, tokens[s])
		}
		if answer.Ended || len(answer.Tokens) == t.opts.MaxTokens {
			if err := t.generator.Reset(seat.slot); err != nil {
				return err
			}
			t.free = append(t.free, seat.slot)
			continue
		}
		seat.token = tokens[s]
		t.busy = append(t.busy, seat)
	}
	return nil
}
