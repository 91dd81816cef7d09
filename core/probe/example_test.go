package probe_test

import (
	"context"
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/probe"
)

// A linear probe names the item of each state. Measure trains probes on the states of a
// recommender.
func Example() {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	examples := func(n int) (e probe.Examples) {
		for i := range n {
			state := make([]float32, 4)
			state[i%4] = 1
			e.Inputs, e.Targets = append(e.Inputs, state...), append(e.Targets, int32(i%4))
		}
		return e
	}
	data := probe.Data{Train: examples(200), Validation: examples(40), Test: examples(40)}
	config := probe.Config{LearningRates: []float64{0.05}, Epochs: 10, BatchSize: 20, Seed: 1}
	result, err := probe.Train(context.Background(), engine, data, 4, config, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.0f %% of %d test items named\n", 100*result.Test.Value, result.Test.N)
	// Output: 100 % of 40 test items named
}
