package complexstep

import (
	"maps"
	"math"
	"slices"
	"testing"
)

// smallDreamRec is of 4 steps and takes smallHistories.
func smallDreamRec(twoLayers bool) DreamRecShape {
	return DreamRecShape{
		Guidance:  SASRecShape{Items: 7, Width: 6, Positions: 4, Blocks: 2, Heads: 2, Inner: 6},
		TwoLayers: twoLayers,
		Betas:     []float64{0.05, 0.1, 0.3, 0.6},
	}
}

// noiseOf gives n standard normal numbers.
func noiseOf(n int) []float32 {
	noise := make([]float32, n)
	for i, v := range random(map[string]int{"x": n}, 1, 8)["x"] {
		noise[i] = float32(real(v))
	}
	return noise
}

func TestDreamRecDerivatives(t *testing.T) {
	for _, twoLayers := range []bool{false, true} {
		s := smallDreamRec(twoLayers)
		p := random(s.Tensors(), 0.5, 5)
		batch := DreamRecBatch{
			Histories: smallHistories(), Targets: []int32{5, 5, 1}, Steps: []int32{0, 3, 1}, Noise: noiseOf(3 * 6),
			Unconditional: []int32{0, 1, 0},
		}
		agree(t, func(p Params) complex128 { return s.Loss(p, batch) }, p, slices.Sorted(maps.Keys(p)))
	}
}

// Bayes: the next x is normal around √ᾱ′·x0 with variance 1 − ᾱ′, and x is normal around √α·(the
// next x) with variance β. Given both, its precision is the sum of the precisions, and its mean the
// mean weighted by them.
func TestPosterior(t *testing.T) {
	s := smallDreamRec(false)
	x, x0 := random(map[string]int{"x": 6}, 1, 6)["x"], random(map[string]int{"x": 6}, 1, 7)["x"]
	for step := int32(1); step < 4; step++ {
		left, leftNext, beta := s.signalsLeft()[step], s.signalsLeft()[step-1], s.Betas[step]
		precision := 1/(1-leftNext) + (1-beta)/beta
		if v := posteriorVariance(left, leftNext); math.Abs(v*precision-1) > 1e-14 {
			t.Errorf("step %d: variance %g, by Bayes %g", step, v, 1/precision)
		}
		want := make([]complex128, len(x))
		for i := range x {
			ofX0, ofX := math.Sqrt(leftNext)/(1-leftNext)/precision, math.Sqrt(1-beta)/beta/precision
			want[i] = complex(ofX0, 0)*x0[i] + complex(ofX, 0)*x[i]
		}
		if d := distance(posteriorMean(x, x0, left, leftNext), want); d > 1e-14 {
			t.Errorf("step %d: the mean differs from Bayes by %g", step, d)
		}
	}
	if d := distance(posteriorMean(x, x0, s.signalsLeft()[0], 1), x0); d > 1e-14 {
		t.Errorf("the last step ends %g beside x0", d)
	}
}

// With the true x0, DDIM keeps the noise and rescales it.
func TestDDIMStep(t *testing.T) {
	s := smallDreamRec(false)
	x0, noise := random(map[string]int{"x": 6}, 1, 6)["x"], noiseOf(6)
	next := ddimStep(s.noised(x0, 3, noise), x0, s.signalsLeft()[3], s.signalsLeft()[1])
	if d := distance(next, s.noised(x0, 1, noise)); d > 1e-14 {
		t.Errorf("DDIM differs from the noised x0 by %g", d)
	}
	if d := distance(ddimStep(next, x0, s.signalsLeft()[1], 1), x0); d > 1e-14 {
		t.Errorf("the last step ends %g beside x0", d)
	}
}

func TestSampling(t *testing.T) {
	for _, twoLayers := range []bool{false, true} {
		s := smallDreamRec(twoLayers)
		p := random(s.Tensors(), 0.5, 5)
		guidance, noise := LastStates(s, p, smallHistories()), noiseOf(2*3*6)
		start, at3 := Lift(noise[:18]), []int32{3, 3, 3}

		// One step gives x0: with w = 0 the conditional one, with w = −1 the unconditional one.
		run := DreamRecSampling{Guidance: guidance, Steps: []int32{3}, Noise: noise}
		for w, by := range map[float64][]complex128{0: guidance, -1: nil} {
			for _, deterministic := range []bool{false, true} {
				run.Strength, run.Deterministic = w, deterministic
				if d := distance(s.Sample(p, run), s.Denoise(p, start, at3, by)); d > 1e-13 {
					t.Errorf("w = %g, deterministic %t: one step ends %g beside x0", w, deterministic, d)
				}
			}
		}

		// Two steps of DDPM: the second starts from the mean and the second noise.
		run = DreamRecSampling{Guidance: guidance, Strength: 2, Steps: []int32{3, 2}, Noise: noise}
		mean := posteriorMean(start, s.guided(p, start, 3, guidance, 2), s.signalsLeft()[3], s.signalsLeft()[2])
		for i, z := range noise[18:] {
			mean[i] += complex(math.Sqrt(posteriorVariance(s.signalsLeft()[3], s.signalsLeft()[2]))*float64(z), 0)
		}
		if d := distance(s.Sample(p, run), s.guided(p, mean, 2, guidance, 2)); d > 1e-13 {
			t.Errorf("two steps of DDPM differ by %g", d)
		}
		run.Deterministic, run.Noise = true, noise[:18]
		next := ddimStep(start, s.guided(p, start, 3, guidance, 2), s.signalsLeft()[3], s.signalsLeft()[2])
		if d := distance(s.Sample(p, run), s.guided(p, next, 2, guidance, 2)); d > 1e-13 {
			t.Errorf("two steps of DDIM differ by %g", d)
		}
	}
}
