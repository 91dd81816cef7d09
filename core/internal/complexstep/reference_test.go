package complexstep

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	folder "github.com/recinterpreter/recinterpreter/core/internal/reference"
)

// reference reads weights and what PyTorch made of them in float32 (the reference folder's README,
// which also gives the tolerances). The first three are the authors' published weights.
type reference struct {
	t        *testing.T
	params   Params
	expected *artifact.File
}

func readReference(t *testing.T, name string) reference {
	t.Helper()
	dir := folder.Folder(t, "reference")
	weights, err := artifact.ReadSafetensors(filepath.Join(dir, name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	expected, err := artifact.ReadSafetensors(filepath.Join(dir, name+".expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	p := Params{}
	for _, tensor := range weights.Tensors {
		p[tensor.Name] = Lift(tensor.F32)
	}
	return reference{t, p, expected}
}

func (r reference) numbers(name string, shape ...int) []float32 {
	r.t.Helper()
	values, err := r.expected.Float32(name, shape...)
	if err != nil {
		r.t.Fatal(err)
	}
	return values
}

func (r reference) integers(name string, shape ...int) []int32 {
	r.t.Helper()
	values, err := r.expected.Int32(name, shape...)
	if err != nil {
		r.t.Fatal(err)
	}
	return values
}

func (r reference) histories(n int) Histories {
	return Histories{Items: r.integers("seq", n, 10), Lengths: r.integers("len", n)}
}

// sized fails unless the file holds every tensor of the shape, in its size.
func (r reference) sized(m Recommender) {
	r.t.Helper()
	for name, size := range m.Tensors() {
		if len(r.params[name]) != size {
			r.t.Errorf("%s has %d elements, expected %d", name, len(r.params[name]), size)
		}
	}
}

// close fails unless the largest difference is within the bound.
func (r reference) close(what string, got []complex128, want []float32, allowed float64) {
	r.t.Helper()
	d := distance(got, Lift(want))
	r.t.Logf("%s: largest difference %.2g", what, d)
	if !(d <= allowed) {
		r.t.Errorf("%s differ by %g (allowed %g)", what, d, allowed)
	}
}

// relative is the same for a bound relative to the largest number.
func (r reference) relative(what string, got []complex128, want []float32, allowed float64) {
	r.t.Helper()
	var most float64
	for _, v := range want {
		most = max(most, math.Abs(float64(v)))
	}
	r.close(what, got, want, allowed*most)
}

func TestReferenceRecommenders(t *testing.T) {
	for name, m := range map[string]Recommender{
		"SASRec_movielens": SASRecShape{Items: 1682, Width: 64, Positions: 10, Blocks: 1, Heads: 1, Inner: 64},
		"GRU_movielens":    GRU4RecShape{Items: 1682, Width: 64, Positions: 10, Hidden: 64, Layers: 1},
		"Caser_movielens": CaserShape{
			Items: 1682, Width: 64, Positions: 10, Heights: []int{2, 3, 4}, Horizontal: 16, Vertical: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := readReference(t, name)
			r.sized(m)
			states := LastStates(m, r.params, r.histories(64))
			if name == "SASRec_movielens" { // the one whose states are there
				r.close("states", states, r.numbers("hidden", 64, 64), 2e-5)
			}
			r.close("scores", ScoreStates(m, r.params, states), r.numbers("scores", 64, 1682), 2e-4)
		})
	}
}

func TestReferenceDreamRec(t *testing.T) {
	for name, twoLayers := range map[string]bool{"DreamRec_linear_mlp1": false, "DreamRec_exp_mlp2": true} {
		t.Run(name, func(t *testing.T) {
			r := readReference(t, name)
			s := DreamRecShape{
				Guidance:  SASRecShape{Items: 300, Width: 64, Positions: 10, Blocks: 1, Heads: 1, Inner: 64},
				TwoLayers: twoLayers,
			}
			for _, beta := range r.numbers("betas") {
				s.Betas = append(s.Betas, float64(beta))
			}
			r.sized(s)
			const n, allowed = 16, 1e-4
			targets, steps, noise := r.integers("target", n), r.integers("step", n), r.numbers("noise", n, 64)

			guidance := LastStates(s, r.params, r.histories(n))
			r.relative("guidance", guidance, r.numbers("guidance", n, 64), allowed)
			var x []complex128
			for b, target := range targets {
				x0 := r.params["item_embeddings.weight"][int(target)*64:][:64]
				x = append(x, s.noised(x0, steps[b], noise[b*64:][:64])...)
			}
			r.relative("noised targets", x, r.numbers("x_noisy", n, 64), allowed)
			r.relative("predictions", s.Denoise(r.params, x, steps, guidance), r.numbers("x0_conditional", n, 64), allowed)
			without := s.Denoise(r.params, x, steps, nil)
			r.relative("predictions without guidance", without, r.numbers("x0_unconditional", n, 64), allowed)
			loss := s.Loss(r.params, DreamRecBatch{
				Histories: r.histories(n), Targets: targets, Steps: steps, Noise: noise, Unconditional: make([]int32, n),
			})
			r.relative("loss", []complex128{loss}, r.numbers("loss_mse", 1), allowed)

			run := DreamRecSampling{Guidance: guidance, Strength: 2, Noise: r.numbers("sample_noise", len(s.Betas), n, 64)}
			for step := len(s.Betas) - 1; step >= 0; step-- {
				run.Steps = append(run.Steps, int32(step))
			}
			var scores []float32 // without the padding row
			for b := range n {
				scores = append(scores, r.numbers("scores", n, 301)[b*301:][:300]...)
			}
			// PyTorch had 1 − β in float32, so that the 1 − ᾱ of step 0 errs by up to 2⁻²⁵ and what
			// it divides by that much relative to β. With its schedule the bound holds; with the
			// exact one that error is added.
			oracles := sampleInFloat32(s, r.params, run)
			r.relative("oracles by a float32 schedule", oracles, r.numbers("oracle", n, 64), allowed)
			r.relative("their scores", ScoreStates(s, r.params, oracles), scores, allowed)
			oracles = s.Sample(r.params, run)
			r.relative("oracles", oracles, r.numbers("oracle", n, 64), allowed+0x1p-25/s.Betas[0])
			r.relative("scores", ScoreStates(s, r.params, oracles), scores, allowed+0x1p-25/s.Betas[0])
		})
	}
}

// sampleInFloat32 is Sample by DDPM over all steps, with the coefficients of the posterior rounded
// as PyTorch rounds them.
func sampleInFloat32(s DreamRecShape, p Params, run DreamRecSampling) []complex128 {
	n := len(run.Guidance)
	left := []float32{1} // before each step
	for _, beta := range s.Betas {
		left = append(left, left[len(left)-1]*(1-float32(beta)))
	}
	x := Lift(run.Noise[:n])
	for i, step := range run.Steps {
		beta, before, after := float32(s.Betas[step]), left[step], left[step+1]
		ofX0 := beta * float32(math.Sqrt(float64(before))) / (1 - after)
		ofX := (1 - before) * float32(math.Sqrt(float64(1-beta))) / (1 - after)
		x0 := s.guided(p, x, step, run.Guidance, run.Strength)
		for j := range x {
			x[j] = complex(float64(ofX0), 0)*x0[j] + complex(float64(ofX), 0)*x[j]
			if step > 0 {
				deviation := math.Sqrt(float64(beta * (1 - before) / (1 - after)))
				x[j] += complex(deviation*float64(run.Noise[(i+1)*n+j]), 0)
			}
		}
	}
	return x
}
