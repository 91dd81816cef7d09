package local_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/judge/local"
)

// An LLM in a file compares two items for each history, in both orders.
func Example() {
	dir, err := os.MkdirTemp("", "local")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "llm.gguf")
	if err := os.WriteFile(path, gguftest.LLM(1), 0o644); err != nil { // a tiny random LLM
		log.Fatal(err)
	}
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	llm, err := cgo.OpenGGUF(path)
	if err != nil {
		log.Fatal(err)
	}
	defer llm.Close()
	j, err := local.New(engine, llm, "tiny")
	if err != nil {
		log.Fatal(err)
	}
	defer j.Close()

	cases := []judge.Case{
		{ID: "1", History: []string{"Alien", "Aliens"}, Oracle: "Alien 3", Item: "Fargo"},
		{ID: "2", History: []string{"Heat", "Casino"}, Oracle: "Goodfellas", Item: "Bambi"},
	}
	result, err := judge.Compare(context.Background(), cases, j, judge.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Judge, "gave", result.Preferred.N, "verdicts, unclear:", result.Unclear)
	// Output: tiny gave 4 verdicts, unclear: 0
}
