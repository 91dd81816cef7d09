package probe

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

// Each of three numbers says by its sign whether a line is part of the answer.
func TestAnswers_combineLines(t *testing.T) {
	names := []string{"Drama", "Comedy", "War"}
	draw := func(n int, seed uint64) (told Told) {
		random := rand.New(rand.NewPCG(seed, 0))
		for len(told.Answers) < n {
			var lines []string
			input := make([]float32, len(names))
			for i, name := range names {
				input[i] = float32(random.NormFloat64())
				if input[i] > 0 {
					lines = append(lines, name)
				}
			}
			if len(lines) > 0 {
				told.Inputs, told.Answers = append(told.Inputs, input...), append(told.Answers, lines)
			}
		}
		return told
	}
	a, err := NewAnswers(t.Context(), testllm.Engine(t), draw(4000, 1), draw(500, 2), Linear(1))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	test, right := draw(200, 3), 0
	answers, err := a.Answer(t.Context(), test.Inputs)
	if err != nil {
		t.Fatal(err)
	}
	for i, answer := range answers {
		if reflect.DeepEqual(slices.Sorted(slices.Values(answer)), slices.Sorted(slices.Values(test.Answers[i]))) {
			right++
		}
	}
	if right < 170 {
		t.Errorf("%d of 200 answers are right, want 170", right)
	}
	many := draw(MaxClasses+1, 4)
	for i := range many.Answers {
		many.Answers[i] = []string{fmt.Sprint(i)}
	}
	if _, err := NewAnswers(t.Context(), testllm.Engine(t), many, draw(10, 2), Linear(1)); err == nil || !strings.Contains(err.Error(), "distinct answers") {
		t.Errorf("as many answers as examples: error %v", err)
	}
}

// Where every answer has one line, a probe gives one, however little its inputs say.
func TestAnswers_oneLine(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 0))
	draw := func(n int) (told Told) {
		for range n {
			told.Inputs = append(told.Inputs, float32(random.NormFloat64()))
			told.Answers = append(told.Answers, []string{[]string{"a", "b", "c"}[random.IntN(3)]})
		}
		return told
	}
	a, err := NewAnswers(t.Context(), testllm.Engine(t), draw(600), draw(60), Linear(1))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	answers, err := a.Answer(t.Context(), draw(50).Inputs)
	if err != nil || slices.ContainsFunc(answers, func(answer []string) bool { return len(answer) != 1 }) {
		t.Errorf("%v: %q", err, answers)
	}
}

func TestAbove(t *testing.T) {
	lines := map[string]float64{"a": 0.3, "b": 0.6, "c": 0.3, "d": 0.1}
	for threshold, want := range map[float64][]string{0.2: {"b", "a", "c"}, 0.6: {"b"}, 0.9: {"b"}} {
		if got := above(lines, threshold); !slices.Equal(got, want) {
			t.Errorf("%g: %v, want %v", threshold, got, want)
		}
	}
}
