package explain_test

import (
	"context"
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/core/explain"
)

// follower recommends the item whose number follows the largest one of the history.
type follower struct{ items int }

func (f follower) Scores(_ context.Context, dst []float32, histories [][]int32) error {
	for i, history := range histories {
		scores := dst[i*f.items : (i+1)*f.items]
		clear(scores)
		largest := int32(-1)
		for _, item := range history {
			largest = max(largest, item)
		}
		scores[min(int(largest)+1, f.items-1)] = 1
	}
	return nil
}

// The recommendation of item 6 depends on item 5: without it, another one is recommended.
func Example() {
	found, err := explain.Find(context.Background(), follower{items: 10}, []int32{1, 5, 2}, explain.Options{Items: 10, Top: 1, Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found.Before[0].Item, "depends on the item at", found.Changes[0].At)
	// Output: 6 depends on the item at 1
}
