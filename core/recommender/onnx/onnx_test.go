package onnx_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx/onnxtest"
)

// table has padding as number 0 and four items.
var table = [][]float32{{0, 0}, {1, 10}, {2, 20}, {3, 30}, {4, 40}}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func imported(t *testing.T, m onnxtest.Model, o onnx.Options) *onnx.Encoder {
	t.Helper()
	path := filepath.Join(t.TempDir(), "imported.onnx")
	if err := onnx.Import(write(t, m.Bytes()), path, o); err != nil {
		t.Fatal(err)
	}
	e, err := onnx.Open(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Without a library, or with something else in its place, the error says how to get one. This test
// stands first: a library that was opened stays so.
func TestNoLibrary(t *testing.T) {
	good := onnxtest.Model{Table: table}.Bytes()
	for _, c := range []struct {
		content       []byte
		library, want string
	}{
		{good, "", "fetch it with `recint models fetch onnxruntime`"},
		{good, os.Args[0], "is no usable library of ONNX Runtime"},
		{[]byte("PK\x03\x04, a model of something else"), "", "it is no ONNX model, or it is cut off; export it again"},
		{good[:len(good)-3], "", "cut off"},
	} {
		t.Setenv(onnx.LibraryVariable, c.library)
		err := onnx.Import(write(t, c.content), filepath.Join(t.TempDir(), "out.onnx"), onnx.Options{Items: 4, Positions: 4})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.library, err, c.want)
		}
	}
	if _, err := onnx.Open(filepath.Join(t.TempDir(), "absent.onnx"), 1); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// States are those of the model, whatever its axes, its further inputs and the side of padding.
func TestStates(t *testing.T) {
	onnxtest.Library(t)
	histories := [][]int32{{0}, {1, 2}, {3, 3, 3, 3, 1}} // of the last only the last 4 count
	sums, last := []float32{1, 10, 5, 50, 14, 140}, []float32{1, 10, 3, 30, 2, 20}
	for name, c := range map[string]struct {
		model onnxtest.Model
		left  bool
		want  []float32
	}{
		"[B, D]":                     {onnxtest.Model{}, false, sums},
		"a fixed length":             {onnxtest.Model{T: 4, Lengths: "length"}, true, sums},
		"[B, T, D]":                  {onnxtest.Model{Each: true, Lengths: "mask"}, false, last},
		"[B, T, D] and left padding": {onnxtest.Model{Each: true, Lengths: "mask", T: 4}, true, last},
	} {
		c.model.Table = table
		e := imported(t, c.model, onnx.Options{Items: 4, Positions: 4, Left: c.left})
		if e.StateWidth() != 2 || e.Positions() != 4 || e.Catalogue() != 4 || e.Hash() == "" || e.Name() != "model.onnx" {
			t.Errorf("%s: %+v", name, e)
		}
		got := make([]float32, 6)
		if err := e.States(t.Context(), got, histories); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: states %v, %v", name, got, err)
		}
		all := make([]float32, 8)
		if err := e.AllStates(t.Context(), all, histories[1:2]); err != nil || !slices.Equal(all, []float32{2, 20, c.want[2], c.want[3], 0, 0, 0, 0}) {
			t.Errorf("%s: all states %v, %v", name, all, err)
		}
		if err := e.Scores(t.Context(), make([]float32, 12), histories); !errors.Is(err, onnx.ErrNoScores) {
			t.Errorf("%s: scores: %v", name, err)
		}
		if err := e.States(t.Context(), got, [][]int32{{0}, {1}, {4}}); err == nil || !strings.Contains(err.Error(), "items 0 to 3") {
			t.Errorf("%s: an unknown item: %v", name, err)
		}
		if err := e.States(t.Context(), got, [][]int32{{0}, {}, {3}}); err == nil || !strings.Contains(err.Error(), "empty") {
			t.Errorf("%s: no items: %v", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.States(ctx, got, histories); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled: %v", name, err)
		}
	}
}

// Items have the ids that the options say, and scores are those of the items.
func TestScores(t *testing.T) {
	onnxtest.Library(t)
	histories := [][]int32{{0, 1}}
	for name, c := range map[string]struct {
		options       onnx.Options
		states, score []float32
	}{
		"padding first":  {onnx.Options{Items: 4}, []float32{3, 30}, []float32{303, 606, 909, 1212}},
		"padding last":   {onnx.Options{Items: 4, Padding: 4}, []float32{1 + 4 + 4, 90}, []float32{0, 909, 1818, 2727}},
		"padding within": {onnx.Options{Items: 4, Padding: 2}, []float32{1 + 2 + 2, 50}, []float32{0, 505, 1515, 2020}},
		"no padding":     {onnx.Options{Items: 4, Padding: -1, Positions: 2}, []float32{1, 10}, []float32{0, 101, 202, 303}},
		"some items":     {onnx.Options{Items: 2, Places: []int{3, 1}, Rows: 4}, []float32{6, 60}, []float32{2424, 1212}},
	} {
		if c.options.Positions == 0 {
			c.options.Positions = 4
		}
		e := imported(t, onnxtest.Model{Table: table, Scores: true}, c.options)
		states, scores := make([]float32, 2), make([]float32, c.options.Items)
		err := errors.Join(e.Scores(t.Context(), scores, histories))
		if c.options.Padding >= 0 {
			err = errors.Join(err, e.States(t.Context(), states, histories))
		} else {
			states = c.states
		}
		if err != nil || !slices.Equal(states, c.states) || !slices.Equal(scores, c.score) {
			t.Errorf("%s: states %v, scores %v, %v", name, states, scores, err)
		}
	}
}

// A model is bound to its data set, and is imported once.
func TestBinding(t *testing.T) {
	onnxtest.Library(t)
	d, other := &dataset.Dataset{Name: "a", Items: make([]dataset.Item, 4)}, &dataset.Dataset{Name: "b", Items: make([]dataset.Item, 5)}
	dir := t.TempDir()
	path := filepath.Join(dir, "imported.onnx")
	original := write(t, onnxtest.Model{Table: table}.Bytes())
	o := onnx.Options{Dataset: d.Hash(), Items: 4, Positions: 4}
	if err := onnx.Import(original, path, o); err != nil {
		t.Fatal(err)
	}
	e, err := onnx.Open(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.TrainedOn(d); err != nil {
		t.Error(err)
	}
	if err := e.TrainedOn(other); err == nil || !strings.Contains(err.Error(), "data set") {
		t.Errorf("another data set: %v", err)
	}
	if err := onnx.Import(path, filepath.Join(dir, "twice.onnx"), o); err == nil || !strings.Contains(err.Error(), "imported already") {
		t.Errorf("imported twice: %v", err)
	}
	if _, err := onnx.Open(original, 1); err == nil || !strings.Contains(err.Error(), "import it first") {
		t.Errorf("not imported: %v", err)
	}
}

// A model that does something else is refused with one sentence that says what to do.
func TestRefusals(t *testing.T) {
	onnxtest.Library(t)
	usual := onnx.Options{Items: 4, Positions: 4}
	for want, c := range map[string]struct {
		model   onnxtest.Model
		options onnx.Options
	}{
		"its inputs are ids int64 [-1 -1]; it needs items":     {onnxtest.Model{Items: "ids"}, usual},
		"items is of another type or shape":                    {onnxtest.Model{Type: onnxtest.Int32}, usual},
		"let the batch be a dynamic axis":                      {onnxtest.Model{Batch: 1}, usual},
		"its axis T has 7 positions, not 4":                    {onnxtest.Model{T: 7}, usual},
		"its axis T varies":                                    {onnxtest.Model{}, onnx.Options{Items: 4}},
		"its outputs are hidden float [-1 2]; it needs states": {onnxtest.Model{States: "hidden"}, usual},
		"export it with an opset that this version knows":      {onnxtest.Model{Opset: 99}, usual},
		"2 histories of 4 items with the highest id, 9":        {onnxtest.Model{}, onnx.Options{Items: 9, Positions: 4}},
		"its output scores is float []; it needs states f":     {onnxtest.Model{Scores: true, Each: true, T: 4}, usual},
	} {
		if c.model.Table == nil {
			c.model.Table = table
		}
		err := onnx.Import(write(t, c.model.Bytes()), filepath.Join(t.TempDir(), "out.onnx"), c.options)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
