package evaluate_test

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// The exact scorer ignores case, spaces and a full stop. The paper's scorer finds the title
// anywhere, in its own spelling.
func Example() {
	for _, answer := range []string{"  fargo.", "The film is Fargo", "Heat"} {
		fmt.Printf("%-18q exact %-5v paper %v\n", answer, evaluate.Exact(answer, "Fargo"), evaluate.Paper(answer, "Fargo"))
	}
	share := evaluate.NewShare(892, 1000)
	fmt.Printf("%.1f %% (%.1f to %.1f)\n", 100*share.Value, 100*share.Low, 100*share.High)
	// Output:
	// "  fargo."         exact true  paper false
	// "The film is Fargo" exact false paper true
	// "Heat"             exact false paper false
	// 89.2 % (87.1 to 91.0)
}
