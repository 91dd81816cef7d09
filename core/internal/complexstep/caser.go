package complexstep

import (
	"fmt"
	"maps"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/cblas128"
)

// CaserShape sizes a Caser without a user's own embedding (Tang and Wang 2018, arXiv 1809.07426).
type CaserShape struct {
	Items      int   // V; id V is padding
	Width      int   // D
	Positions  int   // T
	Heights    []int // of the horizontal filters
	Horizontal int   // filters of each height
	Vertical   int   // vertical filters
}

func (s CaserShape) layout() (items, width, positions int) { return s.Items, s.Width, s.Positions }

func (s CaserShape) table() string { return "item_embeddings.weight" }

func (s CaserShape) head(p Params) (weight, bias []complex128) {
	return p["s_fc.weight"], p["s_fc.bias"]
}

// Tensors gives the element count of each parameter.
func (s CaserShape) Tensors() map[string]int {
	sizes := map[string]int{"item_embeddings.weight": (s.Items + 1) * s.Width}
	for i, height := range s.Heights {
		maps.Copy(sizes, denseTensors(fmt.Sprintf("horizontal_cnn.%d", i), s.Horizontal, height*s.Width))
	}
	maps.Copy(sizes, denseTensors("vertical_cnn", s.Vertical, s.Positions))
	maps.Copy(sizes, denseTensors("s_fc", s.Items, len(s.Heights)*s.Horizontal+s.Vertical*s.Width))
	return sizes
}

// encode convolves anew for each item: the state after it is that of the history cut there, with
// zeros up to T.
func (s CaserShape) encode(p Params, x cblas128.General) cblas128.General {
	var states []complex128
	for t := range x.Rows {
		image := matrix(s.Positions, s.Width)
		copy(image.Data, x.Data[:(t+1)*s.Width])
		states = append(states, s.convolve(p, image)...)
	}
	return rowsOf(states, len(states)/x.Rows)
}

// convolve is the state of an image [T, D]: what the horizontal filters give, by height, then what
// the vertical ones give, filter by filter.
func (s CaserShape) convolve(p Params, image cblas128.General) []complex128 {
	var state []complex128
	for i, height := range s.Heights {
		windows := matrix(s.Positions-height+1, height*s.Width)
		for t := range windows.Rows {
			copy(row(windows, t), image.Data[t*s.Width:])
		}
		y := each(p.dense(fmt.Sprintf("horizontal_cnn.%d", i), windows), relu)
		for f := range s.Horizontal {
			overTime := make([]complex128, y.Rows)
			for t := range overTime {
				overTime[t] = row(y, t)[f]
			}
			state = append(state, largest(overTime))
		}
	}
	y := times(1, rowsOf(p["vertical_cnn.weight"], s.Positions), blas.NoTrans, image)
	for f := range y.Rows {
		for _, v := range row(y, f) {
			state = append(state, relu(add(v, p["vertical_cnn.bias"][f])))
		}
	}
	return state
}
