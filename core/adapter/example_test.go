package adapter_test

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/core/adapter"
)

// The entry of a kind says what its adapters read for each slot of a prompt. Older names of kinds
// remain valid.
func Example() {
	for _, name := range []string{"linear", "positions", "softmax"} {
		kind := adapter.Parse(name)
		if !kind.Known() {
			fmt.Printf("there is no kind %q\n", name)
			continue
		}
		fmt.Printf("%s: reads one state: %v, reads the states after all items: %v\n", kind, adapter.ReadsOne(kind.Entry()),
			kind.Entry().Reads.EveryItem())
	}
	// Output:
	// linear: reads one state: true, reads the states after all items: false
	// positions: reads one state: false, reads the states after all items: true
	// there is no kind "softmax"
}
