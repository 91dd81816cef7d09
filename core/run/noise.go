package run

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/recinterpreter/recinterpreter/core/adapter"
)

// minCosine bounds how far vectors are turned away from items' own while an adapter learns to read
// them. Oracles on MovieLens-100K have a cosine of 0.56 with the nearest item at the median and
// 0.50 at the fifth percentile.
const minCosine = 0.5

// noisy is an encoder that gives items' vectors with noise, as lessons for an adapter that is to
// read what lies among items: each is turned in a random direction until its cosine with the item's
// own is a random number from minCosine to 1.
type noisy struct {
	adapter.Encoder
	random *rand.Rand
}

// Items is Encoder.Items, with noise.
func (n noisy) Items(ctx context.Context, dst []float32, histories [][]int32) error {
	if err := n.Encoder.Items(ctx, dst, histories); err != nil {
		return err
	}
	width := n.ItemWidth()
	for i := range histories {
		n.turn(dst[i*width : (i+1)*width])
	}
	return nil
}

// turn adds a random vector at right angles.
func (n noisy) turn(v []float32) {
	aside, own, along, across := make([]float64, len(v)), 0.0, 0.0, 0.0
	for i, x := range v {
		aside[i] = n.random.NormFloat64()
		own += float64(x) * float64(x)
		along += float64(x) * aside[i]
	}
	if own == 0 {
		return
	}
	for i, x := range v {
		aside[i] -= along / own * float64(x)
		across += aside[i] * aside[i]
	}
	if across == 0 { // of one number
		return
	}
	cosine := minCosine + (1-minCosine)*n.random.Float64()
	scale := math.Sqrt((1/(cosine*cosine) - 1) * own / across)
	for i := range v {
		v[i] += float32(scale * aside[i])
	}
}
