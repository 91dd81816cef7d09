package task_test

import (
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// A task makes a question of a sequence, with its true answer.
func Example() {
	d := &dataset.Dataset{
		SplitBy: dataset.Given,
		Items:   []dataset.Item{{ID: "1", Title: "Jaws"}, {ID: "2", Title: "Fargo"}, {ID: "3", Title: "Heat"}},
		Parts:   dataset.Split{Train: []dataset.Sequence{{History: []int32{0, 1}, Next: 2}}},
	}
	facts := task.NewFacts(d, d.Parts)
	for _, name := range []string{"residual", "recovery", "popularity"} {
		t, err := task.Named(name)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %q\n", name, t.Question(facts, d.Parts.Train[0], 10).Answer)
	}
	// Output:
	// residual: ["Heat"]
	// recovery: ["Jaws" "Fargo"]
	// popularity: ["most popular quarter"]
}
