package align

import (
	"context"
	"reflect"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/adapter"
)

// counting is a recommender whose state is the number of items, and whose item x has the vector (x,
// 0).
type counting struct{ adapter.Encoder }

func (counting) StateWidth() int { return 1 }
func (counting) ItemWidth() int  { return 2 }

func (counting) States(_ context.Context, dst []float32, histories [][]int32) error {
	for i, h := range histories {
		dst[i] = float32(len(h))
	}
	return nil
}

func (counting) Items(_ context.Context, dst []float32, histories [][]int32) error {
	for i, h := range histories {
		dst[2*i] = float32(h[len(h)-1])
	}
	return nil
}

// A pair is the state after a history, or its last item's vector at length 1, with the last item
// and its title.
func TestPairs(t *testing.T) {
	histories, titles := [][]int32{{5, 6, 7}, {8, 9}}, [][]int32{{'a', 256}, {'b', 'c', 256}}
	for slot, want := range map[string][]float32{"before": {2}, "item": {1, 0}} {
		pairs, err := Pairs(t.Context(), counting{}, []string{slot}, histories, titles)
		if err != nil {
			t.Fatal(err)
		}
		if last := (Pair{State: want, Items: []int32{9}, Titles: [][]int32{titles[1]}}); !reflect.DeepEqual(pairs[1], last) {
			t.Errorf("{%s}: %+v, want %+v", slot, pairs[1], last)
		}
	}
}
