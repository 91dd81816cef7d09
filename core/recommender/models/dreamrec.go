package models

import (
	"math"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// DreamRec is the model of Yang et al. 2023, arXiv 2310.20453.
const DreamRec = "DreamRec"

// The schedules of the noise, as in the authors' code.
const (
	Linear      = "linear" // β from 1e-4 to 0.02
	Cosine      = "cosine" // Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17
	SquareRoot  = "sqrt"   // Li et al. 2022, arXiv 2205.14217, appendix A
	Exponential = "exp"    // β_i = 1 - exp(-0.1/T - 4.95·x_i/T²), x from 1 to 2T+1 (Song et al. 2021, arXiv 2011.13456, VP)
)

// Diffusion says how item embeddings are noised and how oracles are drawn: vectors in the space of
// item embeddings that stand for the ideal next item.
type Diffusion struct {
	Steps     int
	Schedule  string
	Drop      float64 // probability of training without guidance
	Strength  float64 // w of classifier-free guidance: (1 + w) conditional - w unconditional
	DDIMSteps int     // 0: all steps, with noise (DDPM); else so many, without noise after the start (DDIM)
}

func dreamrec() Entry {
	t := training()
	t.Dropout, t.LearningRate, t.MaxEpochs, t.Patience = 0.1, 3e-3, 60, 8
	own := []Setting{
		{Name: "diffusion.steps", Flag: "steps", Help: "diffusion `STEPS`", Default: 200, Min: 1, Max: 10000,
			Metadata: "timesteps"},
		{Name: "diffusion.schedule", Flag: "schedule", Help: "noise `SCHEDULE`: linear, cosine, sqrt, exp",
			Default: Exponential, Words: []string{Linear, Cosine, SquareRoot, Exponential}, Metadata: "beta_schedule"},
		// One linear layer, or two with a GELU between them.
		{Name: "diffusion.denoiser", Flag: "denoiser", Help: "denoising `NETWORK`: mlp1 or mlp2", Default: "mlp1",
			Words: []string{"mlp1", "mlp2"}, Metadata: "diffuser"},
		{Name: "diffusion.drop", Flag: "drop", Help: "`PROBABILITY` of training without guidance", Default: 0.1, Max: 1},
		{Name: "diffusion.strength", Flag: "strength", Help: "strength `W` of classifier-free guidance", Default: 0.0, Min: -1, Max: 1000,
			Metadata: "guidance_w"},
		// Weight of a cross-entropy of the next item, given the prediction, beside the squared
		// error (Li et al. 2022, arXiv 2205.14217, eq. 2). The squared error alone is least where
		// all embeddings are alike, and drives them there.
		{Name: "diffusion.rounding", Flag: "rounding", Help: "`WEIGHT` of the next item's cross-entropy in the loss, next to the squared error",
			Default: 0.2, Max: 1e6, OmitZero: true},
		// Oracles are drawn in all steps (Ho et al. 2020, arXiv 2006.11239), or, if this is not 0,
		// in so many of them and without noise after the start (DDIM, Song et al. 2021, arXiv
		// 2010.02502, with η = 0).
		{Name: "diffusion.ddim_steps", Flag: "ddim-steps", Help: "generate oracles in `N` DDIM steps instead of all DDPM steps (0: DDPM)",
			Default: 0, Max: 10000, OmitZero: true},
	}
	return Entry{
		Name:     DreamRec,
		Training: t,
		Settings: append(attentionSettings(), own...),
		Check: func(sizes Sizes, values Values) error {
			if err := checkHeads(sizes, values); err != nil {
				return err
			}
			d := diffusionOf(values)
			switch {
			case sizes.Width < 4 || sizes.Width%2 != 0:
				return &artifact.FieldError{Field: "width", Value: sizes.Width, Want: "an even number of at least 4 for this model"}
			case d.Steps < 2 && (d.Schedule == Linear || d.Schedule == Exponential): // both ends of a range
				return &artifact.FieldError{Field: "diffusion.steps", Value: d.Steps, Want: "at least 2 with this schedule"}
			case d.DDIMSteps > d.Steps:
				return &artifact.FieldError{Field: "diffusion.ddim_steps", Value: d.DDIMSteps, Want: "at most the number of steps"}
			}
			return nil
		},
		Native: func(values Values) map[string][]float64 {
			native := numbers(attentionSettings(), values)
			native["denoiser_layers"] = []float64{map[string]float64{"mlp1": 1, "mlp2": 2}[values.Text("diffusion.denoiser")]}
			native["betas"], native["rounding"] = diffusionOf(values).Betas(), []float64{values.Float("diffusion.rounding")}
			return native
		},
		Diffusion: diffusionOf,
		Layouts: []Layout{{
			Name: Authors, Known: []string{"none_embedding.weight", "mh_attn.linear_q.weight"},
			Measure: func(s *Shapes) {
				measureEncoder(s)
				s.Told["diffusion.denoiser"] = "mlp1"
				if s.count("diffuser.") > 1 {
					s.Told["diffusion.denoiser"] = "mlp2"
				}
			},
			Assumed: Values{"diffusion.rounding": 0.0, "diffusion.strength": 2.0}, // as published
		}},
		Unused: []string{"s_fc.", "emb_mlp."},
	}
}

func diffusionOf(values Values) *Diffusion {
	return &Diffusion{Steps: values.Int("diffusion.steps"), Schedule: values.Text("diffusion.schedule"),
		Drop: values.Float("diffusion.drop"), Strength: values.Float("diffusion.strength"),
		DDIMSteps: values.Int("diffusion.ddim_steps")}
}

// Betas gives the variance of the noise that each step adds, [Steps].
func (d *Diffusion) Betas() []float64 {
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

// SamplingSteps gives the steps that are taken to draw an oracle, falling.
func (d *Diffusion) SamplingSteps() []int32 {
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
