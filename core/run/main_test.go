package run

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

func TestMain(m *testing.M) { leak.Main(m) }

// world is a folder with a data set, a recommender trained on it, a tiny LLM, and a place for a
// run.
type world string

func (w world) run() string { return filepath.Join(string(w), "run") }

// spec is a run of 10 updates on what the world holds.
func (w world) spec() Spec {
	s := DefaultSpec()
	s.Dataset, s.LLM = filepath.Join(string(w), "data"), filepath.Join(string(w), "tiny.gguf")
	s.Recommender = filepath.Join(string(w), "sasrec.safetensors")
	s.Hidden, s.Tokens, s.Precision = 16, 2, F32
	s.Config = align.Config{Seed: 3, Samples: 40, BatchSize: 4, PassPositions: 64, LearningRate: 1e-2, WarmupSteps: 2, Schedule: align.LinearDecay,
		MaxNorm: 1, WarmSteps: 10, WarmBatch: 16, WarmRate: 1e-2, ValidateEvery: 4, ValidationSamples: 6, CheckpointEvery: 2}
	return s
}

// newWorld makes a world without a run.
func newWorld(t *testing.T) world {
	t.Helper()
	w, d := world(t.TempDir()), datasettest.Walks()
	if err := d.Save(w.spec().Dataset); err != nil {
		t.Fatal(err)
	}
	saveRecommender(t, w.spec().Recommender, d, d.Hash(), 1)
	if err := os.WriteFile(w.spec().LLM, gguftest.LLM(1), 0o644); err != nil {
		t.Fatal(err)
	}
	return w
}

// trained makes a world with a run that was trained to its end.
func trained(t *testing.T) world {
	t.Helper()
	w := newWorld(t)
	train(t, w)
	return w
}

func train(t *testing.T, w world) *align.Result {
	t.Helper()
	result, err := Train(t.Context(), testllm.Engine(t), w.run(), w.spec(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// open opens the world's run, closed at the end of the test.
func open(t *testing.T, w world) *Run {
	t.Helper()
	return openAt(t, w.run())
}

func openAt(t *testing.T, dir string) *Run {
	t.Helper()
	r, err := Open(testllm.Engine(t), dir, interpret.Options{MaxTokens: 24})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// saveRecommender trains a small SASRec and writes into its file that it was trained on the data
// set with the hash.
func saveRecommender(t *testing.T, path string, d *dataset.Dataset, hash string, seed uint64) {
	t.Helper()
	saveModel(t, path, models.SASRec, d, hash, seed)
}

// saveModel does so with any model.
func saveModel(t *testing.T, path, model string, d *dataset.Dataset, hash string, seed uint64) {
	t.Helper()
	split, err := dataset.SplitChronological(d, dataset.DefaultProtocol())
	if err != nil {
		t.Fatal(err)
	}
	c, err := recommender.Default(model, len(d.Items))
	if err != nil {
		t.Fatal(err)
	}
	c.Width, c.BatchSize, c.LearningRate, c.MaxEpochs, c.Seed = 16, 16, 0.01, 3, seed
	c.Settings["heads"] = 2
	r, err := recommender.Train(t.Context(), testllm.Engine(t), c, split, recommender.Options{Dataset: hash})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Best.Save(path); err != nil {
		t.Fatal(err)
	}
}
