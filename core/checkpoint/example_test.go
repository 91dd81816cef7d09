package checkpoint_test

import (
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
)

// A checkpoint of one model continues in another one of the same shape.
func Example() {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	var probes [2]*cgo.Probe
	for i := range probes {
		if probes[i], err = cgo.NewProbe(engine, cgo.ProbeParams{In: 2, Classes: 3}); err != nil {
			log.Fatal(err)
		}
		defer probes[i].Close()
	}
	if err := probes[0].Write(1, cgo.Value, []float32{1, 2, 3}); err != nil { // the bias
		log.Fatal(err)
	}

	var file artifact.File // artifact.WriteSafetensors stores it
	if err := checkpoint.Put(&file, probes[0]); err != nil {
		log.Fatal(err)
	}
	if err := checkpoint.Take(&file, probes[1]); err != nil {
		log.Fatal(err)
	}
	bias := make([]float32, 3)
	if err := probes[1].Read(bias, 1, cgo.Value); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(file.Tensors), "tensors; the bias of the second probe is", bias)
	// Output: 6 tensors; the bias of the second probe is [1 2 3]
}
