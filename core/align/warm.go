package align

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// Pair is one training pair of the warm start: the state after an item, and the tokens of that
// item's title, end token included; for an adapter that shows several entries the sum of all states
// of a history, and its items.
type Pair struct {
	State    []float32 // [D]
	Items    []int32   // numbers in the catalogue: one, or at most as many as are looked up
	Titles   [][]int32 // of the items, or the answer to a question
	Question int       // number of the question that is answered
}

// Pairs makes the training pairs of the warm start for a prompt with the slots: the state after
// each history, or its last item's vector where that is shown, with the tokens of its last item's
// title.
func Pairs(ctx context.Context, encoder adapter.Encoder, slots []string, histories, titles [][]int32) ([]Pair, error) {
	slot := prompt.SlotAfter
	if slices.Contains(slots, prompt.SlotItem) {
		slot = prompt.SlotItem
	}
	samples, err := adapter.OneState.Samples(ctx, encoder, []string{slot}, histories, titles)
	if err != nil {
		return nil, err
	}
	pairs := make([]Pair, len(samples))
	for i, s := range samples {
		pairs[i] = Pair{State: s.Values, Items: []int32{histories[i][len(histories[i])-1]}, Titles: [][]int32{s.Answer}}
	}
	return pairs, nil
}

// warmShare is the largest part of a run's minutes that the warm start takes. Training through the
// LLM needs the rest: with most of its minutes in the warm start a run names fewer items.
const warmShare = 0.2

// warmPace tells how much of a warm start is over. The learning rate falls with what is left.
type warmPace struct {
	steps   int           // of a warm start that has the time for them
	budget  time.Duration // ends it earlier; 0: never
	elapsed func() time.Duration
}

// pace returns that of a run's warm start. A run whose length is given in samples has a fixed
// number of steps, so that nothing in it depends on the speed of the machine.
func (c Config) pace(elapsed func() time.Duration) warmPace {
	return warmPace{c.WarmSteps, time.Duration(warmShare * c.Minutes * float64(time.Minute)), elapsed}
}

// done returns the part that is over before a step, counted from 0; 1 or more at the end. The first
// step is always taken.
func (p warmPace) done(step int) float64 {
	done := float64(step) / float64(p.steps)
	if p.budget > 0 && step > 0 {
		done = max(done, p.elapsed().Seconds()/p.budget.Seconds())
	}
	return done
}

// plan returns the number of steps to expect after some of them.
func (p warmPace) plan(step int) int {
	return max(step, int(float64(step)/p.done(step)))
}

// warmStart pre-trains the adapter without the LLM, from where the run stands. In place of a
// title's first K tokens the adapter is to write their embeddings; a title shorter than K is filled
// up with its last token, the end token, which will also end the answer. Most adapters regress to
// these from standardised states; WarmFirst and WarmLast are then the mean squared error of the
// first and of the last update in units of the embedding table's mean square, rms². A coarse one
// learns that each soft token fits the right token best, by the cross-entropy in nats over all
// tokens that titles begin with. An adapter with entries receives the embeddings as its entries and
// learns to tell from a state which entry to look up, by the cross-entropy over the items. The
// optimiser's moments are zero afterwards.
func (r *run) warmStart(ctx context.Context, rms float64) error {
	job, c, s := r.job, r.job.Config, r.job.Shape
	words, err := embeddings(job.GGUF, job.Warm, s)
	if err != nil {
		return err
	}
	embed := func(dst []float32, title []int32) []float32 { // appends [K, E]
		for _, token := range prompt.FirstTokens(title, s.TokensOfEntry()) {
			dst = append(dst, words[token]...)
		}
		return dst
	}
	// The pupil learns what the adapter needs, from states and the training pairs they belong to.
	var titles []float32
	pupil, learn := &r.model.Model, func(states []float32, pairs []Pair) (float64, error) {
		titles = titles[:0]
		for _, pair := range pairs {
			titles = embed(titles, pair.Titles[0])
		}
		loss, err := r.model.Regress(states, titles, len(pairs))
		return loss / (rms * rms), err
	}
	if s.Kind.Entry().Coarse {
		table, place := sharp(words, job.Warm, s, rms)
		learn = func(states []float32, pairs []Pair) (float64, error) {
			targets := make([]int32, 0, len(pairs)*s.Tokens)
			for _, pair := range pairs {
				for _, token := range prompt.FirstTokens(pair.Titles[0], s.Tokens) {
					targets = append(targets, place[token])
				}
			}
			return r.model.Classify(states, table, targets, len(pairs))
		}
	}
	if s.Entries > 0 {
		probe, err := cgo.NewProbe(job.Engine, cgo.ProbeParams{In: s.In, Hidden: s.Hidden, Classes: s.Entries})
		if err != nil {
			return err
		}
		defer probe.Close()
		pupil = &probe.Model
		if err := copyLayers(pupil, &r.model.Model, cgo.Value, cgo.Moment1, cgo.Moment2); err != nil {
			return err
		}
		r.pupil = pupil
		defer func() { r.pupil = nil }()
		learn = func(states []float32, pairs []Pair) (float64, error) {
			each := max(1, s.LookUps)
			items := slices.Repeat([]int32{-1}, each*len(pairs))
			for i, pair := range pairs {
				copy(items[i*each:], pair.Items)
			}
			return probe.Backward(states, items, len(pairs))
		}
	}
	size := cmp.Or(c.WarmMicroBatch, c.WarmBatch)
	leaves := make([]ranks.Leaf, (c.WarmBatch+size-1)/size)
	for i := range leaves {
		leaves[i].Cost = float64(min(size, c.WarmBatch-i*size))
		leaves[i].Weight = leaves[i].Cost / float64(c.WarmBatch)
	}
	pairs := make([]Pair, c.WarmBatch)
	learnAll := func(states []float32) (loss float64, err error) {
		if len(leaves) == 1 { // each rank does all
			return learn(states, pairs)
		}
		parts, err := r.group.Sum(ctx, pupil, leaves, func(i int) (float64, error) {
			from, to, width := i*size, min(c.WarmBatch, (i+1)*size), s.inputWidth()
			return learn(states[from*width:to*width], pairs[from:to])
		})
		for _, part := range parts {
			loss += part
		}
		return loss, err
	}
	random := rand.New(rand.NewPCG(c.Seed, streamWarm))
	for range r.WarmSteps * c.WarmBatch { // drawn before the checkpoint
		random.IntN(len(job.Warm))
	}
	var states, inputs []float32
	pace := c.pace(func() time.Duration { return time.Duration(r.Seconds * float64(time.Second)) })
	for before := job.clock(); ; {
		done := pace.done(r.WarmSteps)
		if done >= 1 {
			break
		}
		if err := ctx.Err(); err != nil {
			return r.stopped(err)
		}
		states = states[:0]
		for i := range pairs {
			pairs[i] = job.Warm[random.IntN(len(job.Warm))]
			states = append(states, pairs[i].State...)
		}
		r.standard.Apply(states, states)
		if noise := rand.New(rand.NewPCG(c.Seed, streamWarmNoise+uint64(r.WarmSteps))); c.Noise > 0 {
			for state := range slices.Chunk(states, len(pairs[0].State)) {
				disturb(state, c.Noise, noise)
			}
		}
		inputs = inputs[:0]
		for i, pair := range pairs {
			inputs = s.appendInputs(inputs, states[i*len(pair.State):(i+1)*len(pair.State)], pair.Question)
		}
		loss, err := learnAll(inputs)
		if errors.Is(err, context.Canceled) || errors.Is(err, ranks.ErrLeft) {
			return r.stopped(err)
		}
		if err == nil {
			_, err = pupil.Update(c.adamW(c.WarmRate*(1-done), r.WarmSteps+1))
		}
		if err != nil {
			return fmt.Errorf("align: warm start, step %d: %w", r.WarmSteps+1, err)
		}
		if r.WarmLast = loss; r.WarmSteps == 0 {
			r.WarmFirst = loss
		}
		r.WarmSteps++
		took, err := r.timed(ctx, before)
		if err != nil { // the update is made but not counted, so the last checkpoint stays as it is
			return artifact.Resumable(err)
		}
		before, r.Seconds = job.clock(), r.Seconds+took.Seconds()
		plan := pace.plan(r.WarmSteps)
		if job.Progress != nil && (r.WarmSteps%20 == 0 || r.WarmSteps == plan) {
			job.Progress(Event{Phase: "warm start", Step: r.WarmSteps, Plan: plan, Samples: r.WarmSteps * c.WarmBatch,
				Loss: loss, Seconds: r.Seconds})
		}
		if err := r.saveBefore(took); err != nil {
			return err
		}
	}
	if s.Entries > 0 {
		if err := errors.Join(copyLayers(&r.model.Model, pupil, cgo.Value), writeEntries(r.model, job.Warm, embed)); err != nil {
			return err
		}
	}
	return checkpoint.Clear(r.model, cgo.Moment1, cgo.Moment2)
}

// copyLayers copies the tensors that an adapter with entries shares with the probe that learns its
// keys: the hidden layer and the scores of entries.
func copyLayers(dst, src *cgo.Model, slots ...cgo.Slot) error {
	infos, err := dst.Tensors()
	if err != nil {
		return err
	}
	for i, info := range infos[:4] {
		values := make([]float32, info.Elements())
		for _, slot := range slots {
			if err := errors.Join(src.Read(values, i, slot), dst.Write(i, slot, values)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeEntries makes titles the entries of their items; embed appends one.
func writeEntries(model *cgo.Adapter, pairs []Pair, embed func([]float32, []int32) []float32) error {
	tensors, err := model.Tensors()
	if err != nil {
		return err
	}
	index := slices.IndexFunc(tensors, func(t cgo.TensorInfo) bool { return t.Role == cgo.RoleItems })
	tensor := tensors[index]
	values := make([]float32, tensor.Elements())
	if err := model.Read(values, index, cgo.Value); err != nil {
		return err
	}
	written := map[int32]bool{}
	for _, pair := range pairs {
		for i, item := range pair.Items {
			if written[item] {
				continue
			}
			written[item] = true
			for at, x := range embed(nil, pair.Titles[i]) {
				if tensor.ItemRows {
					values[int(item)*tensor.Shape[1]+at] = x
				} else {
					values[at*tensor.Shape[1]+int(item)] = x
				}
			}
		}
	}
	return model.Write(index, cgo.Value, values)
}

// sharpness is how much a coarse adapter's soft token scores for the token whose embedding it is:
// so much that soft tokens become as large as embeddings while they learn to fit the right one.
const sharpness = 80

// sharp gives the embeddings of all tokens that titles begin with, [V, E], such that products with
// soft tokens are scores, and the place of each token.
func sharp(words map[int32][]float32, pairs []Pair, s Shape, rms float64) (table []float32, place map[int32]int32) {
	place = map[int32]int32{}
	factor := float32(sharpness / (float64(s.Embd) * rms * rms))
	for _, pair := range pairs {
		for _, token := range prompt.FirstTokens(pair.Titles[0], s.Tokens) {
			if _, known := place[token]; known {
				continue
			}
			place[token] = int32(len(place))
			for _, x := range words[token] {
				table = append(table, factor*x)
			}
		}
	}
	return table, place
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
