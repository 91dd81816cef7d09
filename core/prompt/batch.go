package prompt

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Sample is what one training sample adds to a prompt.
type Sample struct {
	States []float32 // [N, D], in the order of the prompt's slots
	Answer []int32   // token ids, the end token included; at least one
}

// Batch lays samples out for the LLM. Row b holds the suffix and the answer without its last token, padded at the end
// to the longest row; the target of a position is the token that follows it, from the last position of the suffix
// (which predicts the answer's first token) to the last one fed. weight multiplies each target's loss.
func (p *Prompt) Batch(samples []Sample, weight float64) (cgo.AlignBatch, error) {
	if len(samples) == 0 {
		return cgo.AlignBatch{}, fmt.Errorf("prompt: a batch of no samples")
	}
	longest, width := 0, len(samples[0].States)
	for i, s := range samples {
		if len(s.Answer) == 0 {
			return cgo.AlignBatch{}, fmt.Errorf("prompt: sample %d of the batch has an empty answer", i)
		}
		if len(s.States) != width || width == 0 || width%p.States() != 0 {
			return cgo.AlignBatch{}, fmt.Errorf("prompt: sample %d of the batch has %d state values; the first has %d, "+
				"for %d states", i, len(s.States), width, p.States())
		}
		longest = max(longest, len(s.Answer))
	}
	positions := len(p.suffix) + longest - 1
	batch := cgo.AlignBatch{
		Samples:     len(samples),
		Positions:   positions,
		States:      p.States(),
		Tokens:      make([]int32, len(samples)*positions),
		Targets:     make([]int32, len(samples)*positions),
		StateValues: make([]float32, 0, len(samples)*width),
		Weight:      weight,
	}
	for i := range batch.Targets {
		batch.Targets[i] = -1
	}
	for b, s := range samples {
		tokens := batch.Tokens[b*positions : (b+1)*positions]
		n := copy(tokens, p.suffix)
		copy(tokens[n:], s.Answer[:len(s.Answer)-1])
		copy(batch.Targets[b*positions+n-1:], s.Answer)
		batch.StateValues = append(batch.StateValues, s.States...)
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
