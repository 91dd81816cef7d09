package task

import (
	"fmt"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Quarters of the samples would end within a run of items that come next equally often; the parts
// do not.
func TestByPopularity_partsAreDisjoint(t *testing.T) {
	b := &Breakdown{answers: &evaluate.Answers{}, trained: []int{7, 1, 1, 1, 4, 4, 9, 12}}
	for item := range int32(8) {
		b.all = append(b.all, asked{item: item})
	}
	const want = "1 times: 0/3; 4 times: 0/2; 7 times: 0/1; 9 to 12 times: 0/2; "
	if got := shares(b.ByPopularity()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	b.all = b.all[4:6]
	if got := shares(b.ByPopularity()); got != "4 times: 0/2; " {
		t.Errorf("two questions: %s", got)
	}
}

func shares(groups []Group) string {
	var text strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&text, "%s: %d/%d; ", g.Name, g.Free.Hits, g.Free.N)
	}
	return text.String()
}
