package complexstep

import (
	"fmt"
	"maps"

	"gonum.org/v1/gonum/blas/cblas128"
)

// transformerEps is what RecBole adds to the variance in its normalisations.
const transformerEps = 1e-12

// BERT4RecShape sizes a BERT4Rec (Sun et al. 2019, arXiv 1904.06690) with the tensors of RecBole.
type BERT4RecShape struct {
	Items     int // V; id V is padding and V + 1 the mask
	Width     int // D
	Positions int // T; the mask after a history has a position of its own
	Blocks    int
	Heads     int
	Inner     int // units of the feed-forward layers
}

func (s BERT4RecShape) layout() (items, width, positions int) { return s.Items, s.Width, s.Positions }

func (s BERT4RecShape) table() string { return "item_embedding.weight" }

func (s BERT4RecShape) head(p Params) (weight, bias []complex128) {
	return p[s.table()][:s.Items*s.Width], p["output_bias"]
}

// Tensors gives the element count of each parameter.
func (s BERT4RecShape) Tensors() map[string]int {
	d := s.Width
	sizes := map[string]int{
		s.table():                   (s.Items + 2) * d,
		"position_embedding.weight": (s.Positions + 1) * d,
		"output_bias":               s.Items,
	}
	norms := []string{"LayerNorm", "output_ln"}
	maps.Copy(sizes, denseTensors("output_ffn", d, d))
	for block := range s.Blocks {
		attention, forward := transformerBlock(block)
		for _, name := range []string{"query", "key", "value", "dense"} {
			maps.Copy(sizes, denseTensors(attention+name, d, d))
		}
		maps.Copy(sizes, denseTensors(forward+"dense_1", s.Inner, d))
		maps.Copy(sizes, denseTensors(forward+"dense_2", d, s.Inner))
		norms = append(norms, attention+"LayerNorm", forward+"LayerNorm")
	}
	for _, name := range norms {
		sizes[name+".weight"], sizes[name+".bias"] = d, d
	}
	return sizes
}

// transformerBlock starts the names of a block's tensors.
func transformerBlock(block int) (attention, forward string) {
	at := fmt.Sprintf("trm_encoder.layer.%d.", block)
	return at + "multi_head_attention.", at + "feed_forward."
}

// encode reads the state after an item at a mask that follows it, in a history that ends there.
func (s BERT4RecShape) encode(p Params, x cblas128.General) cblas128.General {
	states := matrix(x.Rows, s.Width)
	for t := range x.Rows {
		cut := rowsOf(x.Data[:(t+1)*s.Width], s.Width)
		copy(row(states, t), row(s.encodeHidden(p, cut, make([]bool, t+1)), t))
	}
	return states
}

func (s BERT4RecShape) encodeHidden(p Params, x cblas128.General, hidden []bool) cblas128.General {
	d := s.Width
	norm := func(name string, x cblas128.General) cblas128.General {
		return layerNorm(x, p[name+".weight"], p[name+".bias"], transformerEps)
	}
	slots := matrix(x.Rows+1, d)
	for t := range slots.Rows {
		if t == x.Rows || hidden[t] {
			copy(row(slots, t), p[s.table()][(s.Items+1)*d:])
		} else {
			copy(row(slots, t), row(x, t))
		}
	}
	y := norm("LayerNorm", sum(slots, rowsOf(p["position_embedding.weight"], d)))
	for block := range s.Blocks {
		at, forward := transformerBlock(block)
		attended := attention(p.dense(at+"query", y), p.dense(at+"key", y), p.dense(at+"value", y), s.Heads, false)
		y = norm(at+"LayerNorm", sum(p.dense(at+"dense", attended), y))
		y = norm(forward+"LayerNorm", sum(p.dense(forward+"dense_2", each(p.dense(forward+"dense_1", y), geluErf)), y))
	}
	y = norm("output_ln", each(p.dense("output_ffn", y), geluErf))
	return rowsOf(y.Data[d:], d)
}
