package states_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/states"
	"github.com/recinterpreter/recinterpreter/core/states/statestest"
)

// A Parquet file of states that another program wrote is opened as a source of states.
func Example() {
	dir, err := os.MkdirTemp("", "states")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "states.parquet")
	rows := `SELECT * FROM (VALUES ('s1', 0, 'a', 'ann', [1, 0]::FLOAT[]), ('s1', 1, 'b', 'ann', [2, 5]::FLOAT[]))
		AS rows(sequence, position, item, "user", state)`
	if err := statestest.WriteParquet(path, rows); err != nil { // instead of the other program
		log.Fatal(err)
	}
	d := &dataset.Dataset{Name: "two films", Users: []string{"ann"},
		Items:  []dataset.Item{{ID: "a", Title: "Fargo"}, {ID: "b", Title: "Heat"}},
		Events: []dataset.Event{{User: 0, Item: 0, Time: 100}, {User: 0, Item: 1, Time: 200}}}

	f, err := states.Open(context.Background(), path, d)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	history, _ := f.Latest("ann")
	state := make([]float32, f.StateWidth())
	if err := f.States(context.Background(), state, [][]int32{history}); err != nil {
		log.Fatal(err)
	}
	for _, item := range f.ItemsOf(history) {
		fmt.Println(d.Items[item].Title)
	}
	fmt.Println("then the state is", state)
	// Output:
	// Fargo
	// Heat
	// then the state is [2 5]
}
