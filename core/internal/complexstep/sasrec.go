package complexstep

import (
	"fmt"
	"maps"
	"math"

	"gonum.org/v1/gonum/blas/cblas128"
)

// layerNormEps is PyTorch's default, with which the authors' weights were trained.
const layerNormEps = 1e-5

// SASRecShape sizes a SASRec (Kang and McAuley 2018, arXiv 1808.09781).
type SASRecShape struct {
	Items     int // V; id V is padding
	Width     int // D
	Positions int // T
	Blocks    int // 1 in the authors' weights; a further block i has the same tensors under "blocks.i."
	Heads     int
	Inner     int // units of the feed-forward layers, D in the authors' weights

	NormFirst bool // pre-norm: a block adds to its input what it makes of it, normalised (Xiong et al. 2020)
	Rotary    bool // RoPE (Su et al. 2021, arXiv 2104.09864) in place of embeddings of positions
}

func (s SASRecShape) layout() (items, width, positions int) { return s.Items, s.Width, s.Positions }

func (s SASRecShape) table() string { return "item_embeddings.weight" }

func (s SASRecShape) head(p Params) (weight, bias []complex128) {
	return p["s_fc.weight"], p["s_fc.bias"]
}

// Tensors gives the element count of each parameter.
func (s SASRecShape) Tensors() map[string]int {
	sizes := s.encoderTensors()
	maps.Copy(sizes, denseTensors("s_fc", s.Items, s.Width))
	return sizes
}

// encoderTensors are those without the output layer.
func (s SASRecShape) encoderTensors() map[string]int {
	d := s.Width
	sizes := map[string]int{
		"item_embeddings.weight": (s.Items + 1) * d,
		"ln_3.weight":            d,
		"ln_3.bias":              d,
	}
	if !s.Rotary {
		sizes["positional_embeddings.weight"] = s.Positions * d
	}
	for block := range s.Blocks {
		at := blockPrefix(block)
		for _, norm := range []string{"ln_1", "ln_2", "feed_forward.layer_norm"} {
			if s.NormFirst && norm == "feed_forward.layer_norm" {
				continue
			}
			sizes[at+norm+".weight"], sizes[at+norm+".bias"] = d, d
		}
		for _, dense := range []string{"mh_attn.linear_q", "mh_attn.linear_k", "mh_attn.linear_v"} {
			maps.Copy(sizes, denseTensors(at+dense, d, d))
		}
		maps.Copy(sizes, denseTensors(at+"feed_forward.w_1", s.Inner, d))
		maps.Copy(sizes, denseTensors(at+"feed_forward.w_2", d, s.Inner))
	}
	return sizes
}

// blockPrefix starts the names of a block's tensors.
func blockPrefix(block int) string {
	if block == 0 {
		return ""
	}
	return fmt.Sprintf("blocks.%d.", block)
}

// encode looks at no padding: attention is causal, and padding stands behind the history.
func (s SASRecShape) encode(p Params, x cblas128.General) cblas128.General {
	norm := func(name string, x cblas128.General) cblas128.General {
		return layerNorm(x, p[name+".weight"], p[name+".bias"], layerNormEps)
	}
	if !s.Rotary {
		x = sum(x, rowsOf(p["positional_embeddings.weight"], s.Width))
	}
	for block := range s.Blocks {
		at := blockPrefix(block)
		attend := func(queries, x cblas128.General) cblas128.General {
			q, k := p.dense(at+"mh_attn.linear_q", queries), p.dense(at+"mh_attn.linear_k", x)
			if s.Rotary {
				q, k = rotated(q, s.Heads), rotated(k, s.Heads)
			}
			return attention(q, k, p.dense(at+"mh_attn.linear_v", x), s.Heads, true)
		}
		forward := func(x cblas128.General) cblas128.General {
			return p.dense(at+"feed_forward.w_2", each(p.dense(at+"feed_forward.w_1", x), relu))
		}
		y := norm(at+"ln_1", x)
		if s.NormFirst {
			x = sum(attend(y, y), x)
			x = sum(forward(norm(at+"ln_2", x)), x)
			continue
		}
		y = norm(at+"ln_2", sum(attend(y, x), y))
		x = norm(at+"feed_forward.layer_norm", sum(forward(y), y))
	}
	return norm("ln_3", x)
}

// rotated turns the pair of numbers i and i + n/2 of each head of n by the angle t·10000^(−2i/n) in
// row t, as the product with e^(angle·√−1) does.
func rotated(x cblas128.General, heads int) cblas128.General {
	y, half := matrix(x.Rows, x.Cols), x.Cols/heads/2
	for t := range x.Rows {
		for h := range heads {
			from, to := row(x, t)[2*h*half:], row(y, t)[2*h*half:]
			for i := range half {
				sin, cos := math.Sincos(float64(t) * math.Pow(10000, -float64(i)/float64(half)))
				a, b := from[i], from[half+i]
				to[i] = add(scaled(flReal(cos), a), -scaled(flReal(sin), b))
				to[half+i] = add(scaled(flReal(sin), a), scaled(flReal(cos), b))
			}
		}
	}
	return y
}
