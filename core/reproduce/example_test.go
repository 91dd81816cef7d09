package reproduce_test

import (
	"log"
	"os"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/reproduce"
)

// Run gives such a table after hours of training (recint reproduce). It can be written for people
// and for programs.
func Example() {
	table := reproduce.Table{LLM: "llm.gguf", Dataset: "ml", Budget: "8h0m0s", Rows: []reproduce.Row{
		{What: "residual accuracy, SASRec, exact", Ours: evaluate.NewShare(892, 1000), Differs: "a smaller LLM"},
	}}
	if err := table.WriteMarkdown(os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// | ml, llm.gguf, budget 8h0m0s, seed 1 | ours | 95 % interval | n | paper | what differs |
	// | --- | ---: | ---: | ---: | ---: | --- |
	// | residual accuracy, SASRec, exact | 89.20 % | 87.1–91.0 | 1000 | – | a smaller LLM |
}
