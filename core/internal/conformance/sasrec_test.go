package conformance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
)

// float32 carries 24 bits, 6e-8; an element of a gradient here passes through some twenty sums of up to 16 terms, which
// makes a few ten roundings in the worst direction (7e-7 was seen on a CPU). 1e-6 of the tensor's largest derivative
// covers that and no wrong term.
const sasrecTolerance = 1e-6

func isNorm(name string) bool {
	inside := strings.HasPrefix(name, "ln_") || strings.Contains(name, "layer_norm")
	return inside && strings.HasSuffix(name, ".weight")
}

func TestSASRec(t *testing.T) {
	const pad = 7
	items := []int32{0, 5, 2, 6, 3, 3, pad, pad, 1, pad, pad, pad}
	lengths := []int32{4, 2, 1}
	batches := map[string][]int32{
		"all targets":  {5, 2, 6, 1, 3, 4, -1, -1, 0, -1, -1, -1},
		"last targets": {-1, -1, -1, 1, -1, 4, -1, -1, 0, -1, -1, -1},
	}
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		for _, s := range []complexstep.SASRecShape{
			{Items: 7, Width: 8, Positions: 4, Heads: 1},
			{Items: 7, Width: 16, Positions: 4, Heads: 2},
		} {
			for name, targets := range batches {
				t.Run(fmt.Sprintf("width %d, %d heads, %s", s.Width, s.Heads, name), func(t *testing.T) {
					model, err := cgo.NewSASRec(engine, cgo.SASRecParams{
						Items: s.Items, Width: s.Width, Positions: s.Positions, Blocks: 1, Heads: s.Heads, Inner: s.Width,
					})
					if err != nil {
						t.Fatal(err)
					}
					defer model.Close()
					params := fill(t, model, rand.New(rand.NewPCG(uint64(s.Width), 1)), isNorm)
					histories := cgo.Histories{Items: items, Lengths: lengths}

					scores := make([]float32, len(lengths)*s.Items)
					if err := model.Scores(scores, histories); err != nil {
						t.Fatal(err)
					}
					for b, length := range lengths {
						want := complexstep.SASRecScores(params, s, items[b*s.Positions:][:s.Positions], int(length))
						for i, v := range want {
							// Scores are of order 1.
							if got := float64(scores[b*s.Items+i]); !(math.Abs(got-real(v)) <= 1e-5) {
								t.Errorf("score of item %d, history %d: %g, the formula gives %g", i, b, got, real(v))
							}
						}
					}

					loss, err := model.RecommenderBackward(cgo.RecommenderBatch{Histories: histories, Targets: targets})
					if err != nil {
						t.Fatal(err)
					}
					batch := complexstep.SASRecBatch{Items: items, Lengths: lengths, Targets: targets}
					formula := func(p complexstep.Params) complex128 {
						return complexstep.SASRecLoss(p, s, batch)
					}
					near(t, "the loss", loss, real(formula(params)), 1e-6)
					compareGradients(t, model, formula, params, tolerance{relative: sasrecTolerance})
				})
			}
		}
	})
}
