package run

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func TestExamplesOf_byHand(t *testing.T) {
	lessons := func(task int, answers ...string) (all []lesson) {
		for _, answer := range answers {
			all = append(all, lesson{lines: []string{answer}, task: task})
		}
		return all
	}
	few := slices.Concat(lessons(0, "x", "x", "x"), lessons(1, "a", "b", "b"))
	times := map[string]int{}
	for _, example := range examplesOf(few, 1) {
		if len(example) != 2 {
			t.Fatalf("an example of %q", example)
		}
		times[example[1]]++
	}
	if times["a"] < 2 || times["b"] < 2 || times["a"]+times["b"] != examplesMade {
		t.Errorf("examples of two answers show them %v times", times)
	}
	many := lessons(0, "a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f", "f", "g")
	for _, example := range examplesOf(many, 0) {
		if slices.Contains(example, "g") || example[0] == example[1] {
			t.Errorf("%q is shown, where six answers are more frequent and none need stand twice", example)
		}
	}
}

// Prompts show answers that the data set has: their own examples, if all of them are, or else
// others, which the run keeps.
func TestMakeExamples(t *testing.T) {
	w, s := together(t, "mlp")
	s.Also = append(s.Also, promptOf(t, "popularity"), promptOf(t, "item:genres"), promptOf(t, "profile"))
	engine := testllm.Engine(t)
	train := func() {
		t.Helper()
		if _, err := Train(t.Context(), engine, w.run(), s, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	train()
	trained, err := Read(w.run())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(trained.Templates(), s.Templates()) || len(trained.Made) != 2 { // of popularity the built-in ones fit
		t.Errorf("examples are made for %v", slices.Collect(maps.Keys(trained.Made)))
	}
	for _, asked := range []prompt.Asked{"genres", "item:genres"} {
		if found := trained.Made[asked]; len(found) != examplesMade || slices.ContainsFunc(found, func(example []string) bool {
			return example[1] != "Drama" && example[1] != "Comedy\nWar"
		}) {
			t.Errorf("%s has the examples %q", asked, found)
		}
	}
	if err := s.Matches(w.run()); err != nil {
		t.Error(err)
	}
	train() // makes the same ones
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

// Each question is answered through its own first layer, whatever else the adapter has learned.
func TestOpenAsking_ownLayer(t *testing.T) {
	w, s := together(t, "mlp")
	engine := testllm.Engine(t)
	if _, err := Train(t.Context(), engine, w.run(), s, nil, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.run(), align.AdapterFile)
	a, provenance, err := align.LoadAdapter(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range a.Values[0] { // of the first question
		if at%(2*(a.In+1)) < a.In {
			a.Values[0][at] = math.MaxFloat32
		}
	}
	if err := a.Save(path, provenance); err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{"residual": "cannot compute", "genres": ""} {
		r, err := OpenAsking(engine, engine, w.run(), Asking{Task: name}, interpret.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		states, err := r.States(t.Context(), r.Recommender, [][]int32{{1, 2, 3}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Interpreter.Answer(t.Context(), states)
		if got := fmt.Sprint(err); (says == "") != (err == nil) || !strings.Contains(got, says) && says != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	trained, err := Read(w.run())
	if err != nil {
		t.Fatal(err)
	}
	trained.Also[0] = promptOf(t, "popularity")
	text, err := json.Marshal(trained)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.run(), SpecFile), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAsking(engine, engine, w.run(), Asking{Task: "popularity"}, interpret.Options{}); err == nil ||
		!strings.Contains(err.Error(), `was not trained on the question for the popularity`) {
		t.Errorf("error %v for a question that run.json has and the adapter has not", err)
	}
}
