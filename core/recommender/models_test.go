package recommender

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// smallOf is small for any model.
func smallOf(t *testing.T, model string) Config {
	t.Helper()
	c := defaultOf(t, model, 12)
	c.Width, c.Positions, c.BatchSize, c.MaxEpochs, c.Patience, c.LearningRate, c.Dropout = 16, 5, 16, 20, 20, 0.01, 0.1
	switch model {
	case models.DreamRec:
		c.Settings["diffusion.steps"], c.MaxEpochs = 30, 40
	case models.HSTU:
		c.MaxEpochs, c.Patience, c.AllPositions = 40, 40, false
	case models.BERT4Rec: // its blocks, normalised after each residual, learn nothing at a higher rate
		c.LearningRate, c.MaxEpochs, c.Patience = 0.003, 40, 40
	}
	return c
}

// A filter of Caser must not start with a bias that its ReLU would never let pass.
func TestCaserStartsWithoutBiases(t *testing.T) {
	for layout, last := range map[string]string{"": "s_fc.bias", models.RecBole: "fc1.bias"} {
		c := smallOf(t, models.Caser)
		if c.Layout = layout; layout == models.RecBole {
			c.Settings["heights"] = []int{1, 2, 3, 4, 5} // all that there are
		}
		r, err := New(testllm.Engine(t), c)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		values, err := checkpoint.Read(r.Model(), cgo.Value, "")
		if err != nil {
			t.Fatal(err)
		}
		filters := 0
		for _, tensor := range values {
			if zero := !slices.ContainsFunc(tensor.F32, func(x float32) bool { return x != 0 }); strings.HasSuffix(tensor.Name, ".bias") && (strings.Contains(tensor.Name, "_cnn") || strings.HasPrefix(tensor.Name, "conv_")) {
				filters++
				if !zero {
					t.Errorf("layout %q: %s is not zero", layout, tensor.Name)
				}
			} else if zero && tensor.Name == last {
				t.Errorf("layout %q: %s is zero", layout, tensor.Name)
			}
		}
		if filters < 2 {
			t.Errorf("layout %q: %d biases of filters", layout, filters)
		}
	}
}

func TestEveryModelLearnsARule(t *testing.T) {
	for _, model := range models.Names() {
		for _, negatives := range []int{0, 4} {
			if model == models.DreamRec && negatives > 0 {
				continue
			}
			c := smallOf(t, model)
			least, known := map[string]float64{models.Caser: 0.5, models.GRU4Rec: 0.8, models.SASRec: 0.8, models.BERT4Rec: 0.8, models.HSTU: 0.8,
				models.DreamRec: 0.7}[model] // chance is 1 in 12
			if c.Negatives = negatives; negatives > 0 {
				c.MaxEpochs = 40
				if model == models.BERT4Rec { // it takes longer
					c.LearningRate, c.MaxEpochs, c.Patience, least = 0.001, 200, 200, 0.4
				}
			}
			r := train(t, c, Options{})
			m, err := Evaluate(t.Context(), r, ruleSplit().Test, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !known || m.HR[1] < least {
				t.Errorf("%s, %d negatives: HR@1 %v on unseen sequences, want at least %v", model, negatives, m.HR[1], least)
			}
		}
	}
}

// A sampled softmax, which is the default of large catalogues, learns the rule, too, and resumes
// bit for bit.
func TestSampledSoftmax(t *testing.T) {
	for _, model := range []string{models.SASRec, models.HSTU} {
		c := smallOf(t, model)
		c.Sampled = 6
		path := filepath.Join(t.TempDir(), "checkpoint.safetensors")
		half := c
		half.MaxEpochs = 2
		train(t, half, Options{CheckpointPath: path})
		r := train(t, c, Options{CheckpointPath: path})
		if !same(values(t, r), values(t, train(t, c, Options{}))) {
			t.Errorf("%s: a resumed training gave other weights", model)
		}
		if m, err := Evaluate(t.Context(), r, ruleSplit().Test, nil); err != nil || m.HR[1] < 0.8 {
			t.Errorf("%s: HR@1 %v on unseen sequences: %v", model, m.HR[1], err)
		}
	}
	for items, want := range map[int]int{dataset.LargeCatalogue: 0, dataset.LargeCatalogue + 1: sampledItems} {
		if c := defaultOf(t, models.SASRec, items); c.Sampled != want {
			t.Errorf("%d items: %d are sampled, want %d", items, c.Sampled, want)
		}
	}
	c := smallOf(t, models.SASRec)
	c.Negatives, c.Sampled = 4, 4
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "only one of them") {
		t.Errorf("two losses: %v", err)
	}
	if c := defaultOf(t, models.DreamRec, 1<<20); c.Sampled != 0 {
		t.Errorf("a diffusion samples %d items", c.Sampled)
	}
}

// SASRec with its options and gBCE learns the rule, resumes bit for bit, and comes back from its
// file, with the configuration or with the authors' metadata alone.
func TestSASRecOptions(t *testing.T) {
	histories := Histories(rule(5, 1))
	for _, options := range [][]string{{"norm_first"}, {"rotary"}, {"norm_first", "rotary"}} {
		c := smallOf(t, models.SASRec)
		c.Settings["blocks"], c.Settings["heads"] = 2, 2
		c.MaxEpochs, c.Negatives, c.Calibration = 40, 4, 0.75
		for _, option := range options {
			c.Settings[option] = true
		}
		path := filepath.Join(t.TempDir(), "checkpoint.safetensors")
		half := c
		half.MaxEpochs = 2
		train(t, half, Options{CheckpointPath: path})
		r := train(t, c, Options{CheckpointPath: path})
		if !same(values(t, r), values(t, train(t, c, Options{}))) {
			t.Errorf("%v: a resumed training gave other weights", options)
		}
		if m, err := Evaluate(t.Context(), r, ruleSplit().Test, nil); err != nil || m.HR[1] < 0.8 {
			t.Errorf("%v: HR@1 %v on unseen sequences: %v", options, m.HR[1], err)
		}
		file, err := r.file()
		if err != nil {
			t.Fatal(err)
		}
		for _, without := range []string{"", keyConfig} {
			delete(file.Metadata, without)
			back, err := FromFile(testllm.Engine(t), file)
			if err != nil {
				t.Fatalf("%v, without %q: %v", options, without, err)
			}
			defer back.Close()
			if !slices.Equal(scores(t, r, histories), scores(t, back, histories)) {
				t.Errorf("%v, without %q: the loaded weights give other scores", options, without)
			}
		}
		for _, option := range options { // nothing else tells it
			delete(file.Metadata, option)
		}
		if back, err := FromFile(testllm.Engine(t), file); err == nil || !strings.Contains(err.Error(), "has no tensor") {
			t.Errorf("%v: a file that does not say so was read: %v, %v", options, back, err)
		}
	}
}

// By hand: of 9 other items 3 are drawn, so that β = 1 − t·(1 − 1/3).
func TestTargetDiscount(t *testing.T) {
	for _, c := range []struct {
		negatives   int
		calibration float64
		want        float64
	}{{3, 0, 0}, {3, 0.75, 0.5}, {3, 1, 2.0 / 3}, {9, 1, 0}, {20, 1, 0}} {
		config := defaultOf(t, models.SASRec, 10)
		config.Negatives, config.Calibration = c.negatives, c.calibration
		if got := float64(config.targetDiscount()); math.Abs(got-c.want) > 1e-7 {
			t.Errorf("%d negatives, t = %g: %g, want %g", c.negatives, c.calibration, got, c.want)
		}
	}
}

// 4 epochs at once are bit for bit 2 epochs, a restart from the checkpoint and 2 more.
func TestEveryModelResumesExactly(t *testing.T) {
	for _, model := range models.Names() {
		c := smallOf(t, model)
		c.MaxEpochs = 4
		c.Negatives = map[string]int{models.Caser: 2}[model]
		whole, err := Train(t.Context(), testllm.Engine(t), c, ruleSplit(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer whole.Close()
		path := filepath.Join(t.TempDir(), "checkpoint.safetensors")
		half := c
		half.MaxEpochs = 2
		train(t, half, Options{CheckpointPath: path})
		resumed, err := Train(t.Context(), testllm.Engine(t), c, ruleSplit(), Options{CheckpointPath: path})
		if err != nil {
			t.Fatal(err)
		}
		defer resumed.Close()
		if !same(values(t, whole.Last), values(t, resumed.Last)) || !same(values(t, whole.Best), values(t, resumed.Best)) {
			t.Errorf("%s: 2 + 2 epochs gave other weights than 4", model)
		}
		if n := len(resumed.Epochs); n != 4 || whole.Last.Origin().Epoch != 4 {
			t.Errorf("%s: %d epochs, last %d; want 4", model, n, whole.Last.Origin().Epoch)
		}
	}
}

func TestEveryModelSavesAndLoads(t *testing.T) {
	histories := Histories(rule(5, 1))
	for _, model := range models.Names() {
		r := newRecommender(t, smallOf(t, model))
		back := savedAndLoaded(t, r)
		if !slices.Equal(scores(t, r, histories), scores(t, back, histories)) {
			t.Errorf("%s: the loaded weights give other scores", model)
		}
	}
}

func scores(t *testing.T, r *Recommender, histories [][]int32) []float32 {
	t.Helper()
	dst := make([]float32, len(histories)*r.Config().Items)
	if err := r.Scores(t.Context(), dst, histories); err != nil {
		t.Fatal(err)
	}
	return dst
}

// table gives the embeddings of the items, and of padding.
func table(t *testing.T, r *Recommender) []float32 {
	t.Helper()
	infos, err := r.Model().Tensors()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(infos, func(info cgo.TensorInfo) bool { return info.Role == cgo.RoleItems })
	return values(t, r)[i].F32
}

// An item's own embedding in its place gives the state that the item gives.
func TestVectorsStandForItems(t *testing.T) {
	for _, model := range models.Names() {
		r := newRecommender(t, smallOf(t, model))
		d := r.Config().Width
		vectors := append(slices.Clone(table(t, r)[7*d:8*d]), table(t, r)[2*d:3*d]...)
		want := states(t, r, [][]int32{{7, 3, 2}, {2}})
		got := make([]float32, len(want))
		if err := r.WithVectors(vectors).States(t.Context(), got, [][]int32{{-1, 3, -2}, {-2}}); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if math.Abs(float64(got[i]-want[i])) > 1e-6 {
				t.Fatalf("%s: number %d is %g with vectors, %g with items", model, i, got[i], want[i])
			}
		}
		if err := r.WithVectors(vectors).States(t.Context(), got, [][]int32{{-3}, {2}}); err == nil ||
			!strings.Contains(err.Error(), "item -3") {
			t.Errorf("%s: a vector that is not there: %v", model, err)
		}
		items := make([]float32, 3*d)
		if err := r.WithVectors(vectors).Items(t.Context(), items, [][]int32{{5, 2}, {2, -1}, {7}}); err != nil {
			t.Fatal(err)
		}
		if want := slices.Concat(vectors[d:], vectors[:d], vectors[:d]); !slices.Equal(items, want) {
			t.Errorf("%s: the last items' vectors are %v, want %v", model, items, want)
		}
	}
}

// The state after each item is that of the history cut there.
func TestAllStates(t *testing.T) {
	history := []int32{4, 4, 9, 1}
	for _, model := range models.Names() {
		r := newRecommender(t, smallOf(t, model))
		w, positions := r.StateWidth(), r.Config().Positions
		all := make([]float32, positions*w)
		if err := r.AllStates(t.Context(), all, [][]int32{history}); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= positions; n++ {
			want := make([]float32, w) // behind the end
			if n <= len(history) {
				want = states(t, r, [][]int32{history[:n]})
			}
			for k, x := range all[(n-1)*w : n*w] {
				if math.Abs(float64(x-want[k])) > 1e-5 {
					t.Fatalf("%s: state %d is %v, alone %v", model, n, all[(n-1)*w:n*w], want)
				}
			}
		}
	}
}

func TestRecommendLeavesOutTheHistory(t *testing.T) {
	r := newRecommender(t, smallOf(t, models.GRU4Rec))
	history := []int32{5, 0, 11}
	best, err := Recommend(t.Context(), r, [][]int32{history, {3}}, 9)
	if err != nil || len(best) != 2 || len(best[0]) != 9 || len(best[1]) != 9 {
		t.Fatalf("%v, %v", best, err)
	}
	all := scores(t, r, [][]int32{history})
	for i, s := range best[0] {
		// Alone and beside another history, sums may run in another order: a few roundings of
		// numbers below 1.
		other := math.Abs(float64(s.Score-all[s.Item])) > 1e-6
		if slices.Contains(history, s.Item) || other || i > 0 && s.Score > best[0][i-1].Score {
			t.Errorf("place %d: item %d with %g of scores %v", i, s.Item, s.Score, all)
		}
	}
	if got := Highest([]float32{1, 3, 3, 2}, 9, []int32{3}); !slices.Equal(got, []Scored{{1, 3}, {2, 3}, {0, 1}}) {
		t.Errorf("equal scores and too many asked for: %v", got)
	}
}

// An oracle follows from its number and the seed, not from what is drawn beside it.
func TestOracles(t *testing.T) {
	for _, ddim := range []int{0, 7} {
		c := smallOf(t, models.DreamRec)
		c.Settings["diffusion.ddim_steps"] = ddim
		r := newRecommender(t, c)
		d := c.Width
		histories := Histories(rule(atOnce+2, 4))
		draw := func(histories [][]int32, seed uint64) []float32 {
			dst := make([]float32, len(histories)*d)
			if err := r.Oracles(t.Context(), dst, histories, seed); err != nil {
				t.Fatal(err)
			}
			return dst
		}
		all := draw(histories, 1)
		for k, x := range draw(histories[:3], 1) {
			if math.Abs(float64(x-all[k])) > 1e-4 {
				t.Fatalf("number %d is %g among 3 and %g among %d", k, x, all[k], len(histories))
			}
		}
		if other := draw(histories[:1], 2); slices.Equal(other, all[:d]) {
			t.Error("another seed gave the same oracle")
		}
		if twice := draw([][]int32{histories[0], histories[0]}, 1); slices.Equal(twice[:d], twice[d:]) {
			t.Error("two oracles of one history are the same")
		}
	}
	r := newRecommender(t, small())
	if err := r.Oracles(t.Context(), make([]float32, 16), [][]int32{{1}}, 1); err == nil || !strings.Contains(err.Error(), models.DreamRec) {
		t.Errorf("oracles of a SASRec: %v", err)
	}
}

func TestDreamRecEvaluationIsReproducible(t *testing.T) {
	c := smallOf(t, models.DreamRec)
	c.MaxEpochs = 2
	var logs [2]string // without times
	for i := range logs {
		path := filepath.Join(t.TempDir(), "log.jsonl")
		train(t, c, Options{LogPath: path})
		for _, line := range logged(t, path) {
			line, _, _ = strings.Cut(line, `"seconds"`)
			logs[i] += line
		}
	}
	if logs[0] != logs[1] {
		t.Errorf("the same seed gave %s and %s", logs[0], logs[1])
	}
	r := newRecommender(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Scores(ctx, make([]float32, 12), [][]int32{{1}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r.Close()
	if err := r.Scores(t.Context(), make([]float32, 12), [][]int32{{1}}); !errors.Is(err, cgo.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// However many threads share the work, the bits are the same.
func TestThreadsChangeNothing(t *testing.T) {
	for _, model := range models.Names() {
		c := smallOf(t, model)
		c.MaxEpochs, c.BatchSize, c.Patience = 2, 50, 2 // the last batch is a short one
		var want []artifact.Tensor
		for _, threads := range []int{1, 2, 3} {
			engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			defer engine.Close()
			trained, err := Train(t.Context(), engine, c, ruleSplit(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer trained.Close()
			got := values(t, trained.Last)
			for n := 1; n <= 9; n += 4 {
				got = append(got, artifact.Tensor{Name: "scores", F32: scores(t, trained.Last, Histories(rule(n, 1)))})
			}
			if want == nil {
				want = got
			} else if !same(want, got) {
				t.Errorf("%s: %d threads gave other weights or scores than one", model, threads)
			}
		}
	}
}

// Many goroutines may ask at once, for batches of different sizes.
func TestGoroutines(t *testing.T) {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	r, err := New(engine, smallOf(t, models.DreamRec))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sizes := []int{1, 2, 17, 40}
	want := map[int][]float32{}
	for _, n := range sizes {
		want[n] = scores(t, r, Histories(rule(n, 9)))
	}
	var group sync.WaitGroup
	for g := range 6 {
		group.Go(func() {
			for i := range 20 {
				n := sizes[(g+i)%len(sizes)]
				got := make([]float32, n*r.Config().Items)
				if err := r.Scores(t.Context(), got, Histories(rule(n, 9))); err != nil || !slices.Equal(got, want[n]) {
					t.Errorf("%d histories: %v, or other scores than alone", n, err)
					return
				}
			}
		})
	}
	group.Wait()
}
