package run_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// A trained run is opened and puts the states after two histories into words. Package service does
// so for many callers at once.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder, err := testrun.Residual(dir) // instead of a run of yours
	if err != nil {
		log.Fatal(err)
	}
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	r, err := run.Open(engine, folder, interpret.Options{MaxTokens: 8})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	answers, err := r.Interpret(context.Background(), [][]int32{{0, 7, 14}, {3, 10}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(answers), "answers about the", r.Spec.Template.Asks, "of histories of", r.Data.Name)
	// Output: 2 answers about the last item of histories of walks
}
