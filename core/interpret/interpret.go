// Package interpret puts recommender states into words: it hands their soft tokens to an LLM and reads the answer.
package interpret

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Options are how answers are generated.
type Options struct {
	Slots     int // samples answered side by side, 1..255; 0: 32
	MaxTokens int // an answer is cut here; 0: 48
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
	suffix    []int32
	rows      []float32 // [S, E]: the suffix as vectors, zero where soft tokens belong
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
	positions := p.Positions(opts.MaxTokens)
	if positions > int(info.Context) {
		return nil, fmt.Errorf("interpret: the prompt and %d answer tokens take %d positions; the LLM's context has %d",
			opts.MaxTokens, positions, info.Context)
	}
	i := &Interpreter{gguf: gguf, prompt: p, shape: adapter.Shape, opts: opts, suffix: p.Suffix()}
	if err := i.open(engine, adapter, positions); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

func (i *Interpreter) open(engine *cgo.Engine, adapter *align.Adapter, positions int) (err error) {
	if i.adapter, err = adapter.Model(engine); err != nil {
		return err
	}
	width := i.shape.Embd
	i.rows = make([]float32, len(i.suffix)*width)
	for s, token := range i.suffix {
		if token < 0 {
			continue
		}
		if err := i.gguf.Embed(i.rows[s*width:(s+1)*width], []int32{token}); err != nil {
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

// Answer answers each sample of states, [n, N, D], N states a sample in the order of the prompt's slots. The answers
// do not depend on how many samples are answered side by side, up to rounding.
func (i *Interpreter) Answer(ctx context.Context, states []float32) ([]Answer, error) {
	width := i.prompt.States() * i.shape.In
	if len(states)%width != 0 {
		return nil, fmt.Errorf("interpret: %d state values are not samples of %d states of width %d",
			len(states), i.prompt.States(), i.shape.In)
	}
	for at, x := range states {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("interpret: sample %d: value %d of its states is NaN or infinite", at/width, at%width)
		}
	}
	t := &table{Interpreter: i, states: states, width: width, answers: make([]Answer, len(states)/width)}
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
	states  []float32
	width   int // of a sample's states
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
	states := t.states[t.next*t.width : (t.next+n)*t.width]
	perSample := t.prompt.States() * t.shape.Tokens * t.shape.Embd
	soft := make([]float32, n*perSample)
	if err := t.adapter.SoftTokens(soft, states, n*t.prompt.States()); err != nil {
		return fmt.Errorf("interpret: samples %d to %d: %w", t.next, t.next+n-1, err)
	}
	rows := make([]float32, 0, n*len(t.rows))
	counts := make([]int32, n)
	seats := make([]seat, n)
	for s := range n {
		row := len(rows)
		rows = append(rows, t.rows...)
		for position, token := range t.suffix {
			if j := int(-1 - token); j >= 0 {
				from := s*perSample + j*t.shape.Embd
				copy(rows[row+position*t.shape.Embd:], soft[from:from+t.shape.Embd])
			}
		}
		counts[s] = int32(len(t.suffix))
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
	if err := t.generator.Decode(batch, tokens, logProbs, nil); err != nil {
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
