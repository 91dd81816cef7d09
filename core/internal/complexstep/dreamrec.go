package complexstep

import (
	"maps"
	"math"

	"gonum.org/v1/gonum/blas/cblas128"
)

// DreamRecShape sizes a DreamRec (Yang et al. 2023, arXiv 2310.20453): a SASRec whose state guides
// a diffusion (Ho et al. 2020, arXiv 2006.11239) towards the embedding of the ideal next item, the
// oracle. Below, ᾱ_t = Π (1 − β) up to step t.
type DreamRecShape struct {
	Guidance  SASRecShape
	TwoLayers bool // the denoiser: false mlp1, true mlp2
	Betas     []float64
	Rounding  float64 // weight of the cross-entropy in the loss
}

// DreamRecBatch is what to denoise, laid out as ri_dreamrec_batch in the C header.
type DreamRecBatch struct {
	Histories
	Targets       []int32   // [B]: the item whose embedding is to be recovered
	Steps         []int32   // [B]
	Noise         []float32 // [B, D]
	Unconditional []int32   // [B]: 1 where the guidance is dropped
}

// DreamRecSampling is a run of the sampler, laid out as ri_dreamrec_sampling in the C header.
type DreamRecSampling struct {
	Guidance      []complex128 // [n, D]
	Strength      float64      // w: x0 = (1 + w)·conditional − w·unconditional
	Steps         []int32      // falling; behind the last one nothing is left of the noise
	Deterministic bool         // DDIM (Song et al. 2021, arXiv 2010.02502) with η = 0, not DDPM
	Noise         []float32    // [len(Steps), n, D]: the start, then what each step but the last adds; DDIM reads the start
}

func (s DreamRecShape) layout() (items, width, positions int) { return s.Guidance.layout() }

func (s DreamRecShape) table() string { return "item_embeddings.weight" }

// head scores oracles by their products with the embeddings of the catalogue.
func (s DreamRecShape) head(p Params) (weight, bias []complex128) {
	return p["item_embeddings.weight"][:s.Guidance.Items*s.Guidance.Width], nil
}

// Tensors gives the element count of each parameter.
func (s DreamRecShape) Tensors() map[string]int {
	d := s.Guidance.Width
	sizes := s.Guidance.encoderTensors()
	sizes["none_embedding.weight"] = d
	maps.Copy(sizes, denseTensors("step_mlp.1", 2*d, d))
	maps.Copy(sizes, denseTensors("step_mlp.3", d, 2*d))
	if s.TwoLayers {
		maps.Copy(sizes, denseTensors("diffuser.0", 2*d, 3*d))
		maps.Copy(sizes, denseTensors("diffuser.2", d, 2*d))
	} else {
		maps.Copy(sizes, denseTensors("diffuser.0", d, 3*d))
	}
	return sizes
}

func (s DreamRecShape) encode(p Params, x cblas128.General) cblas128.General {
	return s.Guidance.encode(p, x)
}

// signalsLeft are ᾱ_t for every step. Near 1, a rounding error in ᾱ_t is large relative to 1 − ᾱ_t,
// by which the samplers divide.
func (s DreamRecShape) signalsLeft() []float64 {
	left, signals := 1.0, make([]float64, len(s.Betas))
	for step, beta := range s.Betas {
		left = flReal(left * flReal(1-beta))
		signals[step] = left
	}
	return signals
}

// stepEmbedding is a step as sines and cosines of D/2 frequencies from 1 down to 1/10000, through
// two layers, [D].
func (s DreamRecShape) stepEmbedding(p Params, step int32) []complex128 {
	waves := matrix(1, s.Guidance.Width)
	half := waves.Cols / 2
	for k := range half {
		sin, cos := math.Sincos(float64(step) * math.Pow(10000, -float64(k)/float64(half-1)))
		waves.Data[k], waves.Data[half+k] = fl(complex(sin, 0)), fl(complex(cos, 0))
	}
	return p.dense("step_mlp.3", each(p.dense("step_mlp.1", waves), geluErf)).Data
}

// Denoise predicts x0 [n, D] from x [n, D] at steps [n], with guidance [n, D], or nil for none.
func (s DreamRecShape) Denoise(p Params, x []complex128, steps []int32, guidance []complex128) []complex128 {
	d := s.Guidance.Width
	in := matrix(len(steps), 3*d)
	for b, step := range steps {
		by := p["none_embedding.weight"]
		if guidance != nil {
			by = guidance[b*d:][:d]
		}
		copy(row(in, b), x[b*d:][:d])
		copy(row(in, b)[d:], by)
		copy(row(in, b)[2*d:], s.stepEmbedding(p, step))
	}
	y := p.dense("diffuser.0", in)
	if s.TwoLayers {
		y = p.dense("diffuser.2", each(y, geluErf))
	}
	return y.Data
}

// noised is √ᾱ·x0 + √(1 − ᾱ)·noise (Ho et al. 2020, eq. 4).
func (s DreamRecShape) noised(x0 []complex128, step int32, noise []float32) []complex128 {
	left := s.signalsLeft()[step]
	x := Lift(noise)
	for i := range x {
		x[i] = add(scaled(flReal(math.Sqrt(left)), x0[i]), scaled(flReal(math.Sqrt(1-left)), x[i]))
	}
	return x
}

// Loss is the mean squared error between the prediction of x0 and the embedding of the target (Yang
// et al. 2023, eq. 9), of which the noised x is a function, too; plus Rounding times the mean of
// −log softmax(products with all embeddings)[target] (Li et al. 2022, eq. 2).
func (s DreamRecShape) Loss(p Params, batch DreamRecBatch) complex128 {
	d := s.Guidance.Width
	guidance := LastStates(s, p, batch.Histories)
	var x0, x []complex128
	for b, target := range batch.Targets {
		embedding := p["item_embeddings.weight"][int(target)*d:][:d]
		x0 = append(x0, embedding...)
		x = append(x, s.noised(embedding, batch.Steps[b], batch.Noise[b*d:][:d])...)
		if batch.Unconditional[b] != 0 {
			copy(guidance[b*d:], p["none_embedding.weight"])
		}
	}
	predicted := s.Denoise(p, x, batch.Steps, guidance)
	scores, items := ScoreStates(s, p, predicted), s.Guidance.Items
	var entropy complex128
	for b, target := range batch.Targets {
		logP := logProbability(scores[b*items:][:items], int(target))
		entropy = add(entropy, scaled(-1/float64(len(batch.Targets)), logP))
	}
	return add(meanSquaredError(predicted, x0), scaled(s.Rounding, entropy))
}

// Sample runs the diffusion backwards: oracles [n, D].
func (s DreamRecShape) Sample(p Params, run DreamRecSampling) []complex128 {
	n := len(run.Guidance)
	x, signals := Lift(run.Noise[:n]), s.signalsLeft()
	for i, step := range run.Steps {
		left, leftNext := signals[step], 1.0
		if i+1 < len(run.Steps) {
			leftNext = signals[run.Steps[i+1]]
		}
		x0 := s.guided(p, x, step, run.Guidance, run.Strength)
		if run.Deterministic {
			x = ddimStep(x, x0, left, leftNext)
			continue
		}
		x = posteriorMean(x, x0, left, leftNext)
		if i+1 < len(run.Steps) {
			deviation := flReal(math.Sqrt(posteriorVariance(left, leftNext)))
			for j, z := range Lift(run.Noise[(i+1)*n:][:n]) {
				x[j] = add(x[j], scaled(deviation, z))
			}
		}
	}
	return x
}

// guided is classifier-free guidance, (1 + w)·conditional − w·unconditional, with all rows at one
// step.
func (s DreamRecShape) guided(p Params, x []complex128, step int32, guidance []complex128, w float64) []complex128 {
	steps := make([]int32, len(x)/s.Guidance.Width)
	for i := range steps {
		steps[i] = step
	}
	x0, without := s.Denoise(p, x, steps, guidance), s.Denoise(p, x, steps, nil)
	for i, v := range without {
		x0[i] = add(scaled(1+w, x0[i]), -scaled(w, v))
	}
	return x0
}

// posteriorMean is the mean of the next, less noisy x, given x and x0 (Ho et al. 2020, eq. 7),
// where α = ᾱ/ᾱ′ and β = 1 − α belong to the step from ᾱ′ to ᾱ: √ᾱ′·β/(1 − ᾱ)·x0 + √α·(1 − ᾱ′)/(1 −
// ᾱ)·x.
func posteriorMean(x, x0 []complex128, left, leftNext float64) []complex128 {
	alpha := flReal(left / leftNext)
	ofX0 := flReal(math.Sqrt(leftNext) * flReal(1-alpha) / flReal(1-left))
	ofX := flReal(math.Sqrt(alpha) * flReal(1-leftNext) / flReal(1-left))
	mean := make([]complex128, len(x))
	for i := range x {
		mean[i] = add(scaled(ofX0, x0[i]), scaled(ofX, x[i]))
	}
	return mean
}

// posteriorVariance is β·(1 − ᾱ′)/(1 − ᾱ), of the same.
func posteriorVariance(left, leftNext float64) float64 {
	return flReal(1-flReal(left/leftNext)) * flReal(1-leftNext) / flReal(1-left)
}

// ddimStep is √ᾱ′·x0 + √(1 − ᾱ′)·ε with the noise ε = (x − √ᾱ·x0)/√(1 − ᾱ) that x0 leaves of x
// (Song et al. 2021, eq. 12 with σ = 0).
func ddimStep(x, x0 []complex128, left, leftNext float64) []complex128 {
	next := make([]complex128, len(x))
	for i := range x {
		epsilon := scaled(1/flReal(math.Sqrt(1-left)), add(x[i], -scaled(flReal(math.Sqrt(left)), x0[i])))
		next[i] = add(scaled(flReal(math.Sqrt(leftNext)), x0[i]), scaled(flReal(math.Sqrt(1-leftNext)), epsilon))
	}
	return next
}
