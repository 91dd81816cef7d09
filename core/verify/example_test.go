package verify_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
	"github.com/recinterpreter/recinterpreter/core/verify"
)

// A case is a file of weights and, next to it, a file of inputs and expected outputs. Another
// implementation writes both; here the core itself does, and one score is wrong.
func Example() {
	dir, err := os.MkdirTemp("", "verify")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	c, err := recommender.Default(models.SASRec, 3)
	if err != nil {
		log.Fatal(err)
	}
	c.Width, c.Positions = 2, 4
	r, err := recommender.New(engine, c)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(dir, "case.safetensors")
	if err := r.Save(path); err != nil {
		log.Fatal(err)
	}
	hidden, scores := make([]float32, 2), make([]float32, 3)
	history := [][]int32{{0, 2}}
	if err := r.States(context.Background(), hidden, history); err != nil {
		log.Fatal(err)
	}
	if err := r.Scores(context.Background(), scores, history); err != nil {
		log.Fatal(err)
	}
	scores[1]++
	err = artifact.WriteSafetensors(filepath.Join(dir, "case.expected.safetensors"), &artifact.File{Tensors: []artifact.Tensor{
		{Name: "seq", DType: "I32", Shape: []int{1, 4}, I32: []int32{0, 2, 3, 3}}, // 3 is padding
		{Name: "len", DType: "I32", Shape: []int{1}, I32: []int32{2}},
		{Name: "hidden", DType: "F32", Shape: []int{1, 2}, F32: hidden},
		{Name: "scores", DType: "F32", Shape: []int{1, 3}, F32: scores},
	}})
	if err != nil {
		log.Fatal(err)
	}

	figures, err := verify.Verify(context.Background(), engine, path, verify.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range figures {
		fmt.Printf("%s: %s below %g: %v\n", f.Name, f.Measure, f.Tolerance, f.OK)
	}
	// Output:
	// hidden: largest absolute difference below 2e-05: true
	// scores: largest absolute difference below 0.0002: false
}
