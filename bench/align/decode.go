package main

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// decoder times generation alone, as llama-batched-bench does: behind a workload's prefix every slot takes one token at a time, all
// slots together. Unlike there the next token and its log-probability are chosen each time.
type decoder struct {
	slots, tokens, threads int
}

func (d decoder) run(model, folder string) (err error) {
	w, err := read(folder)
	if err != nil {
		return err
	}
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: d.threads})
	if err != nil {
		return err
	}
	defer engine.Close()
	gguf, err := cgo.OpenGGUF(model)
	if err != nil {
		return err
	}
	defer gguf.Close()
	g, err := cgo.NewGenerator(engine, gguf, cgo.GeneratorParams{Slots: d.slots, Context: len(w.Prefix) + d.tokens})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := g.Prefix(w.Prefix); err != nil {
		return err
	}
	rounds := max(1, len(w.Samples)/d.slots)
	var seconds float64
	for round := range 1 + rounds { // the first is the warm-up
		spent, err := d.round(g, w.Prefix)
		if err != nil {
			return err
		}
		if round > 0 {
			seconds += spent
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"samples_per_s": float64(rounds*d.slots) / seconds, "seconds": seconds})
}

// round generates the tokens of one sample in each slot and gives the seconds that took. Slots begin with different tokens of
// the prefix.
func (d decoder) round(g *cgo.Generator, prefix []int32) (float64, error) {
	batch := cgo.DecodeBatch{Counts: make([]int32, d.slots), Tokens: make([]int32, d.slots)}
	for slot := range d.slots {
		if err := g.Reset(slot); err != nil {
			return 0, err
		}
		batch.Slots = append(batch.Slots, int32(slot))
		batch.Counts[slot], batch.Tokens[slot] = 1, prefix[slot%len(prefix)]
	}
	result := cgo.Decoded{Tokens: make([]int32, d.slots), LogProbs: make([]float32, d.slots)}
	start := time.Now()
	for range d.tokens {
		if err := g.Decode(batch, result); err != nil {
			return 0, err
		}
		copy(batch.Tokens, result.Tokens)
	}
	return time.Since(start).Seconds(), nil
}
