package evaluate

import (
	"slices"
	"testing"
)

func TestNamed(t *testing.T) {
	titles := []string{"Heat", "The Matrix", "Heat", "It"}
	for answer, want := range map[string][]bool{
		"it.\nHEAT":               {true, false, false, true},
		"Heat\n\nHeat\nHeat":      {true, false, true, false},
		"The Matrix and It\nItem": {false, false, false, false},
		"":                        {false, false, false, false},
	} {
		if got := Named(answer, titles); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", answer, got, want)
		}
	}
}
