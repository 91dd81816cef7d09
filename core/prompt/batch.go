package prompt

import "fmt"

// States are the recommender states that fill the slots of a prompt for one sample.
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

// Sample is one training sample: the states and the answer that it adds to a prompt.
type Sample struct {
	States
	Answer []int32 // token ids, the end token included; at least one
	Items  []int32 // of the history, for an adapter that shows several entries; else nil
	Task   int     // index of its question among those trained together
}

// Batch is samples laid out for the LLM: B samples of S positions each.
type Batch struct {
	Samples, Positions int
	States             []int32   // [B]: how many states each sample has
	Tokens             []int32   // [B, S]: an id, or -1-j for soft token j of the sample, each used once
	Targets            []int32   // [B, S]: the id to predict at this position (the token that follows), or -1
	StateValues        []float32 // the states of all samples
	Weight             float64   // of each target in the loss
}

// Batch lays out samples for the LLM. Row b holds the suffix and the answer without its last token,
// padded at the end to the longest row. The target of a position is the token that follows it, from
// the last position of the suffix (which predicts the answer's first token) to the last one fed.
// weight multiplies each target's loss.
func (p *Prompt) Batch(samples []Sample, weight float64) (Batch, error) {
	if len(samples) == 0 {
		return Batch{}, fmt.Errorf("prompt: a batch of no samples")
	}
	width := len(samples[0].Values) / max(samples[0].N(), 1)
	suffixes, longest := make([][]int32, len(samples)), 0
	for i, s := range samples {
		if len(s.Answer) == 0 {
			return Batch{}, fmt.Errorf("prompt: sample %d of the batch has an empty answer", i)
		}
		if err := p.Check(s.States, width); err != nil {
			return Batch{}, fmt.Errorf("sample %d of the batch: %w", i, err)
		}
		suffixes[i] = p.Suffix(s.Counts)
		longest = max(longest, len(suffixes[i])+len(s.Answer)-1)
	}
	batch := Batch{
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

// Targets counts the tokens in the answers of samples: the number of predictions in their loss.
func Targets(samples []Sample) int {
	n := 0
	for _, s := range samples {
		n += len(s.Answer)
	}
	return n
}
