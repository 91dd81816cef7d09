package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/internal/testranks"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

func TestMain(m *testing.M) { leak.Main(m) }

// With a learning rate of 0 nothing is learnt, so that the other one must be chosen.
var (
	linear = Config{LearningRates: []float64{0, 0.05, 0}, Epochs: 10, BatchSize: 32, Seed: 1}
	mlp    = Config{Hidden: 16, LearningRates: []float64{0, 0.03, 0}, Epochs: 10, BatchSize: 32, Seed: 1}
)

// synthetic makes examples of a rule: draw gives an input and its item. Inputs are scaled and moved
// away from 0, which standardising must undo.
func synthetic(draw func(random *rand.Rand) ([]float64, int)) Data {
	random := rand.New(rand.NewPCG(5, 0))
	examples := func(n int) (e Examples) {
		for range n {
			x, item := draw(random)
			for _, v := range x {
				e.Inputs = append(e.Inputs, float32(300+40*v))
			}
			e.Targets = append(e.Targets, int32(item))
		}
		return e
	}
	return Data{examples(1000), examples(300), examples(500)}
}

// legible inputs have the largest number at their item's place.
func legible(random *rand.Rand) ([]float64, int) {
	x, item := make([]float64, 8), random.IntN(8)
	for i := range x {
		x[i] = 0.2 * random.NormFloat64()
	}
	x[item] += 3
	return x, item
}

func accuracy(t *testing.T, d Data, items int, c Config) Result {
	t.Helper()
	r, err := Train(t.Context(), testllm.Engine(t), d, items, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Test.N != len(d.Test.Targets) || r.Validation.N != len(d.Validation.Targets) || r.Epoch < 1 || r.Epoch > c.Epochs {
		t.Errorf("%+v", r)
	}
	return r
}

func TestLegibleStates(t *testing.T) {
	d := synthetic(legible)
	for _, c := range []Config{linear, mlp} {
		if r := accuracy(t, d, 8, c); r.Test.Value != 1 || r.Test.Low < 0.99 || r.Test.High < 0.9999 {
			t.Errorf("%d hidden units: %+v; want all", c.Hidden, r)
		}
	}
}

// Noise says nothing: of 8 items the right one is named by chance, 1 in 8. The share of 500
// deviates by 0.06, which is four standard deviations, once in 16,000 times.
func TestNoise(t *testing.T) {
	d := synthetic(func(random *rand.Rand) ([]float64, int) {
		x, _ := legible(random)
		return x, random.IntN(8)
	})
	for _, c := range []Config{linear, mlp} {
		if r := accuracy(t, d, 8, c); math.Abs(r.Test.Value-1./8) > 0.06 || r.Test.Low > 1./8 || r.Test.High < 1./8 {
			t.Errorf("%d hidden units: %+v; want chance", c.Hidden, r)
		}
	}
}

// Whether two signs agree cannot be seen by a sum of the two: no line leaves more than three of the
// four corners on their side. A hidden layer sees it (Minsky and Papert 1969).
func TestExclusiveOr(t *testing.T) {
	d := synthetic(func(random *rand.Rand) ([]float64, int) {
		a, b := random.IntN(2), random.IntN(2)
		return []float64{float64(2*a-1) + 0.1*random.NormFloat64(), float64(2*b-1) + 0.1*random.NormFloat64()}, a ^ b
	})
	if r := accuracy(t, d, 2, linear); r.Test.Value > 0.8 {
		t.Errorf("linear: %+v; want at most 3 of 4", r)
	}
	if r := accuracy(t, d, 2, mlp); r.Test.Value != 1 || r.LearningRate != 0.03 {
		t.Errorf("mlp: %+v; want all, at the rate that is not 0", r)
	}
}

// Rate and epoch follow from validation alone: whatever the test examples are, they are the same,
// and so they are again.
func TestTestIsNotLookedAt(t *testing.T) {
	d := synthetic(legible)
	want := accuracy(t, d, 8, mlp)
	if got := accuracy(t, d, 8, mlp); got != want {
		t.Errorf("%+v, then %+v with the same seed", want, got)
	}
	for i := range d.Test.Targets {
		d.Test.Targets[i] = (d.Test.Targets[i] + 1) % 8
	}
	got := accuracy(t, d, 8, mlp)
	if got.Test.Hits != 0 {
		t.Errorf("%d of the wrong items named", got.Test.Hits)
	}
	got.Test = want.Test
	if got != want {
		t.Errorf("%+v, then %+v with other test examples", want, got)
	}
}

// Equal scores name nothing.
func TestNames(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		scores []float32
		item   int
		want   bool
	}{{[]float32{1, 3, 2}, 1, true}, {[]float32{1, 3, 2}, 2, false}, {[]float32{3, 3, 2}, 0, false}, {[]float32{7}, 0, true},
		{[]float32{1, nan, 2}, 1, false}, {[]float32{1, nan, 2}, 2, false}} {
		if got := names(c.scores, c.item); got != c.want {
			t.Errorf("%v names %d: %v", c.scores, c.item, got)
		}
	}
}

func TestTrainRefuses(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		ctx    context.Context
		change func(d *Data)
		is     error
		says   string
	}{
		"nothing":       {t.Context(), func(d *Data) { *d = Data{} }, nil, "0 sequences to learn from"},
		"no validation": {t.Context(), func(d *Data) { d.Validation = Examples{} }, nil, "0 to choose by"},
		"no test":       {t.Context(), func(d *Data) { d.Test = Examples{} }, nil, "0 to report on"},
		"another width": {t.Context(), func(d *Data) { d.Test.Inputs = d.Test.Inputs[1:] }, nil,
			"test: 3999 numbers are not 500 inputs of width 8"},
		"unknown item":    {t.Context(), func(d *Data) { d.Validation.Targets[3] = 8 }, nil, "validation: sequence 3 ends in item 8"},
		"NaN to learn":    {t.Context(), func(d *Data) { d.Train.Inputs[9] = nan }, nil, "coordinate 1 of the states holds NaN"},
		"NaN to choose":   {t.Context(), func(d *Data) { d.Validation.Inputs[9] = nan }, cgo.ErrNumeric, "number 9 is NaN"},
		"NaN to report":   {t.Context(), func(d *Data) { d.Test.Inputs[9] = nan }, cgo.ErrNumeric, "number 9 is NaN"},
		"cancelled":       {cancelled, func(*Data) {}, context.Canceled, "canceled"},
		"infinite inputs": {t.Context(), func(d *Data) { d.Train.Inputs[9] = float32(math.Inf(1)) }, nil, "NaN or infinity"},
	} {
		d := synthetic(legible)
		c.change(&d)
		_, err := Train(c.ctx, testllm.Engine(t), d, 8, linear, nil)
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// sequences are random histories over 12 items.
func sequences(n int, seed uint64) []dataset.Sequence {
	random := rand.New(rand.NewPCG(seed, 0))
	all := make([]dataset.Sequence, n)
	for i := range all {
		all[i].Next = random.Int32N(12)
		for range 1 + random.IntN(6) {
			all[i].History = append(all[i].History, random.Int32N(12))
		}
	}
	return all
}

// An untrained SASRec adds each item's own embedding to the state after it, so that the item can be
// read there.
func TestMeasure(t *testing.T) {
	engine := testllm.Engine(t)
	config, err := recommender.Default(models.SASRec, 12)
	if err != nil {
		t.Fatal(err)
	}
	config.Width, config.Positions = 16, 5
	r, err := recommender.New(engine, config)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	split := dataset.Split{Train: sequences(600, 1), Validation: sequences(60, 2), Test: sequences(90, 3)}
	var last Progress
	calls := 0
	report, err := Measure(t.Context(), engine, r, r.Config().Items, split, Options{Seed: 1, Progress: func(p Progress) { calls, last = calls+1, p }})
	if err != nil {
		t.Fatal(err)
	}
	if report.Train != 600 || report.Items != 12 || report.Known.Value != 1 || len(report.Figures) != 4 {
		t.Errorf("%+v", report)
	}
	var names [][2]string
	for _, f := range report.Figures {
		names = append(names, [2]string{f.Inputs, f.Probe})
		if f.Test.N != 90 || f.Validation.N != 60 || f.Test.Value < 0.5 {
			t.Errorf("%+v; want most of the items", f)
		}
	}
	want := [][2]string{{After, "linear"}, {After, "mlp"}, {BeforeAndAfter, "linear"}, {BeforeAndAfter, "mlp"}}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("figures %v, want %v", names, want)
	}
	if calls != last.Total || last != (Progress{last.Total, last.Total, BeforeAndAfter, "mlp"}) {
		t.Errorf("%d calls, the last %+v", calls, last)
	}

	ctx, cancel := context.WithCancel(t.Context())
	_, err = Measure(ctx, engine, r, r.Config().Items, split, Options{Seed: 1, Progress: func(p Progress) {
		if calls = p.Done; calls == 3 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || calls != 3 || !strings.Contains(err.Error(), "nothing is kept") {
		t.Errorf("cancelled after batch 3: %v after batch %d", err, calls)
	}
	folder := filepath.Join(t.TempDir(), "checkpoints")
	kept := func() []string {
		paths, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	var resumed *Report
	for stops := 0; resumed == nil; stops++ { // in the middle of epochs, between them, and in each probe
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		resumed, err = Measure(ctx, engine, r, r.Config().Items, split, Options{Seed: 1, Checkpoints: folder, Progress: func(Progress) {
			if n++; n == 5 {
				cancel()
			}
		}})
		cancel()
		if err != nil && (!errors.Is(err, context.Canceled) || len(kept()) != 1 || !strings.Contains(err.Error(), kept()[0])) || stops > last.Total {
			t.Fatal(err)
		}
		if err == nil && stops < last.Total/5-1 {
			t.Errorf("finished after %d stops", stops)
		}
	}
	if files := kept(); !reflect.DeepEqual(resumed, report) || len(files) > 0 {
		t.Errorf("resumed %+v, want %+v, and no checkpoint: %v", resumed, report, files)
	}
	ctx, cancel = context.WithCancel(t.Context())
	_, _ = Measure(ctx, engine, r, r.Config().Items, split, Options{Seed: 1, Checkpoints: folder, Progress: func(Progress) { cancel() }})
	path := kept()[0]
	other, err := Measure(t.Context(), engine, r, r.Config().Items, split, Options{Seed: 2, Checkpoints: folder})
	if err != nil || reflect.DeepEqual(other, report) || len(kept()) != 1 {
		t.Errorf("another seed beside a checkpoint: %v, %+v, checkpoints %v", err, other, kept())
	}
	if err := os.WriteFile(path, []byte("no checkpoint"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Measure(t.Context(), engine, r, r.Config().Items, split, Options{Seed: 1, Checkpoints: folder}); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a checkpoint that is none: %v", err)
	}
	if _, err := Measure(t.Context(), engine, r, r.Config().Items, dataset.Split{}, Options{Seed: 1}); err == nil ||
		!strings.Contains(err.Error(), "0 sequences to learn from") {
		t.Errorf("no sequences: %v", err)
	}
}

func TestDraw(t *testing.T) {
	all := sequences(20, 4)
	if got := draw(all, 20, nil); len(got) != 20 {
		t.Errorf("%d of 20 where 20 are wanted", len(got))
	}
	some := draw(all, 7, rand.New(rand.NewPCG(1, 0)))
	if again := draw(all, 7, rand.New(rand.NewPCG(1, 0))); len(some) != 7 || !reflect.DeepEqual(some, again) {
		t.Errorf("%d of 7, or another draw with the same seed", len(some))
	}
}

// By hand: of the items 1, 2, 9 and 1 to name, 2 and 9 were not learnt from.
func TestKnown(t *testing.T) {
	d := Data{Train: Examples{Targets: []int32{0, 1, 1}}, Test: Examples{Targets: []int32{1, 2, 9, 1}}}
	if got := known(d); got.Hits != 2 || got.N != 4 {
		t.Errorf("%+v", got)
	}
	half := after(Examples{Inputs: []float32{1, 2, 3, 4, 5, 6, 7, 8}, Targets: []int32{0, 1}}, 2)
	if !reflect.DeepEqual(half.Inputs, []float32{3, 4, 7, 8}) {
		t.Errorf("the states after are %v", half.Inputs)
	}
}

// A probe that several ranks train has the figures and the bits of one that a single process trains
// with the same micro-batches.
func TestTrain_onRanks(t *testing.T) {
	d, c := synthetic(legible), linear
	c.Epochs, c.MicroBatch = 2, 12
	weights := func(ctx context.Context) ([]float32, Result, error) {
		p, err := fit(ctx, testllm.Engine(t), d, 8, c, nil, nil)
		if err != nil {
			return nil, Result{}, err
		}
		defer p.model.Close()
		values := make([]float32, 8*p.width)
		return values, p.result, p.model.Read(values, 0, cgo.Value)
	}
	want, wantResult, err := weights(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for rank, err := range testranks.Run(t, 3, func(ctx context.Context, rank int) error {
		got, result, err := weights(ctx)
		if err == nil && (!slices.Equal(got, want) || result != wantResult) {
			err = fmt.Errorf("%+v, want %+v, or other weights", result, wantResult)
		}
		return err
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}
