package align

import (
	"errors"
	"fmt"
	"math"
)

// Standard shifts and scales states so that each coordinate has mean 0 and variance 1 over the
// training states.
type Standard struct {
	Mean, Scale []float32 // [D]; a coordinate becomes (x - Mean)/Scale
}

// FitStandard measures states, some in each of the samples. A coordinate that never changes keeps
// the scale 1.
func FitStandard(samples [][]float32, width int) (Standard, error) {
	total := 0
	for _, states := range samples {
		if width < 1 || len(states)%width != 0 {
			return Standard{}, fmt.Errorf("align: %d numbers are not states of width %d", len(states), width)
		}
		total += len(states)
	}
	if total == 0 {
		return Standard{}, errors.New("align: there are no states to standardise")
	}
	n := float64(total / width)
	mean, square := make([]float64, width), make([]float64, width)
	for _, states := range samples {
		for i, x := range states {
			mean[i%width] += float64(x) / n
		}
	}
	for _, states := range samples {
		for i, x := range states {
			d := float64(x) - mean[i%width]
			square[i%width] += d * d / n
		}
	}
	s := Standard{Mean: make([]float32, width), Scale: make([]float32, width)}
	for i := range width {
		if math.IsNaN(square[i]) || math.IsInf(square[i], 0) {
			return Standard{}, fmt.Errorf("align: coordinate %d of the states holds NaN or infinity", i)
		}
		s.Mean[i], s.Scale[i] = float32(mean[i]), 1
		if deviation := math.Sqrt(square[i]); deviation > 1e-6*math.Max(1, math.Abs(mean[i])) {
			s.Scale[i] = float32(deviation)
		}
	}
	return s, nil
}

// Apply writes the standardised form of states, [n, D], to dst, which may be states itself.
func (s Standard) Apply(dst, states []float32) {
	width := len(s.Mean)
	for i, x := range states {
		dst[i] = (x - s.Mean[i%width]) / s.Scale[i%width]
	}
}

// Fold gives the adapter that does to plain states what a does to standardised ones: W·((x - m)/s)
// + b = (W/s)·x + (b - (W/s)·m), where a mixture takes as much of m as its numbers sum up to. Where
// questions have first layers of their own, each one's own bias is b.
func (s Standard) Fold(a *Adapter) *Adapter {
	folded := &Adapter{Shape: a.Shape, Values: make([][]float32, len(a.Values))}
	for i, values := range a.Values {
		folded.Values[i] = append([]float32(nil), values...)
	}
	layer, whole := folded.Values, 1.0
	if a.Mixed > 0 {
		whole = 0
		for _, m := range layer[0] {
			whole += float64(m)
		}
		layer = layer[1:]
	}
	if len(layer) < 2 { // it reads no state
		return folded
	}
	weight, bias := layer[0], layer[1]
	block := a.In
	if len(a.Questions) > 0 {
		block++
	}
	for at := 0; at < len(weight); at += block {
		constant := &bias[at*len(bias)/len(weight)]
		if len(a.Questions) > 0 {
			constant = &weight[at+a.In]
		}
		shift := float64(*constant)
		for col := range a.In {
			w := float64(weight[at+col]) / float64(s.Scale[col])
			shift -= whole * w * float64(s.Mean[col])
			weight[at+col] = float32(w)
		}
		*constant = float32(shift)
	}
	return folded
}
