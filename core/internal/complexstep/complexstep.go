// Package complexstep is a second, independent implementation of the encoders, the adapters and the
// LLaMA: a direct transcription of their formulas into complex128, kept slow and plain so that it
// can be read beside the papers.
//
// Its purpose is derivatives to hold the native core against. For an analytic f and a real x,
//
//	f'(x) = imag(f(x + ih)) / h + O(h²),
//
// and nothing is subtracted, so h may be so small that the error vanishes (Squire and Trapp 1998,
// https://doi.org/10.1137/S003614459631241X). Where a formula compares (ReLU, the largest over
// time), the real part decides. Functions without a closed form in complex128 (erf) are exact to
// the first order, which is all a step sees.
package complexstep

// step is h: h² is far below the rounding of float64, h itself far above its smallest number.
const step = 1e-30

// Params are real or perturbed tensors by name, row-major.
type Params map[string][]complex128

// Derivative is ∂f/∂params[name][index] of a real parameter, exact to rounding. The parameter is
// restored.
func Derivative(f func(Params) complex128, params Params, name string, index int) float64 {
	p := &params[name][index]
	kept := *p
	*p = kept + complex(0, step)
	value := f(params)
	*p = kept
	return imag(value) / step
}

// CentralDifference is (f(x+h) − f(x−h)) / 2h for the same parameter: a check of this package
// itself.
func CentralDifference(f func(Params) complex128, params Params, name string, index int, h float64) float64 {
	p := &params[name][index]
	kept := *p
	*p = kept + complex(h, 0)
	above := f(params)
	*p = kept - complex(h, 0)
	below := f(params)
	*p = kept
	return real(above-below) / (2 * h)
}

// Lift turns stored numbers into real parameters.
func Lift(values []float32) []complex128 {
	lifted := make([]complex128, len(values))
	for i, v := range values {
		lifted[i] = complex(float64(v), 0)
	}
	return lifted
}
