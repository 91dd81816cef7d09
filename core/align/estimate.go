package align

import (
	"errors"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Estimate is what a training run will take, told before the LLM's weights are loaded.
type Estimate struct {
	Parameters int64  `json:"parameters"` // of the LLM's matrices, head included
	Device     string `json:"device"`     // that computes, as its driver names it

	// Bytes of the device that computes. A GPU's driver takes some hundred MiB more for itself.
	Weights   int64 `json:"weights_bytes"`   // the frozen matrices and their transposes
	Prefix    int64 `json:"prefix_bytes"`    // keys and values of the prompts' constant beginnings
	Pass      int64 `json:"pass_bytes"`      // what the longest pass keeps until its gradient is known
	Optimiser int64 `json:"optimiser_bytes"` // the adapter: values, gradient, two moments
	Free      int64 `json:"free_bytes"`      // at the time of the estimate
	Fits      bool  `json:"fits"`

	States int64 `json:"states_bytes"` // states to train on, in the computer's own memory

	Positions float64 `json:"positions"`          // behind the prefix, of the mean sample
	Padding   float64 `json:"padding,omitempty"`  // share of the rows of a pass, on GPUs; of the first updates
	FLOP      float64 `json:"flop_per_sample"`    // in the LLM's matrices, forwards and backwards
	Speed     float64 `json:"flop_per_second"`    // of large products on this engine, measured
	Rate      float64 `json:"samples_per_second"` // expected
	Warm      float64 `json:"warm_start_minutes"` // expected
	Samples   int     `json:"samples"`            // of the run, in whole batches; where its length is given in minutes, expected
	Minutes   float64 `json:"minutes"`            // warm start included; where the length is given in samples, expected
}

// Total is all memory of the device that the run will take, in bytes.
func (e Estimate) Total() int64 { return e.Weights + e.Prefix + e.Pass + e.Optimiser }

// Mebibytes writes a size for people.
func Mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// productShare is how much of a step goes into the large products (docs/training.md says where that
// was measured). Where they do not run on the core's own kernels it was not measured, and less is
// to be expected.
const productShare = 0.65

// productShareOnGPU is the same on GPUs, where most of a step is starting small kernels and moving
// what lies between products: of SmolLM2-135M on an H100 (docs/gpu.md). Larger LLMs, which nobody
// has measured, should have more.
const productShareOnGPU = 0.05

// regressionShare is how much of the speed of large products in float32 the warm start reaches.
const regressionShare = 0.55

// Length is what an estimate needs to know of a sample.
type Length struct {
	Counts []int // states in each slot
	Answer int   // tokens, the end token included
	Task   int   // as in a sample
}

// NewEstimate works out what a job will take, of which it needs the prompts, the shape and the
// configuration, on samples of these lengths. It reads no weight of the LLM.
func NewEstimate(engine *cgo.Engine, llm *cgo.GGUF, precision cgo.Precision, j Job, lengths []Length) (Estimate, error) {
	e, needs, err := memory(engine, llm, precision, j, lengths)
	if err != nil {
		return Estimate{}, err
	}
	answers := 0
	for _, l := range lengths {
		answers += l.Answer
	}
	e.FLOP = 2 * needs.ForwardFLOP(e.Positions, float64(answers)/float64(len(lengths))) // and again backwards
	if e.Speed, err = engine.ProductSpeed(precision); err != nil {
		return Estimate{}, err
	}
	device, err := engine.Describe()
	if err != nil {
		return Estimate{}, err
	}
	share := productShare
	if device.OnGPU() {
		share = productShareOnGPU
	}
	if e.Padding, err = expectedPadding(engine, j, lengths); err != nil {
		return Estimate{}, err
	}
	e.Rate = (1 - e.Padding) * share * e.Speed / e.FLOP
	if j.Config.WarmSteps > 0 {
		exact, err := engine.ProductSpeed(cgo.F32)
		if err != nil {
			return Estimate{}, err
		}
		// A number of the adapter is 6 FLOP in an update of one state: forwards, and backwards to
		// itself and to its input. Where entries are looked up these are the numbers that do so.
		numbers := needs.Adapter / 16
		if j.Shape.Entries > 0 {
			numbers = int64(j.lookingUp())
		}
		e.Warm = 6 * float64(numbers) * float64(j.Config.WarmSteps*j.Config.WarmBatch) / (regressionShare * exact) / 60
		if j.Config.Minutes > 0 {
			e.Warm = min(e.Warm, warmShare*j.Config.Minutes)
		}
	}
	updates := j.Config.steps()
	if e.Minutes = j.Config.Minutes; updates > 0 {
		e.Minutes = e.Warm + float64(updates*j.Config.BatchSize)/e.Rate/60
	} else {
		updates = max(1, int((e.Minutes-e.Warm)*60*e.Rate/float64(j.Config.BatchSize)))
	}
	e.Samples = updates * j.Config.BatchSize
	return e, nil
}

// lookingUp is how many numbers learn in the warm start what to look up.
func (j Job) lookingUp() int { return j.Shape.Hidden * (j.Shape.In + j.Shape.Entries) }

// memory is the part of an estimate that tells the memory, and what it comes from.
func memory(engine *cgo.Engine, llm *cgo.GGUF, precision cgo.Precision, j Job, lengths []Length) (
	e Estimate, needs cgo.TrainingNeeds, err error) {
	if len(lengths) == 0 {
		return e, needs, errors.New("align: there are no training samples")
	}
	device, err := engine.Describe()
	if err != nil {
		return e, needs, err
	}
	info, err := llm.Describe()
	if err != nil {
		return e, needs, err
	}
	e = Estimate{Device: device.Device, Free: device.MemoryFree}
	largest := cgo.TrainingSizes{Precision: precision, Adapter: j.Shape.params(1)}
	prefixes := 0 // tokens of all
	for _, p := range slices.Concat(j.Prompts...) {
		prefixes += len(p.Prefix())
		largest.Prefix = max(largest.Prefix, len(p.Prefix()))
	}
	sum := 0
	for i, l := range lengths {
		p := j.Prompts[l.Task][0]
		prefix := len(p.Prefix())
		behind := p.Positions(l.Counts, l.Answer) - prefix
		if prefix+behind > info.Context {
			return e, needs, fmt.Errorf("align: training sample %d: prompt and answer take %d positions; the LLM's context has %d",
				i, prefix+behind, info.Context)
		}
		states := 0
		for _, count := range l.Counts {
			states += count
		}
		largest.Positions, largest.States = max(largest.Positions, behind), max(largest.States, states)
		largest.Targets = max(largest.Targets, l.Answer)
		sum += behind
		e.States += 2 * 4 * int64(states*j.Shape.Width()) // of samples, and of the pairs of the warm start
	}
	e.Positions = float64(sum) / float64(len(lengths))
	largest.Samples = min(max(1, j.Config.PassPositions/largest.Positions), j.Config.BatchSize)
	if needs, err = cgo.EstimateTraining(engine, llm, largest); err != nil {
		return e, needs, err
	}
	e.Parameters, e.Weights = needs.Everywhere+needs.AtTargets, needs.Weights
	e.Optimiser, e.Pass = needs.Adapter, needs.Pass
	if largest.Prefix > 0 {
		e.Prefix = needs.Prefix * int64(prefixes) / int64(largest.Prefix)
	}
	if j.Shape.LookUps > 0 { // the scores of the warm start, repeated for each item of a history, their softmax and its gradients
		e.Pass = max(e.Pass, 4*4*int64(j.Config.WarmBatch*j.Shape.LookUps)*int64(j.Shape.Entries))
	}
	if j.Config.WarmSteps > 0 && j.Shape.Entries > 0 {
		e.Optimiser += 16 * int64(j.lookingUp())
	}
	e.Fits = e.Free == 0 || e.Total() < e.Free // 0: the driver does not say
	return e, needs, nil
}

// LongestPass is how many positions a pass can have for a job to take nine tenths of the free
// memory of engine's device at most: a whole update's, or a half of them, and so on, but no fewer
// than the job says.
func LongestPass(engine *cgo.Engine, llm *cgo.GGUF, precision cgo.Precision, j Job, lengths []Length) (int, error) {
	longest, least := 0, j.Config.PassPositions
	for _, l := range lengths {
		p := j.Prompts[l.Task][0]
		longest = max(longest, p.Positions(l.Counts, l.Answer)-len(p.Prefix()))
	}
	for j.Config.PassPositions = j.Config.BatchSize * longest; j.Config.PassPositions > least; j.Config.PassPositions /= 2 {
		e, _, err := memory(engine, llm, precision, j, lengths)
		if err != nil || e.Total() < e.Free/10*9 {
			return j.Config.PassPositions, err
		}
	}
	return least, nil
}

// expectedPadding is the share of padding of a job's first updates.
func expectedPadding(engine *cgo.Engine, j Job, lengths []Length) (float64, error) {
	const most = 16 // updates that stand for all
	samples, batches := make([]prompt.Sample, len(lengths)), order{seed: j.Config.Seed, n: len(lengths)}
	for i, l := range lengths {
		samples[i] = prompt.Sample{States: prompt.States{Counts: l.Counts}, Answer: make([]int32, l.Answer), Task: l.Task}
	}
	var all [][]prompt.Sample
	for step := range min(most, len(lengths)/j.Config.BatchSize+1) {
		all = append(all, passes(j.Prompts, batches.batch(samples, step, j.Config.BatchSize), j.Config.PassPositions)...)
	}
	return padding(engine, j.Prompts, all)
}
