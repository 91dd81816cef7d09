package align_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// An adapter learns to make a frozen LLM answer "yes" to one state and "no" to another. Package run
// builds such a job from a data set, a recommender and a template.
func Example() {
	dir, err := os.MkdirTemp("", "align")
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
	file, err := cgo.OpenGGUF(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	llm, err := cgo.NewLLM(engine, file, cgo.F32)
	if err != nil {
		log.Fatal(err)
	}
	defer llm.Close()
	info, err := file.Describe()
	if err != nil {
		log.Fatal(err)
	}

	template := prompt.Template{Name: "mine", Asks: "last item", Texts: []string{"Is it so? {state}"}}
	prompts, err := prompt.Compile(file, template, prompt.Shown{Tokens: 2, PerState: 1})
	if err != nil {
		log.Fatal(err)
	}
	var samples []prompt.Sample
	for i, answer := range []string{"yes", "no"} {
		tokens, err := prompt.Tokens(file, answer)
		if err != nil {
			log.Fatal(err)
		}
		state := []float32{float32(i), float32(1 - i), 1}
		samples = append(samples, prompt.Sample{States: prompt.States{Counts: []int{1}, Values: state}, Answer: tokens})
	}
	first, last := 0.0, 0.0
	result, err := align.Train(context.Background(), align.Job{
		Engine: engine, GGUF: file, LLM: llm, Prompts: [][]*prompt.Prompt{prompts}, Train: samples,
		Shape:      align.Shape{Kind: "linear", In: 3, Tokens: 2, Embd: info.Embd},
		Provenance: align.Provenance{Recommender: "a hash", LLM: "a hash", Dataset: "a hash", Template: template},
		Config: align.Config{Seed: 1, Samples: 60, BatchSize: 2, PassPositions: 256, LearningRate: 0.05, Schedule: align.Constant,
			CheckpointEvery: 10},
		Dir: filepath.Join(dir, "run"),
		Progress: func(e align.Event) {
			if first == 0 {
				first = e.Loss
			}
			last = e.Loss
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the loss has fallen:", last < first/2)
	fmt.Println(result.Adapter.Kind, "adapter with tensors of", len(result.Adapter.Values[0]), "and", len(result.Adapter.Values[1]), "numbers")
	// Output:
	// the loss has fallen: true
	// linear adapter with tensors of 384 and 128 numbers
}
