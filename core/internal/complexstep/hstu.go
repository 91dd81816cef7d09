package complexstep

import (
	"fmt"
	"maps"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/cblas128"
)

// hstuEps is what the authors add to the variance in their normalisations.
const hstuEps = 1e-6

// HSTUShape sizes an HSTU (Zhai et al. 2024, arXiv 2402.17152).
type HSTUShape struct {
	Items     int // V; id V is padding
	Width     int // D
	Positions int // T
	Blocks    int
	Heads     int
	Times     bool // attention knows times as well as distances
}

// timeBuckets is how many biases of times a block has.
const timeBuckets = 129

func (s HSTUShape) layout() (items, width, positions int) { return s.Items, s.Width, s.Positions }

func (s HSTUShape) table() string { return "item_embedding.weight" }

func (s HSTUShape) head(p Params) (weight, bias []complex128) {
	return p[s.table()][:s.Items*s.Width], nil
}

// Tensors gives the element count of each parameter.
func (s HSTUShape) Tensors() map[string]int {
	d, norms := s.Width, []string{"last_norm"}
	sizes := map[string]int{s.table(): (s.Items + 1) * d, "position_embedding.weight": s.Positions * d}
	for block := range s.Blocks {
		at := fmt.Sprintf("blocks.%d.", block)
		sizes[at+"uvqk.weight"], sizes[at+"distance_bias"] = 4*d*d, s.Positions
		if s.Times {
			sizes[at+"time_bias"] = timeBuckets
		}
		maps.Copy(sizes, denseTensors(at+"output", d, d))
		norms = append(norms, at+"norm", at+"attended_norm")
	}
	for _, name := range norms {
		sizes[name+".weight"], sizes[name+".bias"] = d, d
	}
	return sizes
}

func (s HSTUShape) encode(p Params, x cblas128.General) cblas128.General {
	return s.encodeAt(p, x, nil)
}

func (s HSTUShape) encodeAt(p Params, x cblas128.General, times []int64) cblas128.General {
	norm := func(name string, x cblas128.General) cblas128.General {
		return layerNorm(x, p[name+".weight"], p[name+".bias"], hstuEps)
	}
	scaled := each(x, func(v complex128) complex128 { return mul(complex(math.Sqrt(float64(s.Width)), 0), v) })
	x = sum(scaled, rowsOf(p["position_embedding.weight"], s.Width))
	for block := range s.Blocks {
		at := fmt.Sprintf("blocks.%d.", block)
		all := each(linear(norm(at+"norm", x), p[at+"uvqk.weight"], nil), silu)
		part := func(i int) cblas128.General { return columns(all, i*s.Width, s.Width) }
		bias := func(n, t int) complex128 {
			b := p[at+"distance_bias"][n-t]
			if s.Times {
				apart := max(1, math.Abs(float64(times[n]-times[t])))
				b = add(b, p[at+"time_bias"][min(int(math.Log(apart)/0.301), timeBuckets-1)])
			}
			return b
		}
		gates, y := part(0), s.attend(part(2), part(3), part(1), bias)
		y = norm(at+"attended_norm", y)
		for t := range y.Rows {
			for i, gate := range row(gates, t) {
				row(y, t)[i] = mul(row(y, t)[i], gate)
			}
		}
		x = sum(p.dense(at+"output", y), x)
	}
	return norm("last_norm", x)
}

// attend weighs the values up to a row by silu(q·kᵀ + bias of both rows) / T.
func (s HSTUShape) attend(q, k, v cblas128.General, bias func(n, t int) complex128) cblas128.General {
	y, width := matrix(q.Rows, s.Width), s.Width/s.Heads
	for h := range s.Heads {
		of := func(m cblas128.General) cblas128.General { return columns(m, h*width, width) }
		weights := times(1, of(q), blas.Trans, of(k))
		for n := range weights.Rows {
			for t := range weights.Cols {
				weight := complex128(0)
				if t <= n {
					weight = silu(add(row(weights, n)[t], bias(n, t))) / complex(float64(s.Positions), 0)
				}
				row(weights, n)[t] = weight
			}
		}
		head := times(1, weights, blas.NoTrans, of(v))
		for t := range y.Rows {
			copy(row(y, t)[h*width:], row(head, t))
		}
	}
	return y
}
