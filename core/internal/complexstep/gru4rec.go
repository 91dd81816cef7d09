package complexstep

import (
	"fmt"
	"maps"
	"math/cmplx"

	"gonum.org/v1/gonum/blas/cblas128"
)

// GRU4RecShape sizes a GRU4Rec (Hidasi et al. 2016, arXiv 1511.06939).
type GRU4RecShape struct {
	Items     int // V; id V is padding
	Width     int // D
	Positions int // T
	Hidden    int // units of each layer
	Layers    int // the tensors of layer i end in "_li"
}

func (s GRU4RecShape) layout() (items, width, positions int) { return s.Items, s.Width, s.Positions }

func (s GRU4RecShape) table() string { return "item_embeddings.weight" }

func (s GRU4RecShape) head(p Params) (weight, bias []complex128) {
	return p["s_fc.weight"], p["s_fc.bias"]
}

// Tensors gives the element count of each parameter.
func (s GRU4RecShape) Tensors() map[string]int {
	sizes := map[string]int{"item_embeddings.weight": (s.Items + 1) * s.Width}
	in := s.Width
	for layer := range s.Layers {
		at := fmt.Sprintf("_l%d", layer)
		sizes["gru.weight_ih"+at], sizes["gru.bias_ih"+at] = 3*s.Hidden*in, 3*s.Hidden
		sizes["gru.weight_hh"+at], sizes["gru.bias_hh"+at] = 3*s.Hidden*s.Hidden, 3*s.Hidden
		in = s.Hidden
	}
	maps.Copy(sizes, denseTensors("s_fc", s.Items, s.Hidden))
	return sizes
}

// encode runs the layers one after the other. With the gates stacked in the order reset, update,
// new (PyTorch's GRU):
//
//	r = σ(W_ir·x + b_ir + W_hr·h + b_hr), z = σ(W_iz·x + b_iz + W_hz·h + b_hz)
//	n = tanh(W_in·x + b_in + r ⊙ (W_hn·h + b_hn)), h′ = (1 − z) ⊙ n + z ⊙ h, h = 0 at first
func (s GRU4RecShape) encode(p Params, x cblas128.General) cblas128.General {
	for layer := range s.Layers {
		at := fmt.Sprintf("_l%d", layer)
		given := linear(x, p["gru.weight_ih"+at], p["gru.bias_ih"+at])
		states := matrix(x.Rows, s.Hidden)
		before := matrix(1, s.Hidden)
		for t := range x.Rows {
			of, back := row(given, t), linear(before, p["gru.weight_hh"+at], p["gru.bias_hh"+at]).Data
			for i := range s.Hidden {
				r := fl(sigmoid(add(of[i], back[i])))
				z := fl(sigmoid(add(of[s.Hidden+i], back[s.Hidden+i])))
				n := fl(cmplx.Tanh(add(of[2*s.Hidden+i], mul(r, back[2*s.Hidden+i]))))
				row(states, t)[i] = add(mul(add(1, -z), n), mul(z, before.Data[i]))
			}
			before.Data = row(states, t)
		}
		x = states
	}
	return x
}
