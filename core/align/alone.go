package align

import (
	"errors"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// Alone answers with an adapter alone, without the LLM. An adapter with entries finds those that it
// looks up. Of another one, soft tokens are compared with texts: the nearest is the one whose first
// K tokens' embeddings have the highest mean cosine with them or, for a coarse adapter, the highest
// mean product, since its warm start aims at that. Texts that begin alike are told apart by their
// order alone. Soft tokens are made for the LLM, and may hold more than this finds.
type Alone struct {
	adapter *Adapter
	model   *cgo.Adapter // of soft tokens; nil for an adapter with entries
	scorer  *cgo.Probe   // of inputs' entries, or of soft tokens' words
	texts   [][]int      // of each text the K words that it begins with
	words   int          // different ones
}

// NewAlone makes one. texts are token ids, the end token included; an adapter with entries needs
// none. The caller closes it.
func NewAlone(engine *cgo.Engine, gguf *cgo.GGUF, a *Adapter, texts [][]int32) (*Alone, error) {
	l := &Alone{adapter: a}
	open := l.compareTexts
	if a.Entries > 0 {
		open = l.lookUpEntries
	}
	if err := open(engine, gguf, texts); err != nil {
		return nil, errors.Join(fmt.Errorf("align: a %s adapter alone: %w", a.Kind, err), l.Close())
	}
	return l, nil
}

// lookUpEntries scores with the probe of the warm start. Its GELU is the exact one, and that of an
// adapter that shows one entry an approximation, which differs by less than 0.001.
func (l *Alone) lookUpEntries(engine *cgo.Engine, _ *cgo.GGUF, _ [][]int32) (err error) {
	a := l.adapter
	if l.scorer, err = cgo.NewProbe(engine, cgo.ProbeParams{In: a.In, Hidden: a.Hidden, Classes: a.Entries}); err != nil {
		return err
	}
	for i, values := range a.Values[:4] {
		if err := l.scorer.Write(i, cgo.Value, values); err != nil {
			return err
		}
	}
	return nil
}

func (l *Alone) compareTexts(engine *cgo.Engine, gguf *cgo.GGUF, texts [][]int32) (err error) {
	if len(texts) == 0 {
		return errors.New("there are no texts to compare soft tokens with")
	}
	a, place, words := l.adapter, map[int32]int{}, []int32(nil)
	l.texts = make([][]int, len(texts))
	for i, text := range texts {
		for _, token := range prompt.FirstTokens(text, a.Tokens) {
			if _, known := place[token]; !known {
				place[token], words = len(words), append(words, token)
			}
			l.texts[i] = append(l.texts[i], place[token])
		}
	}
	table := make([]float32, len(words)*a.Embd)
	if err := gguf.Embed(table, words); err != nil {
		return err
	}
	l.words = len(words)
	if !a.Kind.Entry().Coarse {
		for word := range slices.Chunk(table, a.Embd) {
			adapter.ScaleToUnit(word)
		}
	}
	if l.model, err = a.Model(engine); err != nil {
		return err
	}
	if l.scorer, err = cgo.NewProbe(engine, cgo.ProbeParams{In: a.Embd, Classes: len(words)}); err != nil {
		return err
	}
	return l.scorer.Write(0, cgo.Value, table)
}

// Close releases what is open.
func (l *Alone) Close() error {
	var err error
	if l.model != nil {
		err = l.model.Close()
	}
	if l.scorer != nil {
		err = errors.Join(err, l.scorer.Close())
	}
	return err
}

// Find gives what the adapter finds for each input [N, Width]: the entries that it looks up, best
// first, or the index of the nearest text.
func (l *Alone) Find(inputs []float32) (found [][]int32, err error) {
	for batch := range slices.Chunk(inputs, scoredAtOnce*l.adapter.Width()) {
		scores, err := l.scores(batch, len(batch)/l.adapter.Width())
		if err != nil {
			return nil, err
		}
		for _, of := range scores {
			var best []int32
			for _, scored := range recommender.Highest(of, max(1, l.adapter.LookUps), nil) {
				best = append(best, scored.Item)
			}
			found = append(found, best)
		}
	}
	return found, nil
}

// scores are those of all entries or texts, for each of n inputs.
func (l *Alone) scores(inputs []float32, n int) ([][]float32, error) {
	a := l.adapter
	if l.model == nil {
		scores := make([]float32, n*a.Entries)
		err := l.scorer.Scores(scores, inputs, n)
		return slices.Collect(slices.Chunk(scores, a.Entries)), err
	}
	soft, products := make([]float32, n*a.Tokens*a.Embd), make([]float32, n*a.Tokens*l.words)
	if err := l.model.SoftTokens(soft, inputs, n); err != nil {
		return nil, err
	}
	for token := range slices.Chunk(soft, a.Embd) {
		adapter.ScaleToUnit(token)
	}
	if err := l.scorer.Scores(products, soft, n*a.Tokens); err != nil {
		return nil, err
	}
	scores := make([][]float32, n)
	for i := range scores {
		own := products[i*a.Tokens*l.words:]
		for _, text := range l.texts {
			sum := float32(0)
			for k, word := range text {
				sum += own[k*l.words+word]
			}
			scores[i] = append(scores[i], sum)
		}
	}
	return scores, nil
}
