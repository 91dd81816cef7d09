package prompt

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// States are what a sample puts into the slots of a prompt.
type States struct {
	Counts []int     // states in each slot, at least 1
	Values []float32 // [N, D], slot by slot
}

// N is the number of states in all slots together.
func (s States) N() int {
	n := 0
	for _, count := range s.Counts {
		n += count
	}
	return n
}

// Sample is what one training sample adds to a prompt.
type Sample struct {
	States
	Answer []int32 // token ids, the end token included; at least one
	Items  []int32 // of the history, where a recall adapter is taught; else nil
}

// Batch lays samples out for the LLM. Row b holds the suffix and the answer without its last token, padded at the end
// to the longest row; the target of a position is the token that follows it, from the last position of the suffix
// (which predicts the answer's first token) to the last one fed. weight multiplies each target's loss.
func (p *Prompt) Batch(samples []Sample, weight float64) (cgo.AlignBatch, error) {
	if len(samples) == 0 {
		return cgo.AlignBatch{}, fmt.Errorf("prompt: a batch of no samples")
	}
	width := len(samples[0].Values) / max(samples[0].N(), 1)
	suffixes, longest := make([][]int32, len(samples)), 0
	for i, s := range samples {
		if len(s.Answer) == 0 {
			return cgo.AlignBatch{}, fmt.Errorf("prompt: sample %d of the batch has an empty answer", i)
		}
		if err := p.Check(s.States, width); err != nil {
			return cgo.AlignBatch{}, fmt.Errorf("sample %d of the batch: %w", i, err)
		}
		suffixes[i] = p.Suffix(s.Counts)
		longest = max(longest, len(suffixes[i])+len(s.Answer)-1)
	}
	batch := cgo.AlignBatch{
		Samples:   len(samples),
		Positions: longest,
		States:    make([]int32, len(samples)),
		Tokens:    make([]int32, len(samples)*longest),
		Targets:   make([]int32, len(samples)*longest),
		Weight:    weight,
	}
	for i := range batch.Targets {
		batch.Targets[i] = -1
	}
	for b, s := range samples {
		tokens := batch.Tokens[b*longest : (b+1)*longest]
		n := copy(tokens, suffixes[b])
		copy(tokens[n:], s.Answer[:len(s.Answer)-1])
		copy(batch.Targets[b*longest+n-1:], s.Answer)
		batch.States[b] = int32(s.N())
		batch.StateValues = append(batch.StateValues, s.Values...)
	}
	return batch, nil
}

// Targets counts the tokens that the answers of samples hold: the number of predictions in their loss.
func Targets(samples []Sample) int {
	n := 0
	for _, s := range samples {
		n += len(s.Answer)
	}
	return n
}
