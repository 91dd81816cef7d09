package run

import (
	"reflect"
	"slices"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func TestExamples_byHand(t *testing.T) {
	lessons := func(task int, answers ...string) (all []lesson) {
		for _, answer := range answers {
			all = append(all, lesson{lines: []string{answer}, task: task})
		}
		return all
	}
	few := slices.Concat(lessons(0, "x", "x", "x"), lessons(1, "a", "b", "b"))
	times := map[string]int{}
	for _, example := range examples(few, 1) {
		if len(example) != 2 {
			t.Fatalf("an example of %q", example)
		}
		times[example[1]]++
	}
	if times["a"] < 2 || times["b"] < 2 || times["a"]+times["b"] != exemplified {
		t.Errorf("examples of two answers show them %v times", times)
	}
	many := lessons(0, "a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f", "f", "g")
	for _, example := range examples(many, 0) {
		if slices.Contains(example, "g") || example[0] == example[1] {
			t.Errorf("%q is shown, where six answers are more frequent and none need stand twice", example)
		}
	}
}

// Prompts show answers that the data set has: their own examples, if all of them are, or else
// others, which the run keeps.
func TestExemplify(t *testing.T) {
	w, s := together(t, "mlp")
	s.Also = append(s.Also, promptOf(t, "popularity"), promptOf(t, "item:genres"))
	engine := testllm.Engine(t)
	if _, err := Train(t.Context(), engine, w.run(), s, nil, nil); err != nil {
		t.Fatal(err)
	}
	trained, err := Read(w.run())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(trained.Template, s.Template) || !reflect.DeepEqual(trained.Also[1], s.Also[1]) {
		t.Error("examples that the data set allows were replaced")
	}
	for _, number := range []int{0, 2} {
		if found := trained.Also[number].Examples; len(found) != exemplified || slices.ContainsFunc(found, func(example []string) bool {
			return example[1] != "Drama" && example[1] != "Comedy\nWar"
		}) {
			t.Errorf("question %d has the examples %q", number, found)
		}
	}
	if again := s; again.Matches(w.run()) == nil {
		t.Error("the run is that of the spec without examples")
	}
	if _, err := Train(t.Context(), engine, w.run(), s, nil, nil); err != nil { // makes the same examples
		t.Error(err)
	}
	open, err := OpenAsking(engine, engine, w.run(), Asking{Task: "item:genres"}, interpret.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	bare, err := prompt.Compile(open.GGUF, s.Also[2], open.shown)
	if err != nil {
		t.Fatal(err)
	}
	if len(open.Prompts[0].Prefix()) <= len(bare[0].Prefix()) {
		t.Error("the opened run's prompt shows no examples")
	}
}
