package interpret

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// draw draws a token, and gives its log-probability at temperature 1, among all tokens.
func (s Sampling) draw(logits []float32, random *rand.Rand) (int32, float64) {
	most := slices.Max(logits)
	type choice struct {
		token  int32
		weight float64
	}
	choices, sum, all := make([]choice, len(logits)), 0.0, 0.0
	for i, x := range logits {
		below := float64(x - most)
		choices[i] = choice{int32(i), math.Exp(below / s.Temperature)}
		sum += choices[i].weight
		all += math.Exp(below)
	}
	if s.TopP > 0 && s.TopP < 1 {
		slices.SortStableFunc(choices, func(a, b choice) int { return cmp.Compare(b.weight, a.weight) })
		kept := 0.0
		for i, c := range choices {
			if kept += c.weight; kept >= s.TopP*sum {
				choices, sum = choices[:i+1], kept
				break
			}
		}
	}
	left := random.Float64() * sum
	chosen := choices[len(choices)-1] // if rounding leaves something over
	for _, c := range choices {
		if left -= c.weight; left < 0 {
			chosen = c
			break
		}
	}
	return chosen.token, float64(logits[chosen.token]-most) - math.Log(all)
}
