package align

import (
	"cmp"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Streams keep the random numbers of different purposes apart under one seed.
const (
	streamInit = iota + 1
	streamWarm
	streamValidation
	streamEpoch               // epoch e draws from streamEpoch + e
	streamWording   = 1 << 40 // pass p of a run draws from streamWording + p
	streamNoise     = 1 << 41 // step s of a run draws from streamNoise + s, and of its warm start from streamWarmNoise + s
	streamWarmNoise = 1 << 42
)

// order visits n samples in a new random order in each epoch. Which sample stands at a place
// depends on the seed and the place alone, so that a step number is all that a checkpoint needs to
// keep of it.
type order struct {
	seed  uint64
	n     int
	epoch int
	perm  []int
}

// at is the index of the sample at a place, counted from 0 over all epochs.
func (o *order) at(place int) int {
	if epoch := place / o.n; o.perm == nil || epoch != o.epoch {
		o.epoch = epoch
		o.perm = rand.New(rand.NewPCG(o.seed, streamEpoch+uint64(epoch))).Perm(o.n)
	}
	return o.perm[place%o.n]
}

// batch gathers the samples of update number step, 0-based.
func (o *order) batch(samples []prompt.Sample, step, size int) []prompt.Sample {
	batch := make([]prompt.Sample, size)
	for i := range batch {
		batch[i] = samples[o.at(step*size+i)]
	}
	return batch
}

// disturb adds Gaussian noise to the numbers of a sample, with a standard deviation drawn evenly
// from 0 to most.
func disturb(values []float32, most float64, random *rand.Rand) {
	noise := most * random.Float64()
	for i := range values {
		values[i] += float32(noise * random.NormFloat64())
	}
}

// disturbed gives samples with noise on their states.
func disturbed(samples []prompt.Sample, noise float64, random *rand.Rand) []prompt.Sample {
	if noise == 0 {
		return samples
	}
	for i := range samples {
		samples[i].Values = slices.Clone(samples[i].Values)
		disturb(samples[i].Values, noise, random)
	}
	return samples
}

// passes splits a batch into groups of samples that go through the LLM together: of like length, so
// that little is padded, and of at most so many positions behind the prompt's beginning, padding
// included, but at least one sample. Passes are about as long as each other, and so many that most
// numbers of ranks can share them evenly.
func passes(prompts [][]*prompt.Prompt, batch []prompt.Sample, most int) [][]prompt.Sample {
	length := func(s prompt.Sample) int { return positions(prompts, s) }
	sorted := slices.Clone(batch)
	slices.SortStableFunc(sorted, func(a, b prompt.Sample) int { return cmp.Or(a.Task-b.Task, length(a)-length(b)) })
	fill := func(most int) (all [][]prompt.Sample) {
		for first, i := 0, 1; i <= len(sorted); i++ {
			if i == len(sorted) || sorted[i].Task != sorted[first].Task || (i+1-first)*length(sorted[i]) > most {
				all = append(all, sorted[first:i])
				first = i
			}
		}
		return all
	}
	all := fill(most)
	n := shareable(len(all))
	if n > len(sorted) {
		return all
	}
	return fill(sort.Search(most, func(fewer int) bool { return len(fill(fewer)) <= n })) // the shortest that are no more than n
}

// shareable rounds a number of passes up to a multiple of a power of two, by half at most.
func shareable(passes int) int {
	if passes == 1 {
		return 1
	}
	of := 1 << (bits.Len(uint(max(passes, 4))) - 2) // at most half of them
	return (passes + of - 1) / of * of
}

// padding is the share of the rows of some passes that only fill up, on engines that round their
// number up.
func padding(engine *cgo.Engine, prompts [][]*prompt.Prompt, all [][]prompt.Sample) (float64, error) {
	used, rows := 0, 0
	for _, pass := range all {
		own, longest := 0, 0
		for _, s := range pass {
			own, longest = own+positions(prompts, s), max(longest, positions(prompts, s))
		}
		n, err := engine.PassRows(len(pass), longest, own)
		if err != nil {
			return 0, err
		}
		used, rows = used+own, rows+max(n, own)
	}
	return 1 - float64(used)/float64(rows), nil
}

// positions is the length of a sample behind the prompt's beginning.
func positions(prompts [][]*prompt.Prompt, s prompt.Sample) int {
	p := prompts[s.Task][0]
	return p.Positions(s.Counts, len(s.Answer)) - len(p.Prefix())
}

// wording is which of n wordings pass number pass of a run is put in.
func wording(seed uint64, pass, n int) int {
	return rand.New(rand.NewPCG(seed, streamWording+uint64(pass))).IntN(n)
}
