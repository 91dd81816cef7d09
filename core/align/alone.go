package align

import (
	"fmt"
	"math"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// LookUp gives the entries that an adapter with entries finds for each input [N, Width], without any
// LLM: as many as it shows, best first, or the best one.
func (a *Adapter) LookUp(engine *cgo.Engine, inputs []float32) ([][]int32, error) {
	if a.Entries == 0 {
		return nil, fmt.Errorf("align: a %s adapter looks nothing up", a.Kind)
	}
	scorer, err := cgo.NewProbe(engine, cgo.ProbeParams{In: a.In, Hidden: a.Hidden, Classes: a.Entries})
	if err != nil {
		return nil, err
	}
	defer scorer.Close()
	for i, values := range a.Values[:4] {
		if err := scorer.Write(i, cgo.Value, values); err != nil {
			return nil, err
		}
	}
	return a.Shape.lookUp(scorer, inputs)
}

// lookUp is LookUp, with a probe that has the adapter's first layers.
func (s Shape) lookUp(scorer *cgo.Probe, inputs []float32) (best [][]int32, err error) {
	for batch := range slices.Chunk(inputs, scoredAtOnce*s.In) {
		scores := make([]float32, len(batch)/s.In*s.Entries)
		if err := scorer.Scores(scores, batch, len(batch)/s.In); err != nil {
			return nil, err
		}
		for of := range slices.Chunk(scores, s.Entries) {
			var entries []int32
			for _, scored := range recommender.Highest(of, max(1, s.LookUps), nil) {
				entries = append(entries, scored.Item)
			}
			best = append(best, entries)
		}
	}
	return best, nil
}

// Nearest gives, for each input [N, Width], the number of the text that the soft tokens come nearest
// to, without the LLM's layers: the embeddings of its first K tokens have the highest mean cosine
// with them. Shorter texts are filled up as in the warm start.
func (a *Adapter) Nearest(engine *cgo.Engine, gguf *cgo.GGUF, inputs []float32, texts [][]int32) ([]int, error) {
	place, words := map[int32]int{}, []int32(nil)
	first := make([][]int, len(texts)) // of each text the places of its first tokens among all
	for i, text := range texts {
		for _, token := range prompt.FirstTokens(text, a.Tokens) {
			if _, known := place[token]; !known {
				place[token], words = len(words), append(words, token)
			}
			first[i] = append(first[i], place[token])
		}
	}
	table := make([]float32, len(words)*a.Embd)
	if err := gguf.Embed(table, words); err != nil {
		return nil, err
	}
	cosines, err := cgo.NewProbe(engine, cgo.ProbeParams{In: a.Embd, Classes: len(words)})
	if err != nil {
		return nil, err
	}
	defer cosines.Close()
	if err := cosines.Write(0, cgo.Value, units(table, a.Embd)); err != nil {
		return nil, err
	}
	model, err := a.Model(engine)
	if err != nil {
		return nil, err
	}
	defer model.Close()
	var nearest []int
	for batch := range slices.Chunk(inputs, scoredAtOnce*a.Width()) {
		n := len(batch) / a.Width()
		soft, scores := make([]float32, n*a.Tokens*a.Embd), make([]float32, n*a.Tokens*len(words))
		if err := model.SoftTokens(soft, batch, n); err != nil {
			return nil, err
		}
		if err := cosines.Scores(scores, units(soft, a.Embd), n*a.Tokens); err != nil {
			return nil, err
		}
		for of := range slices.Chunk(scores, a.Tokens*len(words)) {
			best, highest := 0, float32(math.Inf(-1))
			for i, tokens := range first {
				sum := float32(0)
				for k, word := range tokens {
					sum += of[k*len(words)+word]
				}
				if sum > highest {
					best, highest = i, sum
				}
			}
			nearest = append(nearest, best)
		}
	}
	return nearest, nil
}

// units scales rows of a width to length 1, in place; zeros stay.
func units(rows []float32, width int) []float32 {
	for row := range slices.Chunk(rows, width) {
		sum := 0.0
		for _, x := range row {
			sum += float64(x) * float64(x)
		}
		for i, x := range row {
			row[i] = float32(float64(x) / math.Sqrt(max(sum, math.SmallestNonzeroFloat64)))
		}
	}
	return rows
}
