package conformance

import (
	"math/rand/v2"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

// Scores, loss and gradient of a probe, linear and with a hidden layer, of inputs with a target
// each and with up to two.
func TestProbe(t *testing.T) {
	known := references{}
	onEveryBackend(t, func(t *testing.T, engine *cgo.Engine) {
		info, err := engine.Describe()
		if err != nil {
			t.Fatal(err)
		}
		for name, hidden := range map[string]int{"linear": 0, "mlp": 6} {
			t.Run(name, func(t *testing.T) {
				model, err := cgo.NewProbe(engine, cgo.ProbeParams{In: 5, Hidden: hidden, Classes: V})
				if err != nil {
					t.Fatal(err)
				}
				defer model.Close()
				random := rand.New(rand.NewPCG(9, 1))
				params := fill(t, &model.Model, random, func(string) bool { return false })
				targets := []int32{3, 0, 6, 3}
				inputs := normal(random, 5*len(targets), 0, 1)

				scores := make([]float32, V*len(targets))
				if err := model.Scores(scores, inputs, len(targets)); err != nil {
					t.Fatal(err)
				}
				isClose(t, "scores", scores, func() []complex128 { return complexstep.ProbeScores(params, inputs, 5) }, complexstep.Float32, testllm.BoundOn(info.Backend, 0, 5e-3))
				for each, targets := range map[string][]int32{"one target": targets, "two targets": {3, 5, 0, -1, 6, -1, 3, 1}} {
					t.Run(each, func(t *testing.T) {
						loss := func(p complexstep.Params) complex128 { return complexstep.ProbeLoss(p, inputs, 5, targets) }
						got, err := model.Backward(inputs, targets, 4)
						if err != nil {
							t.Fatal(err)
						}
						near(t, "the loss", got, func() complex128 { return loss(params) }, complexstep.Float32, testllm.BoundOn(info.Backend, 0, 1e-3))
						compareGradients(t, &model.Model, loss, params, gradientTolerance(info.Backend, 1e-2), known)
						clearGradients(t, &model.Model)
					})
				}
			})
		}
	})
}
