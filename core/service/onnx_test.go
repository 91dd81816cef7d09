package service

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx/onnxtest"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// A run of an ONNX encoder is served like others: states, recommendations and words of any history.
// What needs weights is refused.
func TestONNX(t *testing.T) {
	onnxtest.Library(t)
	spec, err := run.Read(residual)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Load(spec.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	for _, scores := range []bool{false, true} {
		model := onnxtest.Random(len(d.Items), 16)
		model.Scores = scores
		spec.Recommender = onnxtest.Write(t, model, d, 10)
		dir := filepath.Join(t.TempDir(), "run")
		if _, err := run.Train(t.Context(), testllm.Engine(t), dir, spec, nil, nil); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, Options{})
		if info := s.Info(); info.Recommender != "model.onnx" || info.StateWidth != 16 || info.ItemWidth != 0 || info.Positions != 10 {
			t.Errorf("%+v", info)
		}
		state, want, history := make([]float32, 16), make([]float32, 16), []int32{4, 2}
		for k := range want {
			want[k] = model.Table[5][k] + model.Table[3][k]
		}
		if err := s.State(state, history); err != nil || slices.ContainsFunc(state, func(x float32) bool { return math.IsNaN(float64(x)) }) {
			t.Error(err)
		}
		for k := range want {
			if math.Abs(float64(state[k]-want[k])) > 1e-5 {
				t.Errorf("state %v, want %v", state, want)
				break
			}
		}
		best, err := s.Recommend(t.Context(), nil, history, 3)
		if scores && (err != nil || len(best) != 3) || !scores && (err == nil || !strings.Contains(err.Error(), "no output scores")) {
			t.Errorf("scores %t: %v, %v", scores, best, err)
		}
		if answer, err := s.Interpret(t.Context(), Question{History: history}, nil); err != nil || answer.Text == "" {
			t.Errorf("%+v, %v", answer, err)
		}
		_, refused := s.Map()
		_, alsoRefused := s.Interpret(t.Context(), Question{History: history, Vector: want}, nil)
		for _, err := range []error{refused, alsoRefused} {
			if err == nil || !strings.Contains(err.Error(), "states come from model.onnx, and this needs a recommender's weights") {
				t.Errorf("%v", err)
			}
		}
	}
}
