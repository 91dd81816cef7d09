package models_test

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// Each recommender lists its own settings with their defaults, and the layouts of weights that it
// reads.
func Example() {
	entry, _ := models.Find("gru4rec")
	for _, s := range entry.Settings {
		fmt.Printf("%s: %v by default\n", s.Name, s.Default)
	}
	fmt.Println(entry.Name, "reads the layouts", entry.LayoutNames())
	// Output:
	// hidden: 64 by default
	// layers: 1 by default
	// biases: false by default
	// GRU4Rec reads the layouts [authors recbole]
}
