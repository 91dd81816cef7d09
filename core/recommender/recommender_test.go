package recommender

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/reference"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

func newRecommender(t *testing.T, c Config) *Recommender {
	t.Helper()
	r, err := New(testllm.Engine(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func states(t *testing.T, r *Recommender, histories [][]int32) []float32 {
	t.Helper()
	all := make([]float32, len(histories)*r.StateWidth())
	err := r.States(t.Context(), all, histories)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// One history more than a batch holds, each state the same as when it is asked for alone.
func TestStatesDoNotDependOnTheBatch(t *testing.T) {
	r := newRecommender(t, small())
	histories := Histories(rule(atOnce+1, 4))
	all := states(t, r, histories)
	d := r.Config().Width
	for _, i := range []int{0, 1, atOnce - 1, atOnce} {
		alone := states(t, r, histories[i:i+1])
		for k, x := range alone {
			if math.Abs(float64(x-all[i*d+k])) > 1e-5 { // float32 sums in another order
				t.Fatalf("history %d: number %d is %g alone and %g in a batch", i, k, x, all[i*d+k])
			}
		}
	}
}

func TestLongHistoriesCountTheirLastItems(t *testing.T) {
	r := newRecommender(t, small())
	got := states(t, r, [][]int32{{9, 8, 1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}})
	if d := r.Config().Width; !slices.Equal(got[:d], got[d:]) {
		t.Error("items before the last five have changed the state")
	}
}

func TestPast(t *testing.T) {
	shared := make([]int32, 2, 9) // room behind the history must not be written to
	copy(shared, []int32{1, 2})
	sequences := []dataset.Sequence{{History: shared, Next: 7}, {History: []int32{1, 2, 3}, Next: 6}}
	r := &Recommender{}
	for i, want := range [][]int32{{1, 2, 7}, {1, 2, 3, 6}} {
		if got := r.Past(sequences[i], true); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := r.Past(sequences[i], false); !slices.Equal(got, sequences[i].History) {
			t.Errorf("got %v without the next item", got)
		}
	}
	if shared[:3][2] != 0 {
		t.Error("memory of the sequence was written to")
	}
}

func TestBadHistories(t *testing.T) {
	r := newRecommender(t, small())
	dst := make([]float32, r.Config().Width)
	for name, c := range map[string]struct {
		history []int32
		says    string
	}{
		"empty": {nil, "history 0 is empty"}, "negative": {[]int32{1, -1}, "item -1"}, "padding": {[]int32{12}, "item 12"},
	} {
		if err := r.States(t.Context(), dst, [][]int32{c.history}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if err := r.States(t.Context(), dst[1:], [][]int32{{1}}); err == nil {
		t.Error("a short dst was accepted")
	}
	if _, err := Evaluate(t.Context(), r, []dataset.Sequence{{History: []int32{1}, Next: 12}}, nil); err == nil {
		t.Error("a next item outside the catalogue was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.States(ctx, dst, [][]int32{{1}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r.Close()
	r.Close()
	if err := r.States(t.Context(), dst, [][]int32{{1}}); !errors.Is(err, cgo.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// savedAndLoaded saves a recommender to a file and loads it.
func savedAndLoaded(t *testing.T, r *Recommender) *Recommender {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.safetensors")
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	back, err := Load(testllm.Engine(t), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Close() })
	return back
}

func TestSaveAndLoad(t *testing.T) {
	c := small()
	c.Settings["blocks"] = 2
	r := newRecommender(t, c)
	r.origin = Origin{Dataset: "abc", Epoch: 3, Validation: &Metrics{N: 4, HR: map[int]float64{10: 0.5},
		NDCG: map[int]float64{10: 0.25}, MRR: 0.1, CI: [2]float64{0.1, 0.9}}}
	back := savedAndLoaded(t, r)
	if !reflect.DeepEqual(back.Config(), c) || back.Hash() != r.Hash() || len(r.Hash()) != 64 {
		t.Errorf("config %+v, hash %s; want %+v, %s", back.Config(), back.Hash(), c, r.Hash())
	}
	if o := back.Origin(); o.Dataset != "abc" || o.Epoch != 3 || o.Validation == nil || o.Validation.HR[10] != 0.5 {
		t.Errorf("origin %+v", o)
	}
	histories := Histories(rule(5, 1))
	if !slices.Equal(states(t, r, histories), states(t, back, histories)) {
		t.Error("the loaded weights give other states")
	}
	if err := r.Save(filepath.Join(t.TempDir(), "absent", "r.safetensors")); err == nil {
		t.Error("saved into a folder that is not there")
	}
}

func TestLoadRefuses(t *testing.T) {
	r, dir := newRecommender(t, small()), t.TempDir()
	whole := filepath.Join(dir, "whole.safetensors")
	if err := r.Save(whole); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*artifact.File)
		says   string
	}{
		"tensor missing": {func(f *artifact.File) { f.Tensors = f.Tensors[:len(f.Tensors)-1] }, "has no tensor"},
		"NaN": {func(f *artifact.File) {
			tensor, _ := f.Find("ln_1.weight")
			tensor.F32[2] = float32(math.NaN())
		}, "ln_1.weight"},
		"wrong shape": {func(f *artifact.File) {
			tensor, _ := f.Find("ln_1.weight")
			tensor.Shape = []int{4, 4}
		}, "[4 4]"},
		"embeddings no table": {func(f *artifact.File) {
			tensor, _ := f.Find("item_embeddings.weight")
			tensor.Shape = []int{len(tensor.F32)}
		}, "2 dimensions"},
		"other model":     {func(f *artifact.File) { f.Metadata[keyModel] = "GRU" }, `"GRU"`},
		"no model":        {func(f *artifact.File) { f.Tensors = f.Tensors[:1] }, "not those of a model"},
		"unknown key":     {func(f *artifact.File) { f.Metadata[keyConfig] = `{"colour":1}` }, "colour"},
		"epoch no number": {func(f *artifact.File) { f.Metadata[keyEpoch] = "x" }, `"x"`},
		"other size": {func(f *artifact.File) {
			f.Metadata[keyConfig] = strings.Replace(f.Metadata[keyConfig], `"items":12`, `"items":13`, 1)
		}, "items 13"},
	} {
		f, err := artifact.ReadSafetensors(whole)
		if err != nil {
			t.Fatal(err)
		}
		c.change(f)
		path := filepath.Join(dir, "broken.safetensors")
		if err := artifact.WriteSafetensors(path, f); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(testllm.Engine(t), path); err == nil || !strings.Contains(err.Error(), c.says) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q and the path", name, err, c.says)
		}
	}
	if _, err := Load(testllm.Engine(t), filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// The authors' file, as published. Numbers and tolerances: the reference folder's README.
func TestAuthorsFile_vsPyTorch(t *testing.T) {
	dir := reference.Folder(t, "reference")
	r, err := Load(testllm.Engine(t), filepath.Join(dir, "SASRec_movielens.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	expected, err := artifact.ReadSafetensors(filepath.Join(dir, "SASRec_movielens.expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	lengths, err := expected.Int32("len")
	if err != nil {
		t.Fatal(err)
	}
	c := r.Config()
	items, err := expected.Int32("seq", len(lengths), c.Positions)
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := expected.Float32("hidden", len(lengths), c.Width)
	if err != nil {
		t.Fatal(err)
	}
	scores, err := expected.Float32("scores", len(lengths), c.Items)
	if err != nil {
		t.Fatal(err)
	}
	histories := make([][]int32, len(lengths))
	for i, n := range lengths {
		histories[i] = items[i*c.Positions : i*c.Positions+int(n)]
	}
	compare(t, "state", states(t, r, histories), hidden, 2e-5)
	gotScores := make([]float32, len(scores))
	if err := r.Scores(t.Context(), gotScores, histories); err != nil {
		t.Fatal(err)
	}
	compare(t, "score", gotScores, scores, 2e-4)
}
