package align

import (
	"github.com/recinterpreter/recinterpreter/cgo"
)

// Plan is what a training run will take, told before anything is loaded. Bytes are of the device that computes.
type Plan struct {
	Parameters int64 `json:"parameters"` // of the LLM's matrices, head included
	Weights    int64 `json:"weights"`    // bytes of the frozen matrices and their transposes
	Prefix     int64 `json:"prefix"`     // bytes of the keys and values of the prompts' constant beginnings
	Pass       int64 `json:"pass"`       // bytes that the longest pass keeps until its gradient is known
	Optimiser  int64 `json:"optimiser"`  // bytes of the adapter: values, gradient, two moments
	Samples    int64 `json:"samples"`    // bytes of the states that are trained on

	Positions float64 `json:"positions"`          // behind the prefix, of the mean sample
	FLOP      float64 `json:"flop_per_sample"`    // in the LLM's matrices, forwards and backwards
	Speed     float64 `json:"flop_per_second"`    // of large products on this engine, measured
	Rate      float64 `json:"samples_per_second"` // expected
	Minutes   float64 `json:"minutes,omitempty"`  // for the run's samples, without the warm start; 0 when the length is given in minutes
	Fits      bool    `json:"fits"`               // in the memory that is free
	Free      int64   `json:"memory_free"`        // bytes, when the plan was made
}

// Total is all memory that the run will take, in bytes.
func (p Plan) Total() int64 { return p.Weights + p.Prefix + p.Pass + p.Optimiser + p.Samples }

// productShare is how much of a step goes into the large products where they run on the core's own kernel: the rest is
// attention, norms, activations and their memory. Measured with SmolLM2-135M and 12 to 18 positions (docs/training.md).
const productShare = 0.7

// Length is what a plan needs to know of a sample.
type Length struct {
	Counts []int // states in each slot
	Answer int   // tokens, the end token included
}

// MakePlan works out what training will take: an adapter of a shape, through an LLM of which only the description is needed,
// with its prompts, on samples of these lengths.
func MakePlan(engine *cgo.Engine, info cgo.GGUFInfo, precision cgo.Precision, j Job, lengths []Length) (Plan, error) {
	device, err := engine.Describe()
	if err != nil {
		return Plan{}, err
	}
	m := matrices(info)
	fused := precision == cgo.BF16 && device.PackedKernel
	p := Plan{Parameters: int64(info.Layers)*(m.attention+m.forward) + m.head, Free: device.MemoryFree}
	perNumber := int64(2) // each matrix is kept with its transpose
	if precision == cgo.BF16 {
		exact := int64(info.Layers / 10)
		p.Weights = perNumber * (2*(p.Parameters-exact*m.attention) + 4*exact*m.attention)
	} else {
		p.Weights = perNumber * 4 * p.Parameters
	}
	keyValues := int64(info.HeadsKV * info.HeadDim)
	for _, prompt := range j.Prompts {
		p.Prefix += int64(info.Layers) * 4 * 4 * keyValues * int64(len(prompt.Prefix()))
	}
	for _, t := range j.Shape.tensors() {
		p.Optimiser += 4 * 4 * int64(elements(t.Shape))
	}

	longest, answer, sum, answers := 0, 0, 0, 0
	for _, l := range lengths {
		behind := j.Prompts[0].Positions(l.Counts, l.Answer) - len(j.Prompts[0].Prefix())
		longest, answer = max(longest, behind), max(answer, l.Answer)
		sum, answers = sum+behind, answers+l.Answer
		for _, count := range l.Counts {
			p.Samples += 4 * int64(count*j.Shape.Width())
		}
	}
	n := float64(max(len(lengths), 1))
	p.Positions = float64(sum) / n
	rows := int64(j.Config.MicroBatch * longest)
	p.Pass = 4 * (rows*int64(info.Layers)*kept(info, fused) + int64(j.Config.MicroBatch*answer)*int64(3*info.Vocab))
	// A product of a row with a matrix is 2 FLOP for each number of it, forwards and again backwards. In the last layer all but
	// queries, keys and values runs at the answer only.
	layers := float64(info.Layers)
	p.FLOP = 4 * ((layers*float64(m.attention+m.forward)-float64(m.forward))*p.Positions +
		float64(m.forward+m.head)*float64(answers)/n)
	if p.Speed, err = engine.ProductSpeed(precision); err != nil {
		return Plan{}, err
	}
	p.Rate = productShare * p.Speed / p.FLOP
	if j.Config.Samples > 0 {
		p.Minutes = float64(j.Config.Samples) / p.Rate / 60
	}
	p.Fits = p.Total() < p.Free
	return p, nil
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

// kept is how many numbers of each position and layer wait for the gradient: the inputs of both norms and of the attention and
// of SwiGLU; composed of ggml operations also what lies between them.
func kept(info cgo.GGUFInfo, fused bool) int64 {
	e, f := int64(info.Embd), int64(info.FF)
	n := 2*e + int64((info.Heads+2*info.HeadsKV)*info.HeadDim) + 2*f
	if !fused {
		n += 4*e + 3*f + int64(4*(info.Heads+info.HeadsKV)*info.HeadDim)
	}
	return n
}
