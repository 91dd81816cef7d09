package onnx_test

import (
	"context"
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/core/recommender/onnx"
)

// Imported models have the ending .onnx. recommender.Open opens them and files of weights alike.
func ExampleIs() {
	fmt.Println(onnx.Is("sasrec.onnx"), onnx.Is("sasrec.safetensors"))
	// Output: true false
}

// A model that another program exported is bound to a data set and encodes histories. This example
// needs the library of ONNX Runtime and the model, so that tests only compile it.
func ExampleImport() {
	options := onnx.Options{Dataset: "content hash of the data set", Items: 3416, Positions: 50}
	if err := onnx.Import("exported.onnx", "mine.onnx", options); err != nil {
		log.Fatal(err)
	}
	encoder, err := onnx.Open("mine.onnx", 0)
	if err != nil {
		log.Fatal(err)
	}
	defer encoder.Close()
	state := make([]float32, encoder.StateWidth())
	if err := encoder.States(context.Background(), state, [][]int32{{1, 50, 181}}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(state)
}
