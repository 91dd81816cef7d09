package recommender

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Diffusion is how DreamRec noises item embeddings, learns to denoise them, and draws oracles: vectors in the space of
// item embeddings that stand for the ideal next item (Yang et al. 2023, arXiv 2310.20453).
type Diffusion struct {
	Steps    int     `json:"steps"`    // T
	Schedule string  `json:"schedule"` // one of Schedules
	Denoiser string  `json:"denoiser"` // MLP1 or MLP2
	Drop     float64 `json:"drop"`     // probability of training without guidance
	Strength float64 `json:"strength"` // w of classifier-free guidance: (1 + w) conditional - w unconditional

	// Weight of a cross-entropy of the next item, given the prediction, beside DreamRec's squared error (Li et al. 2022, arXiv
	// 2205.14217, eq. 2). The squared error alone is least where all embeddings are alike, and drives them there.
	Rounding float64 `json:"rounding,omitempty"`

	// Oracles are drawn in all T steps (Ho et al. 2020, arXiv 2006.11239), or, if this is not 0, in so many of them and
	// without noise after the start (DDIM, Song et al. 2021, arXiv 2010.02502, with η = 0).
	DDIMSteps int `json:"ddim_steps,omitempty"`
}

// The schedules of the noise, as in DreamRec's code.
const (
	Linear      = "linear" // β from 1e-4 to 0.02
	Cosine      = "cosine" // Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17
	SquareRoot  = "sqrt"   // Li et al. 2022, arXiv 2205.14217, appendix A
	Exponential = "exp"    // β_i = 1 - exp(-0.1/T - 4.95·x_i/T²), x from 1 to 2T+1 (Song et al. 2021, arXiv 2011.13456, VP)
)

// The denoisers: one linear layer, or two with a GELU between them.
const (
	MLP1 = "mlp1"
	MLP2 = "mlp2"
)

// Schedules are the names of all schedules.
var Schedules = []string{Linear, Cosine, SquareRoot, Exponential}

// denoisers are their numbers of layers.
var denoisers = map[string]int{MLP1: 1, MLP2: 2}

func (d Diffusion) validate() error {
	if !slices.Contains(Schedules, d.Schedule) {
		return unknown("schedule", d.Schedule, Schedules)
	}
	if _, ok := denoisers[d.Denoiser]; !ok {
		return unknown("denoiser", d.Denoiser, slices.Sorted(maps.Keys(denoisers)))
	}
	least := 1
	if d.Schedule == Linear || d.Schedule == Exponential {
		least = 2 // both ends of a range
	}
	return checkRanges([]integer{{"the diffusion's steps", d.Steps, least, 10000}, {"ddim_steps", d.DDIMSteps, 0, d.Steps}},
		[]number{{"the diffusion's drop", d.Drop, 0, 1}, {"the diffusion's strength", d.Strength, -1, 1000},
			{"rounding", d.Rounding, 0, 1e6}})
}

// Betas gives the variance of the noise that each step adds, [Steps].
func (d Diffusion) Betas() []float64 {
	steps := float64(d.Steps)
	left := func(at float64) float64 { return 1 - math.Sqrt(at+1e-4) } // what is left of the signal's square
	highest, lowest := 0.999, 0.0
	if d.Schedule == Cosine {
		left = func(at float64) float64 { return math.Pow(math.Cos((at+0.008)/1.008*math.Pi/2), 2) }
		highest, lowest = 0.9999, 1e-4
	}
	betas := make([]float64, d.Steps)
	for i := range betas {
		at := float64(i)
		switch d.Schedule {
		case Linear:
			betas[i] = 1e-4 + (0.02-1e-4)*at/(steps-1)
		case Exponential:
			x := 1 + 2*steps*at/(steps-1)
			betas[i] = 1 - math.Exp(-0.1/steps-x*0.5*9.9/(steps*steps))
		default:
			betas[i] = min(max(1-left((at+1)/steps)/left(at/steps), lowest), highest)
		}
	}
	return betas
}

// samplingSteps are the steps that are taken to draw an oracle, falling.
func (d Diffusion) samplingSteps() []int32 {
	count := d.Steps
	if d.DDIMSteps > 0 {
		count = d.DDIMSteps
	}
	steps := make([]int32, count)
	for i := range steps {
		steps[i] = int32((count - 1 - i) * (d.Steps - 1) / max(count-1, 1))
	}
	if count == 1 {
		steps[0] = int32(d.Steps - 1)
	}
	return steps
}

// Oracles draws DreamRec's vector for the ideal next item after each history: dst [len(histories), D]. Histories are as for
// States. Oracle number i follows from the seed and i alone.
func (r *Recommender) Oracles(ctx context.Context, dst []float32, histories [][]int32, seed uint64) error {
	return r.oracles(ctx, dst, histories, seed, 0)
}

// oracles draws those from number first on.
func (r *Recommender) oracles(ctx context.Context, dst []float32, histories [][]int32, seed uint64, first int) error {
	d := r.config.Diffusion
	if d == nil {
		return fmt.Errorf("recommender: %s draws no oracles; DreamRec does", r.config.Model)
	}
	guidance := make([]float32, atOnce*r.config.Width)
	return r.run(ctx, dst, r.config.Width, histories, nil, func(dst []float32, h cgo.Histories) error {
		guidance := guidance[:len(dst)]
		if err := r.model.States(guidance, h, false); err != nil {
			return err
		}
		err := r.model.Diffusion().Sample(dst, cgo.Sampling{
			Guidance: guidance, Strength: float32(d.Strength), Steps: d.samplingSteps(), Deterministic: d.DDIMSteps > 0,
			Seed: seed, First: uint64(first),
		})
		first += len(h.Lengths)
		return err
	})
}
