package models

import (
	"math"
	"slices"
	"testing"
)

// What is left of the signal follows the formula of each schedule.
func TestSchedules(t *testing.T) {
	left := func(schedule string, steps int) []float64 {
		d := &Diffusion{Steps: steps, Schedule: schedule}
		product, all := 1.0, []float64(nil)
		for _, beta := range d.Betas() {
			if !(beta > 0 && beta < 1) {
				t.Errorf("%s: beta %g", schedule, beta)
			}
			product *= 1 - beta
			all = append(all, product)
		}
		return all
	}
	near := func(what string, got, want float64) {
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %g, want %g", what, got, want)
		}
	}
	cosine := func(at float64) float64 { return math.Pow(math.Cos((at+0.008)/1.008*math.Pi/2), 2) }
	near("cosine, half way", left(Cosine, 100)[49], cosine(0.5)/cosine(0))
	near("sqrt, half way", left(SquareRoot, 100)[49], (1-math.Sqrt(0.5001))/(1-math.Sqrt(1e-4)))
	near("linear, first", left(Linear, 100)[0], 1-1e-4)
	near("linear, two steps", left(Linear, 2)[1], (1-1e-4)*(1-0.02))
	// The exponents add up to T·0.1/T + 4.95·Σx/T², and Σx = T(T+1).
	near("exp, all", left(Exponential, 50)[49], math.Exp(-0.1-4.95*51.0/50))
	for _, schedule := range []string{Linear, Cosine, SquareRoot, Exponential} {
		if all := left(schedule, 2000); all[1999] > 0.01 {
			t.Errorf("%s leaves %g of the signal", schedule, all[1999])
		}
	}
	if got := (&Diffusion{Steps: 10, DDIMSteps: 4}).SamplingSteps(); !slices.Equal(got, []int32{9, 6, 3, 0}) {
		t.Errorf("steps of DDIM: %v", got)
	}
	if got := (&Diffusion{Steps: 3}).SamplingSteps(); !slices.Equal(got, []int32{2, 1, 0}) {
		t.Errorf("steps of DDPM: %v", got)
	}
}
