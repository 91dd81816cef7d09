package bench_test

import (
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/bench"
)

// Two results are compared figure by figure. Run measures, and Save and Read keep results as JSON.
func Example() {
	result := func(rates ...float64) *bench.Result {
		side := bench.Side{Program: bench.Program, Rate: bench.Spread{Median: rates[len(rates)/2], Min: rates[0],
			Max: rates[len(rates)-1], Values: rates}}
		return &bench.Result{Rounds: len(rates), Figures: []bench.Figure{
			{Bench: bench.Encoder, Name: "SASRec, one state", Unit: "states", Sides: []bench.Side{side}}}}
	}
	before, after := result(100, 101, 102, 103, 104, 105, 106), result(150, 151, 152, 153, 154, 155, 156)
	c, err := bench.Compare(before, after)
	if err != nil {
		log.Fatal(err)
	}
	for _, change := range c.Changes {
		fmt.Printf("%s: %s by a factor of %.2f\n", change.Figure.Name, change.Word, *change.Faster)
	}
	// Output: SASRec, one state: faster by a factor of 1.49
}
