package align

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// lengthAndLast is a recommender whose state says how long a history is and what stands last in it.
func lengthAndLast(histories [][]int32) ([]float32, error) {
	var states []float32
	for _, h := range histories {
		states = append(states, float32(len(h)), float32(h[len(h)-1]))
	}
	return states, nil
}

// bytesVocabulary has a token for each byte, and 256 for the end.
type bytesVocabulary struct{ prompt.Vocabulary }

func (bytesVocabulary) Describe() (cgo.GGUFInfo, error) {
	var info cgo.GGUFInfo
	info.EOT = 256
	return info, nil
}

func (bytesVocabulary) Tokenize(text string, _ bool) ([]int32, error) {
	var tokens []int32
	for _, b := range []byte(text) {
		tokens = append(tokens, int32(b))
	}
	return tokens, nil
}

func TestSamples_byHand(t *testing.T) {
	histories := [][]int32{{5, 6, 7}, {8, 9}}
	samples, err := Samples(bytesVocabulary{}, []string{"after", "before"}, histories, []string{"a", "bc"}, lengthAndLast)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []prompt.Sample{
		{States: []float32{3, 7, 2, 6}, Answer: []int32{'a', 256}},
		{States: []float32{2, 9, 1, 8}, Answer: []int32{'b', 'c', 256}},
	} {
		if !slices.Equal(samples[i].States, want.States) || !slices.Equal(samples[i].Answer, want.Answer) {
			t.Errorf("sample %d: %+v, want %+v", i, samples[i], want)
		}
	}
	pairs, err := Pairs(bytesVocabulary{}, histories, []string{"a", "bc"}, lengthAndLast)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(pairs[1].State, []float32{2, 9}) || !slices.Equal(pairs[1].Title, []int32{'b', 'c', 256}) {
		t.Errorf("pair 1: %+v", pairs[1])
	}
}

func TestStates_refusals(t *testing.T) {
	one := [][]int32{{5, 6}, {7}}
	if _, err := States([]string{"before"}, one, lengthAndLast); err == nil || !strings.Contains(err.Error(), "history 1") {
		t.Errorf("a history of one item: error %v", err)
	}
	broken := func(h [][]int32) ([]float32, error) { return []float32{1, 2, float32(math.NaN()), 4}, nil }
	if _, err := States([]string{"state"}, one, broken); err == nil || !strings.Contains(err.Error(), "history 1: value 0") {
		t.Errorf("NaN: error %v", err)
	}
	if _, err := Samples(bytesVocabulary{}, []string{"state"}, one, []string{"a"}, lengthAndLast); err == nil {
		t.Error("two histories with one answer were accepted")
	}
}
