package interpret_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/grammar"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// An LLM answers about two states, restricted to the titles of a catalogue. The adapter here is
// untrained; align.LoadAdapter loads a trained one. Package run opens all parts of a run at once.
func Example() {
	dir, err := os.MkdirTemp("", "interpret")
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
	info, err := llm.Describe()
	if err != nil {
		log.Fatal(err)
	}
	adapter, err := align.NewAdapter(align.Shape{Kind: "linear", In: 3, Tokens: 2, Embd: info.Embd}, float64(info.EmbdRMS), 1)
	if err != nil {
		log.Fatal(err)
	}
	template := prompt.Template{Name: "mine", Asks: "last item", Texts: []string{"Which film is it? {state}"}}
	wordings, err := prompt.Compile(llm, template, prompt.Shown{Tokens: 2, PerState: 1})
	if err != nil {
		log.Fatal(err)
	}
	i, err := interpret.New(engine, llm, adapter, wordings[0], interpret.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer i.Close()

	states := []prompt.States{{Counts: []int{1}, Values: []float32{1, 0, 2}}, {Counts: []int{1}, Values: []float32{0, -1, 0}}}
	titles, err := grammar.Titles(llm, []string{"Fargo", "Heat", "Alien"}, 1)
	if err != nil {
		log.Fatal(err)
	}
	ranked, err := i.Rank(context.Background(), states, titles, 3)
	if err != nil {
		log.Fatal(err)
	}
	for s, answers := range ranked {
		fmt.Println("state", s, "has", len(answers), "titles, the likeliest first:", answers[0].LogProb >= answers[1].LogProb)
	}
	// Output:
	// state 0 has 3 titles, the likeliest first: true
	// state 1 has 3 titles, the likeliest first: true
}
