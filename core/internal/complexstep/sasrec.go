package complexstep

import (
	"fmt"
	"maps"

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
		"item_embeddings.weight":       (s.Items + 1) * d,
		"positional_embeddings.weight": s.Positions * d,
		"ln_3.weight":                  d,
		"ln_3.bias":                    d,
	}
	for block := range s.Blocks {
		at := blockPrefix(block)
		for _, norm := range []string{"ln_1", "ln_2", "feed_forward.layer_norm"} {
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
	x = sum(x, rowsOf(p["positional_embeddings.weight"], s.Width))
	for block := range s.Blocks {
		at := blockPrefix(block)
		queries := norm(at+"ln_1", x)
		q := p.dense(at+"mh_attn.linear_q", queries)
		k, v := p.dense(at+"mh_attn.linear_k", x), p.dense(at+"mh_attn.linear_v", x)
		y := attention(q, k, v, s.Heads, true)
		y = norm(at+"ln_2", sum(y, queries))
		inner := p.dense(at+"feed_forward.w_2", each(p.dense(at+"feed_forward.w_1", y), relu))
		x = norm(at+"feed_forward.layer_norm", sum(inner, y))
	}
	return norm("ln_3", x)
}
