package complexstep

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// random fills parameters of the given sizes around 0. The order of names is fixed, so that a seed
// means the same numbers in every run.
func random(sizes map[string]int, spread float64, seed uint64) Params {
	rng := rand.New(rand.NewPCG(seed, 0))
	p := Params{}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		p[name] = make([]complex128, sizes[name])
		for i := range p[name] {
			p[name][i] = complex(spread*rng.NormFloat64(), 0)
		}
	}
	return p
}

// agree holds complex-step derivatives of a seeded sample of each tensor against central
// differences. With h = 1e-5 the latter carry about h² = 1e-10 of truncation and 1e-16/h = 1e-11 of
// rounding; 2e-7 of the tensor's largest derivative leaves room for large third derivatives and
// still fails on any wrong formula.
func agree(t *testing.T, f func(Params) complex128, p Params, names []string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 0))
	for _, name := range names {
		var worst, most float64
		for range 12 {
			i := rng.IntN(len(p[name]))
			exact, estimate := Derivative(f, p, name, i), CentralDifference(f, p, name, i, 1e-5)
			worst, most = max(worst, math.Abs(exact-estimate)), max(most, math.Abs(exact))
		}
		if !(worst <= 2e-7*most+1e-9) {
			t.Errorf("%s: complex step and central difference differ by %g of at most %g", name, worst, most)
		}
	}
}

func TestDerivativeOfKnownFunctions(t *testing.T) {
	// From the formulas: either GELU and SiLU have slope 1/2 at 0, x·Φ(x) has Φ(x) + x·φ(x); ReLU
	// has 1 above 0, 0 below.
	cases := []struct {
		name string
		f    func(complex128) complex128
		x    float64
		want float64
	}{
		{"gelu", gelu, 0, 0.5}, {"silu", silu, 0, 0.5}, {"relu above", relu, 2, 1}, {"relu below", relu, -2, 0},
		{"sigmoid", sigmoid, 0, 0.25}, {"log sigmoid", logSigmoid, 0, 0.5},
		{"erf", erf, 0, 2 / math.Sqrt(math.Pi)}, {"erf", erf, 1, 2 / math.Sqrt(math.Pi) / math.E},
		{"exact gelu", geluErf, 0, 0.5},
		{"exact gelu", geluErf, 1, (1+math.Erf(math.Sqrt(0.5)))/2 + math.Exp(-0.5)/math.Sqrt(2*math.Pi)},
	}
	for _, c := range cases {
		p := Params{"x": {complex(c.x, 0)}}
		got := Derivative(func(p Params) complex128 { return c.f(p["x"][0]) }, p, "x", 0)
		if math.Abs(got-c.want) > 1e-15 {
			t.Errorf("%s'(%g) = %g, want %g", c.name, c.x, got, c.want)
		}
		if p["x"][0] != complex(c.x, 0) {
			t.Errorf("%s: the parameter was not restored", c.name)
		}
	}
}

func TestLlamaDerivatives(t *testing.T) {
	for _, tied := range []bool{true, false} {
		for _, hidden := range []int{0, 6} {
			s := LlamaShape{
				Layers: 2, Embd: 12, Heads: 3, HeadsKV: 1, HeadDim: 4, Vocab: 11, RopeBase: 100, RMSEps: 1e-5,
			}
			a := AdapterShape{In: 5, Hidden: hidden, Tokens: 2}
			sizes := map[string]int{
				"token_embd.weight": 11 * 12, "output_norm.weight": 12, "rope_freqs.weight": 2,
			}
			for _, at := range []string{"blk.0.", "blk.1."} {
				sizes[at+"attn_norm.weight"], sizes[at+"ffn_norm.weight"] = 12, 12
				sizes[at+"attn_q.weight"], sizes[at+"attn_output.weight"] = 144, 144
				sizes[at+"attn_k.weight"], sizes[at+"attn_v.weight"] = 48, 48
				sizes[at+"ffn_gate.weight"], sizes[at+"ffn_up.weight"], sizes[at+"ffn_down.weight"] = 240, 240, 240
			}
			if !tied {
				sizes["output.weight"] = 11 * 12
			}
			if hidden == 0 {
				sizes["weight"], sizes["bias"] = 24*5, 24
			} else {
				sizes["w1"], sizes["b1"], sizes["w2"], sizes["b2"] = hidden*5, hidden, 24*hidden, 24
			}
			p := random(sizes, 0.4, 9)
			p["rope_freqs.weight"] = []complex128{1.5, 0.7}
			batch := LlamaBatch{
				Prefix: []int32{3, 1}, Samples: 2, Positions: 6, States: []int32{2, 2}, Weight: 0.25,
				Tokens:      []int32{-1, -2, 4, -3, -4, 7, 5, -3, -1, -4, -2, 0},
				Targets:     []int32{-1, -1, -1, -1, 7, 9, -1, -1, -1, -1, 2, -1},
				StateValues: random(map[string]int{"x": 20}, 1, 3)["x"],
			}
			agree(t, func(p Params) complex128 { return LlamaLoss(p, s, a, batch) }, p, slices.Sorted(maps.Keys(p)))
		}
	}
}
