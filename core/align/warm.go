package align

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Pair is one lesson of the warm start: the state after an item, and the tokens of that item's title, end token
// included.
type Pair struct {
	State []float32 // [D]
	Title []int32
}

// warmStart regresses from states, standardised, to the embeddings of the first K tokens of the titles, so that the
// adapter starts out speaking in words. A title shorter than K is filled up with its last token, the end token: the
// same mark that will close the answer. The optimiser's moments are zero again afterwards. It reports the mean
// squared error, in units of the embedding table's mean square, of the first and of the last update.
func warmStart(ctx context.Context, job Job, model *cgo.Model, rms float64, report func(step int, loss float64)) (
	first, last float64, err error) {
	c, s := job.Config, job.Shape
	words, err := embeddings(job.GGUF, job.Warm, s)
	if err != nil {
		return 0, 0, err
	}
	random := rand.New(rand.NewPCG(c.Seed, streamWarm))
	states := make([]float32, 0, c.WarmBatch*s.In)
	targets := make([]float32, 0, c.WarmBatch*s.Tokens*s.Embd)
	for step := range c.WarmSteps {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		states, targets = states[:0], targets[:0]
		for range c.WarmBatch {
			pair := job.Warm[random.IntN(len(job.Warm))]
			states = append(states, pair.State...)
			for _, token := range prompt.FirstTokens(pair.Title, s.Tokens) {
				targets = append(targets, words[token]...)
			}
		}
		loss, err := model.Regress(states, targets, c.WarmBatch)
		if err != nil {
			return 0, 0, fmt.Errorf("align: warm start, step %d: %w", step+1, err)
		}
		optimiser := c.adamW(c.WarmRate*float64(c.WarmSteps-step)/float64(c.WarmSteps), step+1)
		if _, err := model.Update(optimiser); err != nil {
			return 0, 0, fmt.Errorf("align: warm start, step %d: %w", step+1, err)
		}
		last = loss / (rms * rms)
		if step == 0 {
			first = last
		}
		report(step+1, last)
	}
	for _, slot := range []cgo.Slot{cgo.Moment1, cgo.Moment2} {
		if err := clearSlot(model, s, slot); err != nil {
			return 0, 0, err
		}
	}
	return first, last, nil
}

// embeddings looks up each token that the pairs teach.
func embeddings(gguf *cgo.GGUF, pairs []Pair, s Shape) (map[int32][]float32, error) {
	words := map[int32][]float32{}
	var tokens []int32
	for i, pair := range pairs {
		if len(pair.Title) == 0 || len(pair.State) != s.In {
			return nil, fmt.Errorf("align: warm start: pair %d has %d title tokens and a state of width %d, not %d",
				i, len(pair.Title), len(pair.State), s.In)
		}
		for _, token := range pair.Title[:min(s.Tokens, len(pair.Title))] {
			if words[token] == nil {
				words[token] = make([]float32, s.Embd)
				tokens = append(tokens, token)
			}
		}
	}
	for _, token := range tokens {
		if err := gguf.Embed(words[token], []int32{token}); err != nil {
			return nil, err
		}
	}
	return words, nil
}

// clearSlot sets one slot of all the model's tensors to zero.
func clearSlot(model *cgo.Model, s Shape, slot cgo.Slot) error {
	var zero [][]float32
	for _, t := range s.tensors() {
		zero = append(zero, make([]float32, elements(t.Shape)))
	}
	return writeSlot(model, s, slot, zero)
}
