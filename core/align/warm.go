package align

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Pair is one lesson of the warm start: the state after an item, and the tokens of that item's title, end token included;
// for a recall adapter what all states of a history add up to, and its items.
type Pair struct {
	State  []float32 // [D]
	Items  []int32   // numbers in the catalogue: one, or for recall as many as are looked up at most
	Titles [][]int32 // of the items
}

// warmShare is the largest part of a run's minutes that the warm start takes. Training through the LLM
// needs the rest: with most of its minutes in the warm start a run names fewer items.
const warmShare = 0.2

// warmPace says how much of a warm start is over. The learning rate falls with what is left.
type warmPace struct {
	steps   int           // of a warm start that has the time for them
	budget  time.Duration // ends it earlier; 0: never
	elapsed func() time.Duration
}

// pace is that of a run's warm start. A run whose length is given in samples has its number of steps
// fixed, so that nothing in it depends on the speed of the machine.
func (c Config) pace(elapsed func() time.Duration) warmPace {
	return warmPace{c.WarmSteps, time.Duration(warmShare * c.Minutes * float64(time.Minute)), elapsed}
}

// done is the part that is over before step number step, 0-based; 1 or more at the end. The first step is
// always taken.
func (p warmPace) done(step int) float64 {
	done := float64(step) / float64(p.steps)
	if p.budget > 0 && step > 0 {
		done = max(done, p.elapsed().Seconds()/p.budget.Seconds())
	}
	return done
}

// plan is the number of steps to expect after some of them.
func (p warmPace) plan(step int) int {
	return max(step, int(float64(step)/p.done(step)))
}

// warmStart teaches the adapter, before the LLM is asked, to speak in words: in place of a title's first K tokens it is to write their
// embeddings. A title shorter than K is filled up with its last token, the end token: the same mark that will close the answer. Most
// adapters regress to these from states, standardised; the loss that is reported, of the first and of the last update, is then the mean
// squared error in units of the embedding table's mean square. An adapter with entries is given them as these and learns to tell from a
// state which to look up; the loss is then the cross-entropy in nats. The optimiser's moments are zero afterwards.
func warmStart(ctx context.Context, job Job, model *cgo.Adapter, rms float64, pace warmPace, report func(step int, loss float64)) (
	first, last float64, err error) {
	c, s := job.Config, job.Shape
	words, err := embeddings(job.GGUF, job.Warm, s)
	if err != nil {
		return 0, 0, err
	}
	embed := func(dst []float32, title []int32) []float32 { // appends [K, E]
		for _, token := range prompt.FirstTokens(title, s.TokensOfEntry()) {
			dst = append(dst, words[token]...)
		}
		return dst
	}
	// The pupil learns, from states and the lessons that they belong to, what the adapter needs.
	var titles []float32
	pupil, learn := &model.Model, func(states []float32, lessons []Pair) (float64, error) {
		titles = titles[:0]
		for _, pair := range lessons {
			titles = embed(titles, pair.Titles[0])
		}
		loss, err := model.Regress(states, titles, len(lessons))
		return loss / (rms * rms), err
	}
	if s.Kind.HasEntries() {
		probe, err := cgo.NewProbe(job.Engine, cgo.ProbeParams{In: s.In, Hidden: s.Hidden, Classes: s.Entries})
		if err != nil {
			return 0, 0, err
		}
		defer probe.Close()
		pupil = &probe.Model
		if err := copyLayers(pupil, &model.Model); err != nil {
			return 0, 0, err
		}
		learn = func(states []float32, lessons []Pair) (float64, error) {
			each := max(1, s.LookUps)
			items := slices.Repeat([]int32{-1}, each*len(lessons))
			for i, pair := range lessons {
				copy(items[i*each:], pair.Items)
			}
			return probe.Backward(states, items, len(lessons))
		}
	}
	random := rand.New(rand.NewPCG(c.Seed, streamWarm))
	states, lessons := make([]float32, 0, c.WarmBatch*s.In), make([]Pair, c.WarmBatch)
	for step := 0; ; step++ {
		done := pace.done(step)
		if done >= 1 {
			break
		}
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		states = states[:0]
		for i := range lessons {
			lessons[i] = job.Warm[random.IntN(len(job.Warm))]
			states = append(states, lessons[i].State...)
		}
		if last, err = learn(states, lessons); err != nil {
			return 0, 0, fmt.Errorf("align: warm start, step %d: %w", step+1, err)
		}
		if _, err := pupil.Update(c.adamW(c.WarmRate*(1-done), step+1)); err != nil {
			return 0, 0, fmt.Errorf("align: warm start, step %d: %w", step+1, err)
		}
		if step == 0 {
			first = last
		}
		report(step+1, last)
	}
	if s.Kind.HasEntries() {
		return first, last, errors.Join(copyLayers(&model.Model, pupil), writeEntries(model, s, job.Warm, embed))
	}
	for _, slot := range []cgo.Slot{cgo.Moment1, cgo.Moment2} {
		if err := clearSlot(model, s, slot); err != nil {
			return 0, 0, err
		}
	}
	return first, last, nil
}

// copyLayers copies what an adapter with entries and the probe that learns its keys have in common: the hidden layer, and the scores of
// entries.
func copyLayers(dst, src *cgo.Model) error {
	infos, err := dst.Tensors()
	if err != nil {
		return err
	}
	for i, info := range infos[:4] {
		values := make([]float32, info.Elements())
		if err := errors.Join(src.Read(values, i, cgo.Value), dst.Write(i, cgo.Value, values)); err != nil {
			return err
		}
	}
	return nil
}

// writeEntries makes titles the entries of their items; embed appends one.
func writeEntries(model *cgo.Adapter, s Shape, pairs []Pair, embed func([]float32, []int32) []float32) error {
	tensors := s.tensors()
	tensor := tensors[slices.IndexFunc(tensors, func(t cgo.TensorInfo) bool { return t.Name == "entries" })]
	index, err := tensorIndex(model, tensor)
	if err != nil {
		return err
	}
	entries, done := make([]float32, elements(tensor.Shape)), make([]bool, s.Entries)
	if err := model.Read(entries, index, cgo.Value); err != nil {
		return err
	}
	for _, pair := range pairs {
		for i, item := range pair.Items {
			if done[item] {
				continue
			}
			done[item] = true
			entry := embed(nil, pair.Titles[i])
			if s.Kind == Recall { // a row for each
				copy(entries[int(item)*len(entry):], entry)
				continue
			}
			for row, x := range entry {
				entries[row*s.Entries+int(item)] = x
			}
		}
	}
	return model.Write(index, cgo.Value, entries)
}

// embeddings looks up each token that the pairs teach.
func embeddings(gguf *cgo.GGUF, pairs []Pair, s Shape) (map[int32][]float32, error) {
	words := map[int32][]float32{}
	var tokens []int32
	for i, pair := range pairs {
		if len(pair.State) != s.In {
			return nil, fmt.Errorf("align: warm start: pair %d has a state of width %d, not %d", i, len(pair.State), s.In)
		}
		for _, title := range pair.Titles {
			for _, token := range title[:min(s.TokensOfEntry(), len(title))] {
				if words[token] == nil {
					words[token] = make([]float32, s.Embd)
					tokens = append(tokens, token)
				}
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
func clearSlot(model *cgo.Adapter, s Shape, slot cgo.Slot) error {
	var zero [][]float32
	for _, t := range s.tensors() {
		zero = append(zero, make([]float32, elements(t.Shape)))
	}
	return writeSlot(model, s, slot, zero)
}
