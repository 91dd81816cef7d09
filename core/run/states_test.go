package run

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
	"github.com/recinterpreter/recinterpreter/core/states"
)

// writeStates writes the states of the world's recommender.
func writeStates(t *testing.T, w world, name string) string {
	t.Helper()
	d, err := dataset.Load(w.spec().Dataset)
	if err != nil {
		t.Fatal(err)
	}
	split, err := d.Split(dataset.DefaultProtocol())
	if err != nil {
		t.Fatal(err)
	}
	r, err := recommender.Load(testllm.Engine(t), w.spec().Recommender)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(string(w), name)
	if _, err := states.Write(t.Context(), path, r, d, split, []string{"train", "validation", "test"}); err != nil {
		t.Fatal(err)
	}
	return path
}

// A recommender through a file of its states gives the same adapter and the same answers, bit for
// bit, as without the file.
func TestStatesFile(t *testing.T) {
	w := newWorld(t)
	s := w.spec()
	s.Drawn = 0
	trained := func(dir string, s Spec) (*artifact.File, []byte) {
		t.Helper()
		if _, err := Train(t.Context(), testllm.Engine(t), dir, s, nil, nil); err != nil {
			t.Fatal(err)
		}
		adapter, err := artifact.ReadSafetensors(filepath.Join(dir, align.AdapterFile))
		if err != nil {
			t.Fatal(err)
		}
		answers := filepath.Join(dir, "answers.jsonl")
		if _, err := openAt(t, dir).Evaluate(t.Context(), 12, evaluate.Options{Seed: 2, Controls: true, Path: answers}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(answers)
		if err != nil {
			t.Fatal(err)
		}
		_, lines, _ := bytes.Cut(text, []byte("\n")) // the first one names the adapter's hash
		return adapter, lines
	}
	want, wantAnswers := trained(w.run()+"-recommender", s)
	interpreted := func(r *Run) []prompt.Answer {
		t.Helper()
		var pasts [][]int32
		for _, s := range r.Split.Test {
			pasts = append(pasts, r.Source.Past(s, true))
		}
		said, err := r.Interpret(t.Context(), pasts)
		if err != nil || len(said) == 0 {
			t.Fatalf("%d answers, %v", len(said), err)
		}
		return said
	}
	wantSaid := interpreted(openAt(t, w.run()+"-recommender"))
	s.Recommender = ""
	for _, name := range []string{"states.parquet", "states.safetensors"} {
		s.States = writeStates(t, w, name)
		dir := w.run() + "-" + name
		got, answers := trained(dir, s)
		if len(got.Tensors) != len(want.Tensors) {
			t.Fatalf("%s: %d tensors, want %d", name, len(got.Tensors), len(want.Tensors))
		}
		for i, tensor := range want.Tensors {
			if artifact.Difference(tensor, got.Tensors[i]) != "" {
				t.Errorf("%s: tensor %s is another one", name, tensor.Name)
			}
		}
		if len(answers) == 0 || !bytes.Equal(answers, wantAnswers) {
			t.Errorf("%s: answers differ:\n%s\n%s", name, answers, wantAnswers)
		}

		// A user's latest history is that of the file; a history that is not in it has no state.
		r := openAt(t, dir)
		if said := interpreted(r); !reflect.DeepEqual(said, wantSaid) {
			t.Errorf("%s: states are put into other words, or with other probabilities", name)
		}
		past, err := r.Latest(r.Data.Users[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Interpret(t.Context(), [][]int32{{1, 2}}); err == nil || !strings.Contains(err.Error(), "own sequences") {
			t.Errorf("%s: a history that is not in the file: %v", name, err)
		}
		if _, err := r.Oracles(t.Context(), [][]int32{past}, 1); err == nil {
			t.Errorf("%s: an oracle was drawn without a recommender", name)
		}
	}

	// The adapter is bound to its file: another one is refused.
	if err := os.Remove(s.States); err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Load(s.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	saveRecommender(t, w.spec().Recommender, d, d.Hash(), 2)
	writeStates(t, w, "states.safetensors")
	if _, err := Open(testllm.Engine(t), w.run()+"-states.safetensors", interpret.Options{}); err == nil || !strings.Contains(err.Error(), "states.safetensors: this adapter was made from another file of states") {
		t.Errorf("states of another recommender: %v", err)
	}

	s.Drawn = 0.5
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "drawn") {
		t.Errorf("drawn items with a file of states: %v", err)
	}
}

// A recommender that reads times is used through the file of its states, which are those of the
// data set's sequences; alone it is refused.
func TestStatesOfTimes(t *testing.T) {
	w := newWorld(t)
	s := w.spec()
	s.Drawn = 0
	d, err := dataset.Load(s.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	split, err := d.Split(dataset.DefaultProtocol())
	if err != nil {
		t.Fatal(err)
	}
	c, err := recommender.Default(models.HSTU, len(d.Items))
	if err != nil {
		t.Fatal(err)
	}
	c.Width, c.Settings["times"] = 16, true
	r, err := recommender.New(testllm.Engine(t), c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Save(s.Recommender); err != nil {
		t.Fatal(err)
	}
	if _, err := Train(t.Context(), testllm.Engine(t), w.run(), s, nil, nil); !errors.Is(err, recommender.ErrNoTimes) {
		t.Errorf("the recommender alone: %v", err)
	}
	source := recommender.Of(r, d)
	s.States, s.Recommender = filepath.Join(string(w), "states.parquet"), ""
	if _, err := states.Write(t.Context(), s.States, source, d, split, []string{"train", "validation", "test"}); err != nil {
		t.Fatal(err)
	}
	file, err := states.Open(t.Context(), s.States, d)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	held, err := file.Split()
	if err != nil || len(held.Test) != len(split.Test) {
		t.Fatalf("%d sequences to test, want %d: %v", len(held.Test), len(split.Test), err)
	}
	got, want := make([]float32, r.StateWidth()), make([]float32, r.StateWidth())
	for i := range split.Test {
		for _, next := range []bool{false, true} {
			err := errors.Join(file.States(t.Context(), got, [][]int32{file.Past(held.Test[i], next)}),
				source.States(t.Context(), want, [][]int32{source.Past(split.Test[i], next)}))
			close := func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-5 }
			if err != nil || !slices.EqualFunc(got, want, close) {
				t.Fatalf("test sequence %d, next item %v: the file has another state: %v", i, next, err)
			}
		}
	}
	if _, err := Train(t.Context(), testllm.Engine(t), w.run(), s, nil, nil); err != nil {
		t.Fatal(err)
	}
	run := openAt(t, w.run())
	past, err := run.Latest(d.Users[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run.Interpret(t.Context(), [][]int32{past}); err != nil {
		t.Errorf("the latest items of a user: %v", err)
	}
}
