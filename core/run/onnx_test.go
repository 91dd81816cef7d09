package run

import (
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx/onnxtest"
)

// An ONNX encoder does what a recommender does, but for what needs weights: training with drawn
// items, histories that are in no file, evaluation beside controls.
func TestONNX(t *testing.T) {
	onnxtest.Library(t)
	w := newWorld(t)
	s := w.spec()
	d, err := dataset.Load(s.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	s.Recommender = onnxtest.Write(t, onnxtest.Random(len(d.Items), 16), d, 10)
	if s.Drawn == 0 {
		t.Fatal("no items are drawn")
	}
	if _, err := Train(t.Context(), testllm.Engine(t), w.run(), s, nil, nil); err != nil {
		t.Fatal(err)
	}
	r := openAt(t, w.run())
	if said, err := r.Interpret(t.Context(), [][]int32{{1, 2}, {29, 3, 7}}); err != nil || len(said) != 2 {
		t.Errorf("%v, %v", said, err)
	}
	if _, err := r.Evaluate(t.Context(), 6, evaluate.Options{Seed: 1}); err != nil {
		t.Error(err)
	}
	controls := r.Controls()
	if !slices.Contains(controls, Swapped) || !slices.Contains(controls, Permuted) || slices.Contains(controls, UntrainedProbe) {
		t.Errorf("controls %q", controls)
	}
	if answers, err := r.EvaluateControl(t.Context(), Swapped, 6, evaluate.Options{Seed: 1}); err != nil || len(answers.Shown) != 6 {
		t.Errorf("%+v, %v", answers, err)
	}
	if all, err := r.Abstentions(t.Context(), 6, 1); err != nil || len(all) != 3 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := r.Oracles(t.Context(), [][]int32{{1, 2}}, 1); err == nil || !strings.Contains(err.Error(), "train a run with weights") {
		t.Errorf("oracles: %v", err)
	}
}
