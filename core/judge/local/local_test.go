package local

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/gguf"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/judge"
)

func TestJudge(t *testing.T) {
	j, err := New(testllm.Engine(t), testllm.GGUF(t), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var cases []judge.Case
	for i := range 4 {
		cases = append(cases, judge.Case{ID: fmt.Sprint(i), History: []string{"Heat"}, Oracle: "Kolya", Item: "Fargo"})
	}
	r, err := judge.Compare(t.Context(), cases, j, judge.Options{Parallel: 3})
	if err != nil {
		t.Fatal(err)
	}
	if r.Judge != "tiny" || r.Unclear != 0 || r.Preferred.N != 8 || r.Tokens < 8*20 {
		t.Errorf("%+v", r)
	}
	if _, err := j.Ask(t.Context(), strings.Repeat("long ", 5000)); err == nil || !strings.Contains(err.Error(), "tokens") {
		t.Errorf("a long question: %v", err)
	}
}

// A judge needs an LLM that llama.cpp runs, not one through which adapters can be trained.
func TestJudge_withoutDescription(t *testing.T) {
	shape := gguftest.Shape
	shape.More = []gguf.Key{{Name: "final_logit_softcapping", Value: float32(30)}} // of another architecture
	file, err := shape.Random(gguf.F32, 1, gguftest.Tokenizer())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "capped.gguf")
	if err := file.Save(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	llm, err := cgo.OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	defer llm.Close()
	if err := llm.CheckTraining(); !errors.Is(err, cgo.ErrUnsupported) {
		t.Errorf("for training: %v", err)
	}
	j, err := New(testllm.Engine(t), llm, "capped")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if reply, err := j.Ask(t.Context(), "1 or 2?"); err != nil || reply.Text != "1" && reply.Text != "2" {
		t.Errorf("%+v, %v", reply, err)
	}
}
