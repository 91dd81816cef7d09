package onnx_test

import (
	"cmp"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx/onnxtest"
)

// Encoders that PyTorch exports give the states and scores that PyTorch computes. PYTHON names an
// interpreter with the packages of bench/peers.
func TestPeers(t *testing.T) {
	onnxtest.Library(t)
	const bench = "../../../bench"
	python := cmp.Or(os.Getenv("PYTHON"), filepath.Join(bench, "venv/bin/python"))
	if said, err := exec.Command(python, "-c", "import torch, onnx, onnxscript, safetensors").CombinedOutput(); err != nil {
		t.Skipf("%s has no PyTorch with onnx, onnxscript and safetensors; make bench/venv/bin/python, or name another PYTHON: %v %s", python, err, said)
	}
	dir := t.TempDir()
	if said, err := exec.Command(python, filepath.Join(bench, "peers/export_onnx.py"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for _, name := range []string{"GRU4Rec", "SASRec"} {
		want, err := artifact.ReadSafetensors(filepath.Join(dir, name+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		find := func(name string) *artifact.Tensor {
			tensor, err := want.Find(name)
			if err != nil {
				t.Fatal(err)
			}
			return tensor
		}
		items, lengths, states, scores := find("items"), find("length"), find("states"), find("scores")
		positions, width, v := items.Shape[1], states.Shape[1], scores.Shape[1]
		path := filepath.Join(dir, name+"-imported.onnx")
		if err := onnx.Import(filepath.Join(dir, name+".onnx"), path, onnx.Options{Items: v, Padding: v}); err != nil {
			t.Fatal(err)
		}
		e, err := onnx.Open(path, 1)
		if err != nil {
			t.Fatal(err)
		}
		if e.Positions() != positions || e.StateWidth() != width {
			t.Errorf("%s: histories of %d, states of %d numbers", name, e.Positions(), e.StateWidth())
		}
		var histories [][]int32
		for i, n := range lengths.I64 {
			var history []int32
			for _, item := range items.I64[i*positions : i*positions+int(n)] {
				history = append(history, int32(item))
			}
			histories = append(histories, history)
		}
		for what, c := range map[string]struct {
			compute func(dst []float32) error
			want    []float32
		}{
			"states": {func(dst []float32) error { return e.States(t.Context(), dst, histories) }, states.F32},
			"scores": {func(dst []float32) error { return e.Scores(t.Context(), dst, histories) }, scores.F32},
		} {
			got := make([]float32, len(c.want))
			if err := c.compute(got); err != nil {
				t.Fatalf("%s: %s: %v", name, what, err)
			}
			furthest := 0.0
			for i := range got {
				furthest = max(furthest, math.Abs(float64(got[i]-c.want[i])))
			}
			if t.Logf("%s: %s differ by at most %.1e", name, what, furthest); furthest > 1e-5 {
				t.Errorf("%s: %s differ by %g", name, what, furthest)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
