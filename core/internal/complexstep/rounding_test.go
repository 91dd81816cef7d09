package complexstep

import (
	"math"
	"testing"
)

// Of n ones, added one after the other, partial sum k is rounded by at most k·unit, evenly: the
// variance of the sum is Σ k²·unit²/3, about n³·unit²/9. Sums through dot, which draws once for all
// of them, have the same with the n roundings of the products, which are small beside it.
func TestRounded_sumByHand(t *testing.T) {
	const n, evaluations = 300, 2000
	ones := make([]complex128, n)
	for i := range ones {
		ones[i] = 1
	}
	for what, sum := range map[string]func() complex128{
		"additions": func() (total complex128) {
			for _, v := range ones {
				total = add(total, v)
			}
			return total
		},
		"a product": func() complex128 { return linear(rowsOf(ones, n), ones, nil).Data[0] },
	} {
		squares := 0.0
		for seed := range uint64(evaluations) {
			Rounded(Float32, seed, func() {
				e := real(sum()) - n
				squares += e * e
			})
		}
		got, want := math.Sqrt(squares/evaluations), Float32.Unit*math.Sqrt(n*n*n/9.)
		if !(math.Abs(got-want) <= 0.1*want) {
			t.Errorf("%s: deviation %g, want about %g", what, got, want)
		}
		if real(sum()) != n {
			t.Errorf("%s: outside Rounded the sum is %v", what, sum())
		}
	}
}

// A derivative that is the difference of two large terms has their rounding errors, not its own
// small one.
func TestRounded_cancellation(t *testing.T) {
	f := func(p Params) complex128 { // 1000x − 999x
		return add(mul(1000, p["x"][0]), -mul(999, p["x"][0]))
	}
	params, worst := Params{"x": {1}}, 0.0
	for seed := range uint64(100) {
		Rounded(Float32, seed, func() { worst = max(worst, math.Abs(Derivative(f, params, "x", 0)-1)) })
	}
	if most := 2001 * Float32.Unit; worst > most || worst < most/4 {
		t.Errorf("largest error %g, want up to %g", worst, most)
	}
	rounded := complex128(0)
	Rounded(BFloat16, 1, func() { rounded = linear(rowsOf([]complex128{3}, 1), []complex128{5}, nil).Data[0] })
	if e := math.Abs(real(rounded) - 15); e > 15*2.01*BFloat16.Factors || e < 15*BFloat16.Factors/100 {
		t.Errorf("a product of factors in BF16 is off by %g", e)
	}
}
