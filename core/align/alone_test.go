package align

import (
	"slices"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Soft tokens that are the embeddings of a text's tokens, at any size, are nearest to this text,
// whatever the state. The second text is the beginning of the third: what fills it up tells them
// apart.
func TestNearest(t *testing.T) {
	engine, gguf := testllm.Engine(t), testllm.GGUF(t)
	info, err := gguf.Describe()
	if err != nil {
		t.Fatal(err)
	}
	texts := [][]int32{{5, 6, 7, 2}, {9, 2}, {9, 8, 2}}
	const k = 3
	for want, text := range texts {
		a := &Adapter{Shape: Shape{Kind: "linear", In: 4, Tokens: k, Embd: info.Embd},
			Values: [][]float32{make([]float32, k*info.Embd*4), make([]float32, k*info.Embd)}}
		if err := gguf.Embed(a.Values[1], prompt.FirstTokens(text, k)); err != nil {
			t.Fatal(err)
		}
		for i := range a.Values[1] {
			a.Values[1][i] *= 30
		}
		inputs := slices.Repeat([]float32{1, 2, 3, 4}, scoredAtOnce+1)
		nearest, err := a.Nearest(engine, gguf, inputs, texts)
		if err != nil || len(nearest) != scoredAtOnce+1 || nearest[0] != want || nearest[scoredAtOnce] != want {
			t.Errorf("text %d: %v, error %v", want, nearest, err)
		}
		if _, err := a.LookUp(engine, inputs); err == nil {
			t.Error("a linear adapter looks something up")
		}
	}
}

// The entries with the highest scores are found, best first, as many as are shown: here those of
// the biases.
func TestLookUp(t *testing.T) {
	for _, c := range []struct {
		shape Shape
		want  []int32
	}{
		{Shape{Kind: "memory", In: 4, Hidden: 3, Entries: 5, Tokens: 2, Embd: 8}, []int32{1}},
		{Shape{Kind: "retrieval", In: 4, Hidden: 3, Entries: 5, LookUps: 3, Tokens: 6, Embd: 8}, []int32{1, 4, 2}},
	} {
		a, err := NewAdapter(c.shape, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		copy(a.Values[3], []float32{0, 900, 300, 0, 600})
		best, err := a.LookUp(testllm.Engine(t), slices.Repeat([]float32{1, -1, 0, 2}, scoredAtOnce+1))
		if err != nil || len(best) != scoredAtOnce+1 || !slices.Equal(best[0], c.want) || !slices.Equal(best[scoredAtOnce], c.want) {
			t.Errorf("%s: %v, error %v", c.shape.Kind, best[:min(2, len(best))], err)
		}
	}
}
