package local

import (
	"fmt"
	"strings"
	"testing"

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
