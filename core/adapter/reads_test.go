package adapter

import (
	"context"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// lengthAndLast is a recommender of two positions whose state says how many items came before it
// and which was the last. With nan, item 7 has a state that is not a number.
type lengthAndLast struct{ nan bool }

func (lengthAndLast) StateWidth() int { return 2 }
func (lengthAndLast) ItemWidth() int  { return 3 }
func (lengthAndLast) Positions() int  { return 2 }

// Items gives item x the vector (3x, 0, 4x).
func (lengthAndLast) Items(_ context.Context, dst []float32, histories [][]int32) error {
	for i, h := range histories {
		last := float32(h[len(h)-1])
		copy(dst[3*i:], []float32{3 * last, 0, 4 * last})
	}
	return nil
}

func (r lengthAndLast) state(history []int32) []float32 {
	last := history[len(history)-1]
	if r.nan && last == 7 {
		return []float32{1, float32(math.NaN())}
	}
	return []float32{float32(len(history)), float32(last)}
}

func (r lengthAndLast) States(_ context.Context, dst []float32, histories [][]int32) error {
	for i, h := range histories {
		copy(dst[2*i:], r.state(h))
	}
	return nil
}

func (r lengthAndLast) AllStates(_ context.Context, dst []float32, histories [][]int32) error {
	for i, h := range histories {
		for position, n := 0, max(0, len(h)-2); n < len(h); position, n = position+1, n+1 {
			copy(dst[4*i+2*position:], r.state(h[:n+1]))
		}
	}
	return nil
}

func TestSamples_byHand(t *testing.T) {
	histories := [][]int32{{5, 6, 7}, {8, 9}}
	slots, answers := []string{"after", "before"}, [][]int32{{'a', 256}, {'b', 'c', 256}}
	for kind, want := range map[Reads][]prompt.States{
		OneState: {
			{Counts: []int{1, 1}, Values: []float32{3, 7, 2, 6}},
			{Counts: []int{1, 1}, Values: []float32{2, 9, 1, 8}},
		},
		EachState: {
			{Counts: []int{2, 2}, Values: []float32{2, 6, 3, 7, 1, 5, 2, 6}},
			{Counts: []int{2, 1}, Values: []float32{1, 8, 2, 9, 1, 8}},
		},
		StatesSideBySide: {
			{Counts: []int{1, 1}, Values: []float32{2, 6, 3, 7, 1, 5, 2, 6}},
			{Counts: []int{1, 1}, Values: []float32{1, 8, 2, 9, 1, 8, 0, 0}},
		},
		SumOfStates: {
			{Counts: []int{1, 1}, Values: []float32{5, 13, 3, 11}},
			{Counts: []int{1, 1}, Values: []float32{3, 17, 1, 8}},
		},
	} {
		samples, err := kind.Samples(t.Context(), lengthAndLast{}, slots, histories, answers)
		if err != nil {
			t.Fatal(err)
		}
		for i, tokens := range [][]int32{{'a', 256}, {'b', 'c', 256}} {
			of := prompt.Sample{States: want[i], Answer: tokens}
			if kind == SumOfStates {
				of.Items = histories[i]
			}
			if !reflect.DeepEqual(samples[i], of) {
				t.Errorf("%d, sample %d: %+v, want %+v", kind, i, samples[i], of)
			}
		}
	}
}

// Vectors of items are read at length 1: item x has (3x, 0, 4x).
func TestSamples_items(t *testing.T) {
	slots, histories, answers := []string{"item"}, [][]int32{{5, 6, 7}, {0}}, [][]int32{{1}, {2}}
	want := [][]float32{{0.6, 0, 0.8}, {0, 0, 0}}
	samples, err := OneState.Samples(t.Context(), lengthAndLast{}, slots, histories, answers)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if !slices.Equal(samples[i].Values, want[i]) || !slices.Equal(samples[i].Counts, []int{1}) {
			t.Errorf("sample %+v, want %v", samples[i], want[i])
		}
	}
	for slot, want := range map[string]int{"item": 3, "after": 2} {
		if got := InputWidth(lengthAndLast{}, []string{slot}); got != want {
			t.Errorf("{%s}: %d numbers, want %d", slot, got, want)
		}
	}
	for _, kind := range []Reads{StatesSideBySide, EachState, SumOfStates} {
		if _, err := kind.States(t.Context(), lengthAndLast{}, slots, histories); err == nil || !strings.Contains(err.Error(), "nothing to read") {
			t.Errorf("%d: %v", kind, err)
		}
	}
}

func TestStates_refusals(t *testing.T) {
	histories := [][]int32{{5, 6}, {7}}
	_, err := OneState.States(t.Context(), lengthAndLast{}, []string{"before"}, histories)
	if err == nil || !strings.Contains(err.Error(), "history 1 has 1 items; slot {before} needs one more") {
		t.Errorf("a history of one item: error %v", err)
	}
	for _, slot := range []string{"before", "after"} {
		_, err := OneState.States(t.Context(), lengthAndLast{}, []string{slot}, [][]int32{{5, 6}, {}})
		if err == nil || !strings.Contains(err.Error(), "history 1 has 0 items") {
			t.Errorf("{%s} of an empty history: error %v", slot, err)
		}
	}
	for _, kind := range []Reads{OneState, EachState, SumOfStates, StatesSideBySide} {
		_, err = kind.States(t.Context(), lengthAndLast{nan: true}, []string{"state"}, histories)
		if err == nil || !strings.Contains(err.Error(), "history 1: value 1") {
			t.Errorf("%d: NaN: error %v", kind, err)
		}
	}
	if _, err := OneState.Samples(t.Context(), lengthAndLast{}, []string{"state"}, histories, [][]int32{{1}}); err == nil {
		t.Error("two histories with one answer were accepted")
	}
}

// Given vectors are laid out as those of a history: padded where they stand side by side, summed up
// where the sum is read, and at length 1 where the prompt shows an item.
func TestGiven(t *testing.T) {
	pair, item := [][]float32{{2, 6}, {3, 7}}, [][]float32{{3, 0, 4}}
	for _, c := range []struct {
		kind    Reads
		slots   []string
		vectors [][]float32
		want    prompt.States
	}{
		{OneState, []string{"before", "after"}, pair, prompt.States{Counts: []int{1, 1}, Values: []float32{2, 6, 3, 7}}},
		{EachState, []string{"state"}, pair, prompt.States{Counts: []int{2}, Values: []float32{2, 6, 3, 7}}},
		{StatesSideBySide, []string{"state"}, pair[:1], prompt.States{Counts: []int{1}, Values: []float32{2, 6, 0, 0}}},
		{SumOfStates, []string{"state"}, pair, prompt.States{Counts: []int{1}, Values: []float32{5, 13}}},
		{OneState, []string{"item"}, item, prompt.States{Counts: []int{1}, Values: []float32{0.6, 0, 0.8}}},
	} {
		if got, err := c.kind.Given(lengthAndLast{}, c.slots, c.vectors); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d: %+v, want %+v; %v", c.kind, got, c.want, err)
		}
	}
	if item[0][0] != 3 {
		t.Errorf("the caller's vector has become %v", item[0])
	}
	for want, c := range map[string]struct {
		kind  Reads
		slots []string
		n     int
	}{
		"shows 2": {OneState, []string{"before", "after"}, 1}, "0 states are given; the prompt shows 1 to 2": {StatesSideBySide, []string{"state"}, 0},
		"3 states": {EachState, []string{"state"}, 3}, "2 slots; give a history": {EachState, []string{"before", "after"}, 2},
	} {
		_, err := c.kind.Given(lengthAndLast{}, c.slots, make([][]float32, c.n))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
