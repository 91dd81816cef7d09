package align

import (
	"errors"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
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

// productShare is how much of a step goes into the large products (docs/training.md says where that was measured). Where they
// do not run on the core's own kernels it was not measured, and less is to be expected.
const productShare = 0.65

// productShareOnGPU is the same on GPUs, where most of a step is starting small kernels and moving what lies between products: of
// SmolLM2-135M on an H100 (docs/gpu.md). Larger LLMs, which nobody has measured, should have more.
const productShareOnGPU = 0.05

// regressionShare is how much of the speed of large products in float32 the warm start reaches.
const regressionShare = 0.55

// Length is what an estimate needs to know of a sample.
type Length struct {
	Counts []int // states in each slot
	Answer int   // tokens, the end token included
	Task   int   // as in a sample
}

// NewEstimate works out what a job will take, of which it needs the prompts, the shape and the configuration, through an LLM
// of which only the description is needed, on samples of these lengths.
func NewEstimate(engine *cgo.Engine, info cgo.GGUFInfo, precision cgo.Precision, j Job, lengths []Length) (Estimate, error) {
	if len(lengths) == 0 {
		return Estimate{}, errors.New("align: there are no training samples")
	}
	device, err := engine.Describe()
	if err != nil {
		return Estimate{}, err
	}
	m := matrices(info)
	e := Estimate{Parameters: int64(info.Layers)*(m.attention+m.forward) + m.head, Device: device.Device, Free: device.MemoryFree,
		Weights: weightBytes(info, precision)}
	for _, p := range slices.Concat(j.Prompts...) {
		// Keys and values as rows and as columns, in float32.
		e.Prefix += int64(info.Layers) * 4 * 4 * int64(info.HeadsKV*info.HeadDim*len(p.Prefix()))
	}
	layout, err := j.Shape.layout(1)
	if err != nil {
		return Estimate{}, err
	}
	for _, t := range layout {
		e.Optimiser += 4 * 4 * int64(t.Elements())
	}

	longest, answer, sum, answers := 0, 0, 0, 0
	for i, l := range lengths {
		p := j.Prompts[l.Task][0]
		prefix := len(p.Prefix())
		behind := p.Positions(l.Counts, l.Answer) - prefix
		if prefix+behind > info.Context {
			return Estimate{}, fmt.Errorf("align: training sample %d: prompt and answer take %d positions; the LLM's context has %d",
				i, prefix+behind, info.Context)
		}
		longest, answer = max(longest, behind), max(answer, l.Answer)
		sum, answers = sum+behind, answers+l.Answer
		for _, count := range l.Counts {
			e.States += 2 * 4 * int64(count*j.Shape.Width()) // as they are, and standardised
		}
	}
	n := float64(len(lengths))
	e.Positions = float64(sum) / n
	samples := min(max(1, j.Config.PassPositions/longest), j.Config.BatchSize)
	rows := int64(samples * longest)
	e.Pass = 4 * (rows*int64(info.Layers)*kept(info, device.Kernels != "") + int64(samples*answer)*int64(3*info.Vocab))
	if j.Shape.LookUps > 0 { // the scores of the warm start, repeated for each item of a history, their softmax and its gradients
		e.Pass = max(e.Pass, 4*4*int64(j.Config.WarmBatch*j.Shape.LookUps)*int64(j.Shape.Entries))
	}
	e.FLOP = 2 * ForwardFLOP(info, e.Positions, float64(answers)/n) // and again backwards
	if e.Speed, err = engine.ProductSpeed(precision); err != nil {
		return Estimate{}, err
	}
	share := productShare
	if device.OnGPU() {
		share = productShareOnGPU
	}
	e.Rate = share * e.Speed / e.FLOP
	if j.Config.WarmSteps > 0 {
		exact, err := engine.ProductSpeed(cgo.F32)
		if err != nil {
			return Estimate{}, err
		}
		// A number of the adapter is 6 FLOP in an update of one state: forwards, and backwards to itself and to its input.
		// Where entries are looked up these are the numbers that do so.
		numbers := e.Optimiser / 16
		if j.Shape.Entries > 0 {
			numbers = int64(j.Shape.Hidden * (j.Shape.In + j.Shape.Entries))
			e.Optimiser += 16 * numbers // of the probe that learns them
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
	e.Fits = e.Free == 0 || e.Total() < e.Free // 0: the driver does not say
	return e, nil
}

// sizes are the numbers in a LLaMA's matrices: of a layer's attention, of its feed-forward part, and of the head.
type sizes struct{ attention, forward, head int64 }

func matrices(info cgo.GGUFInfo) sizes {
	e := int64(info.Embd)
	return sizes{
		attention: e * int64((2*info.Heads+2*info.HeadsKV)*info.HeadDim),
		forward:   3 * e * int64(info.FF),
		head:      e * int64(info.Vocab),
	}
}

// ForwardFLOP is what the products with an LLM's matrices take for so many positions, of which some are asked for what comes next:
// 2 for each number of a matrix and each row. In the last layer all but queries, keys and values runs for these alone, as the head does.
func ForwardFLOP(info cgo.GGUFInfo, positions, asked float64) float64 {
	m, out := matrices(info), float64(info.Embd*info.Heads*info.HeadDim)
	everywhere := float64(info.Layers)*float64(m.attention+m.forward) - float64(m.forward) - out
	return 2 * (everywhere*positions + (float64(m.forward+m.head)+out)*asked)
}

// weightBytes is what each matrix takes with its transpose; in bfloat16 the attention's of the first tenth of the layers stay in
// float32 (native/src/llama.cpp).
func weightBytes(info cgo.GGUFInfo, precision cgo.Precision) int64 {
	m := matrices(info)
	all := int64(info.Layers)*(m.attention+m.forward) + m.head
	if precision == cgo.F32 {
		return 2 * 4 * all
	}
	exact := int64(info.Layers/10) * m.attention
	return 2 * (2*(all-exact) + 4*exact)
}

// kept is how many numbers of each position and layer wait for the gradient: the inputs of both norms and of the attention and
// of SwiGLU; composed of ggml operations also what lies between them.
func kept(info cgo.GGUFInfo, kernels bool) int64 {
	e, f := int64(info.Embd), int64(info.FF)
	n := 2*e + int64((info.Heads+2*info.HeadsKV)*info.HeadDim) + 2*f
	if !kernels {
		n += 4*e + 3*f + int64(4*(info.Heads+info.HeadsKV)*info.HeadDim)
	}
	return n
}
