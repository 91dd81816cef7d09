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
func TestAlone_nearest(t *testing.T) {
	gguf := testllm.GGUF(t)
	info, err := gguf.Describe()
	if err != nil {
		t.Fatal(err)
	}
	texts := [][]int32{{5, 6, 7, 2}, {9, 2}, {9, 8, 2}}
	const k = 3
	for want, text := range texts {
		a := &Adapter{Shape: Shape{Kind: "mlp", In: 4, Hidden: 2, Tokens: k, Embd: info.Embd},
			Values: [][]float32{make([]float32, 8), make([]float32, 2), make([]float32, k*info.Embd*2), make([]float32, k*info.Embd)}}
		if err := gguf.Embed(a.Values[3], prompt.FirstTokens(text, k)); err != nil {
			t.Fatal(err)
		}
		for i := range a.Values[3] {
			a.Values[3][i] *= 30
		}
		finds(t, a, texts, []int32{int32(want)})
	}
	a := &Adapter{Shape: Shape{Kind: "mlp", In: 4, Hidden: 2, Tokens: k, Embd: info.Embd}}
	if _, err := NewAlone(testllm.Engine(t), gguf, a, nil); err == nil {
		t.Error("soft tokens are compared with no texts")
	}
}

// The entries with the highest scores are found, best first, as many as are shown: here those of
// the biases.
func TestAlone_entries(t *testing.T) {
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
		finds(t, a, nil, c.want)
	}
}

// finds checks what an adapter finds alone, for more inputs than are scored at a time.
func finds(t *testing.T, a *Adapter, texts [][]int32, want []int32) {
	t.Helper()
	alone, err := NewAlone(testllm.Engine(t), testllm.GGUF(t), a, texts)
	if err != nil {
		t.Fatal(err)
	}
	found, err := alone.Find(slices.Repeat([]float32{1, 2, 3, 4}, scoredAtOnce+1))
	if err != nil || len(found) != scoredAtOnce+1 || !slices.Equal(found[0], want) || !slices.Equal(found[scoredAtOnce], want) {
		t.Errorf("%s: %d found, the first %v; want %v, error %v", a.Kind, len(found), found[:min(1, len(found))], want, err)
	}
	if err := alone.Close(); err != nil {
		t.Error(err)
	}
}
