package complexstep

import (
	"math"

	"gonum.org/v1/gonum/blas/cblas128"
)

// rounding, where it is set, perturbs the result of every operation of the formulas. It belongs to
// the package because the operations are plain functions: only one goroutine may use Rounded.
var rounding *roundOff

type roundOff struct {
	Arithmetic
	state uint64
}

// Arithmetic is the precision of an implementation, as unit round-offs: the largest relative error
// of one rounding.
type Arithmetic struct {
	Unit    float64 // of every operation
	Factors float64 // of both factors of every product of matrices, before they are multiplied
}

// Float32 rounds every result to 24 bits. BFloat16 also rounds the factors of products to 8 bits.
var (
	Float32  = Arithmetic{Unit: 0x1p-24}
	BFloat16 = Arithmetic{Unit: 0x1p-24, Factors: 0x1p-9}
)

// Rounded evaluates f in Monte Carlo arithmetic (Parker 1997): it multiplies the result of every
// operation in the formulas by 1 + ξ, with ξ uniform in ±unit. The differences between such
// evaluations and the exact one are the rounding errors of an implementation that works with this
// unit, whatever its order of summation, because they contain the number of terms of each sum, the
// cancellation between these terms, and the amplification by all later operations. The real and the
// imaginary part are perturbed independently, so that this also holds for derivatives. A seed gives
// the same errors in every run.
func Rounded(a Arithmetic, seed uint64, f func()) {
	rounding = &roundOff{a, seed}
	defer func() { rounding = nil }()
	f()
}

// uniform draws from ±1 (the generator is SplitMix64: Steele et al. 2014).
func (r *roundOff) uniform() float64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64(int64(z^z>>31)) * 0x1p-63
}

// perturbed is the result of one real operation.
func (r *roundOff) perturbed(x float64) float64 {
	return x * (1 + r.Unit*r.uniform())
}

// fl is the result of one operation. (The name is that of the textbooks on rounding errors.)
func fl(v complex128) complex128 {
	if rounding == nil {
		return v
	}
	return complex(rounding.perturbed(real(v)), rounding.perturbed(imag(v)))
}

// flReal is fl for a real number.
func flReal(x float64) float64 { return real(fl(complex(x, 0))) }

// add is fl(a + b).
func add(a, b complex128) complex128 { return fl(a + b) }

// mul is fl(a·b). The two terms of the derivative, a·b′ and a′·b, are two operations: they can
// cancel.
func mul(a, b complex128) complex128 {
	if rounding == nil {
		return a * b
	}
	r := rounding
	return complex(r.perturbed(real(a)*real(b)), r.perturbed(real(a)*imag(b))+r.perturbed(imag(a)*real(b)))
}

// scaled is fl(x·v) for a real number x.
func scaled(x float64, v complex128) complex128 { return fl(complex(x*real(v), x*imag(v))) }

// accumulated is a sum of products, taken one after the other, with the squares of all results that
// are rounded on the way. Its rounding error is the sum of one independent error for each, so that
// a single draw with the same variance can stand for them.
type accumulated struct{ sum, squares float64 }

func (s *accumulated) add(term float64) {
	s.sum += term
	s.squares += term*term + s.sum*s.sum
}

func (s *accumulated) rounded() float64 {
	return s.sum + rounding.Unit*rounding.uniform()*math.Sqrt(s.squares)
}

// dot is fl(Σ a[k]·b[k·stride]).
func dot(a, b []complex128, stride int) complex128 {
	var re, ofA, ofB accumulated // the value, and the derivatives by either factor
	for k, x := range a {
		y := b[k*stride]
		re.add(real(x) * real(y))
		ofA.add(imag(x) * real(y))
		ofB.add(real(x) * imag(y))
	}
	return complex(re.rounded(), ofA.rounded()+ofB.rounded())
}

// factor is a copy of a factor of a product, rounded as such.
func factor(m cblas128.General) cblas128.General {
	if rounding.Factors == 0 {
		return m
	}
	c := matrix(m.Rows, m.Cols)
	for r := range m.Rows {
		for i, v := range row(m, r) {
			row(c, r)[i] = v * complex(1+rounding.Factors*rounding.uniform(), 0)
		}
	}
	return c
}
