package cgo_test

import (
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// An engine owns a backend and its threads. Models are made on it, and results go to slices of the
// caller. Package core has a simpler interface to all of this.
func Example() {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	adapter, err := cgo.NewAdapter(engine, cgo.AdapterParams{Kind: "linear", In: 2, Tokens: 1, Embd: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer adapter.Close()
	tensors, err := adapter.Tensors()
	if err != nil {
		log.Fatal(err)
	}
	for i, values := range [][]float32{{1, 0, 0, 1, 1, 1}, {0, 0, 10}} {
		fmt.Println(tensors[i].Name, tensors[i].Shape)
		if err := adapter.Write(i, cgo.Value, values); err != nil {
			log.Fatal(err)
		}
	}
	soft := make([]float32, 3)
	if err := adapter.SoftTokens(soft, []float32{2, 5}, 1); err != nil {
		log.Fatal(err)
	}
	fmt.Println(soft)
	// Output:
	// weight [3 2]
	// bias [3]
	// [2 5 17]
}
