package recommender

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/internal/testranks"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

func train(t *testing.T, c Config, opts Options) *Recommender {
	t.Helper()
	trained, err := Train(t.Context(), testllm.Engine(t), c, ruleSplit(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trained.Close() })
	return trained.Best
}

func values(t *testing.T, r *Recommender) []artifact.Tensor {
	t.Helper()
	tensors, err := checkpoint.Read(r.model, cgo.Value, "")
	if err != nil {
		t.Fatal(err)
	}
	return tensors
}

// logged gives the lines of a log.
func logged(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func same(a, b []artifact.Tensor) bool {
	return slices.EqualFunc(a, b, func(a, b artifact.Tensor) bool {
		return a.Name == b.Name && slices.EqualFunc(a.F32, b.F32, func(x, y float32) bool {
			return math.Float32bits(x) == math.Float32bits(y)
		})
	})
}

// The next item is a function of the last one, so that a trained model ranks it first nearly
// always; chance is 1 in 12.
func TestTrainLearnsARule(t *testing.T) {
	for _, all := range []bool{false, true} {
		c := small()
		c.AllPositions = all // histories are random, so the other positions teach nothing but noise
		log := filepath.Join(t.TempDir(), "log.jsonl")
		steps := 0
		r := train(t, c, Options{Dataset: "abc", LogPath: log, Progress: func(p Progress) { steps++ }})
		m, err := Evaluate(t.Context(), r, ruleSplit().Test, nil)
		if err != nil {
			t.Fatal(err)
		}
		if least := map[bool]float64{false: 0.9, true: 0.5}[all]; m.HR[1] < least {
			t.Errorf("all positions %v: HR@1 %v on unseen sequences, want at least %v", all, m.HR[1], least)
		}
		lines := logged(t, log)
		var last Epoch
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
			t.Fatal(err)
		}
		if len(lines) != c.MaxEpochs || last.Epoch != c.MaxEpochs || steps != 10*c.MaxEpochs {
			t.Errorf("%d lines, last %+v, %d steps; want %d epochs of 10 steps", len(lines), last, steps, c.MaxEpochs)
		}
		if o := r.Origin(); o.Dataset != "abc" || o.Validation == nil || o.Validation.N != 40 || o.Epoch < 1 {
			t.Errorf("origin %+v", o)
		}
	}
}

func TestTrainIsReproducible(t *testing.T) {
	c := small()
	c.MaxEpochs = 2
	first := values(t, train(t, c, Options{}))
	if !same(first, values(t, train(t, c, Options{}))) {
		t.Error("the same seed gave other weights")
	}
	c.Seed++
	if same(first, values(t, train(t, c, Options{}))) {
		t.Error("another seed gave the same weights")
	}
}

// The weights given are those of the best epoch: evaluating them again gives the logged figures.
func TestTrainGivesTheBestEpoch(t *testing.T) {
	c := small()
	c.MaxEpochs, c.LearningRate = 12, 0.05 // too high to get better all the time
	r := train(t, c, Options{})
	m, err := Evaluate(t.Context(), r, ruleSplit().Validation, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := r.Origin().Validation
	if m.HR[10] != want.HR[10] || m.NDCG[10] != want.NDCG[10] {
		t.Errorf("HR@10 %v, NDCG@10 %v; the log says %v, %v", m.HR[10], m.NDCG[10], want.HR[10], want.NDCG[10])
	}
}

func TestPatience(t *testing.T) {
	c := small()
	c.LearningRate, c.Patience = 0, 3 // nothing is learnt, so that the first epoch stays the best
	log := filepath.Join(t.TempDir(), "log.jsonl")
	r := train(t, c, Options{LogPath: log})
	if n := len(logged(t, log)); n != 4 || r.Origin().Epoch != 1 {
		t.Errorf("%d epochs, best %d; want 4, 1", n, r.Origin().Epoch)
	}
}

// 20 epochs at once are bit for bit 10 epochs, a restart from the checkpoint and 10 more; and
// likewise where the run is cancelled in the middle of an epoch.
func TestResumeIsExact(t *testing.T) {
	want := values(t, train(t, small(), Options{}))
	half := small()
	half.MaxEpochs = 10
	path := filepath.Join(t.TempDir(), "checkpoint.safetensors")
	train(t, half, Options{CheckpointPath: path})
	if !same(want, values(t, train(t, small(), Options{CheckpointPath: path}))) {
		t.Error("10 + 10 epochs gave other weights than 20")
	}

	path = filepath.Join(t.TempDir(), "checkpoint.safetensors")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Train(ctx, testllm.Engine(t), small(), ruleSplit(), Options{CheckpointPath: path, Progress: func(p Progress) {
		if p.Epoch == 7 && p.Step == 4 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stopped after step 4 of epoch 7 and saved") {
		t.Fatalf("cancelled: %v", err)
	}
	log := filepath.Join(t.TempDir(), "log.jsonl")
	if err := os.WriteFile(log, []byte(`{"epoch":1,"lo`), 0o644); err != nil { // as a kill leaves it
		t.Fatal(err)
	}
	epochs := map[int]bool{}
	opts := Options{CheckpointPath: path, LogPath: log, Progress: func(p Progress) { epochs[p.Epoch] = true }}
	if !same(want, values(t, train(t, small(), opts))) {
		t.Error("a cancelled and resumed run gave other weights")
	}
	if len(epochs) != 14 {
		t.Errorf("%d epochs after the resumption, want 14", len(epochs))
	}
	clear(epochs)
	if !same(want, values(t, train(t, small(), opts))) || len(epochs) > 0 {
		t.Error("a finished run was not simply taken up")
	}
	for i, line := range logged(t, log) {
		var e Epoch
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Epoch != i+1 {
			t.Errorf("line %d of the log: %q, %v", i+1, line, err)
		}
	}
}

// Checkpoints follow the clock, so that a kill costs at most a minute of an epoch that is longer.
func TestKilledInAnEpoch(t *testing.T) {
	for _, at := range []struct{ epoch, step int }{{1, 3}, {7, 4}} {
		c := small()
		c.MaxEpochs = at.epoch + 2
		dir := t.TempDir()
		path, killed := filepath.Join(dir, "checkpoint.safetensors"), filepath.Join(dir, "killed.safetensors")
		want := values(t, train(t, c, Options{CheckpointPath: path, mayLose: 1, Progress: func(p Progress) {
			if p.Epoch != at.epoch || p.Step != at.step {
				return
			}
			content, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(killed, content, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}}))
		var first Progress
		got := values(t, train(t, c, Options{CheckpointPath: killed, Progress: func(p Progress) {
			if first.Step == 0 {
				first = p
			}
		}}))
		if first.Epoch != at.epoch || first.Step != at.step {
			t.Errorf("killed in step %d of epoch %d, the run goes on with step %d of epoch %d", at.step, at.epoch, first.Step,
				first.Epoch)
		}
		if !same(want, got) {
			t.Errorf("killed in epoch %d: other weights", at.epoch)
		}
	}
}

func TestResumeRefuses(t *testing.T) {
	c := small()
	c.MaxEpochs = 1
	dir := t.TempDir()
	path := filepath.Join(dir, "checkpoint.safetensors")
	train(t, c, Options{CheckpointPath: path, Dataset: "abc"})
	other := c
	other.Dropout = 0.5
	moved := ruleSplit()
	moved.Train = moved.Train[1:]
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.safetensors")
	if err := os.WriteFile(cut, content[:len(content)-9], 0o600); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain.safetensors")
	if err := newRecommender(t, c).Save(plain); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]struct {
		c     Config
		split dataset.Split
		opts  Options
		says  string
	}{
		"config":   {other, ruleSplit(), Options{CheckpointPath: path, Dataset: "abc"}, "dropout was 0.3, is 0.5"},
		"data set": {c, ruleSplit(), Options{CheckpointPath: path, Dataset: "abd"}, "abc"},
		"split":    {c, moved, Options{CheckpointPath: path, Dataset: "abc"}, "other sequences"},
		"cut":      {c, ruleSplit(), Options{CheckpointPath: cut}, "truncated"},
		"weights":  {c, ruleSplit(), Options{CheckpointPath: plain}, "no checkpoint"},
	} {
		_, err := Train(t.Context(), testllm.Engine(t), run.c, run.split, run.opts)
		if err == nil || !strings.Contains(err.Error(), run.says) {
			t.Errorf("%s: %v, want %q", name, err, run.says)
		}
	}
}

func TestTrainRefuses(t *testing.T) {
	engine, split := testllm.Engine(t), ruleSplit()
	nowhere := Options{CheckpointPath: filepath.Join(t.TempDir(), "a", "b")}
	bad := func(change func(s *dataset.Sequence)) dataset.Split {
		s := ruleSplit()
		change(&s.Train[3])
		return s
	}
	for name, c := range map[string]struct {
		change func(*Config)
		split  dataset.Split
		opts   Options
		says   string
	}{
		"config":    {func(c *Config) { c.Width = 0 }, split, Options{}, "width is 0"},
		"no data":   {func(*Config) {}, dataset.Split{}, Options{}, "both are needed"},
		"bad next":  {func(*Config) {}, bad(func(s *dataset.Sequence) { s.Next = 12 }), Options{}, "training sequence 3"},
		"empty":     {func(*Config) {}, bad(func(s *dataset.Sequence) { s.History = nil }), Options{}, "is empty"},
		"no folder": {func(*Config) {}, split, nowhere, "create the folder"},
	} {
		config := small()
		c.change(&config)
		_, err := Train(t.Context(), engine, config, c.split, c.opts)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// Epochs of 10 s: within 35 s there are 3, and one even where it takes too long.
func TestFits_byHand(t *testing.T) {
	var c cursor
	for n := range 5 {
		for within, most := range map[time.Duration]int{35 * time.Second: 3, time.Second: 1, 0: 100} {
			if got := c.fits(within); got != (n < most) {
				t.Errorf("%d epochs within %v: another one fits: %v", n, within, got)
			}
		}
		c.Epochs = append(c.Epochs, Epoch{Epoch: n + 1, Seconds: 10 * float64(n+1)})
	}
}

// A recommender that several ranks train has the bits of one that a single process trains with the
// same micro-batches.
func TestTrain_onRanks(t *testing.T) {
	for _, name := range []string{models.SASRec, models.DreamRec, models.BERT4Rec} {
		t.Run(name, func(t *testing.T) {
			c := smallOf(t, name)
			c.MaxEpochs, c.BatchSize, c.MicroBatch = 2, 16, 6 // the last micro-batch is smaller
			want := train(t, c, Options{})
			for _, n := range []int{2, 3} {
				for rank, err := range testranks.Run(t, n, func(ctx context.Context, rank int) error {
					got, err := Train(ctx, testllm.Engine(t), c, ruleSplit(), Options{})
					if err != nil {
						return err
					}
					defer got.Close()
					if !same(values(t, got.Best), values(t, want)) {
						return errors.New("the weights differ")
					}
					return nil
				}) {
					if err != nil {
						t.Errorf("rank %d of %d: %v", rank, n, err)
					}
				}
			}
		})
	}
}

// Ranks without a micro-batch of their own are refused, with the size that there must be.
func TestTrain_tooManyRanks(t *testing.T) {
	c := smallOf(t, models.SASRec)
	for rank, err := range testranks.Run(t, 2, func(ctx context.Context, rank int) error {
		_, err := Train(ctx, testllm.Engine(t), c, ruleSplit(), Options{})
		return err
	}) {
		if err == nil || !strings.Contains(err.Error(), "choose a micro-batch of at most 8") {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}
