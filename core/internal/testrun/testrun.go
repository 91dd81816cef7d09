// Package testrun makes small trained runs for tests and examples.
package testrun

import (
	"context"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// All makes the runs of the tests below dir and gives their folders: residual, recovery and
// popularity of SASRec, dreams (residual) and item of DreamRec.
func All(dir string) (map[string]string, error) {
	folders := map[string]string{}
	for name, of := range map[string]struct {
		model, prompt string
		kind          adapter.Kind
	}{
		"residual":   {models.SASRec, "residual", "mlp"},
		"recovery":   {models.SASRec, "recovery", "positions"},
		"popularity": {models.SASRec, "popularity", "mlp"},
		"dreams":     {models.DreamRec, "residual", "mlp"},
		"item":       {models.DreamRec, "item", "linear"},
	} {
		var err error
		if folders[name], err = write(filepath.Join(dir, name), of.model, of.prompt, of.kind); err != nil {
			return nil, err
		}
	}
	return folders, nil
}

// Residual makes one run below dir, of SASRec and the last item, and gives its folder.
func Residual(dir string) (string, error) { return write(dir, models.SASRec, "residual", "mlp") }

// write writes a data set, a recommender (one of models.Names), a random LLM and a small run of a
// few updates to dir, and gives the run's folder.
func write(dir, model, asks string, kind adapter.Kind) (string, error) {
	template, err := task.Prompt(asks)
	if err != nil {
		return "", err
	}
	s := run.DefaultSpec().With(template, kind)
	s.Dataset, s.Recommender = filepath.Join(dir, "data"), filepath.Join(dir, "recommender.safetensors")
	s.LLM = filepath.Join(dir, "tiny.gguf")
	s.Hidden, s.Tokens, s.Precision = min(s.Hidden, 16), 2, run.F32
	s.Config = align.Config{Seed: 3, Samples: 8, BatchSize: 4, PassPositions: 64, LearningRate: 1e-2, WarmupSteps: 2,
		Schedule: align.LinearDecay, MaxNorm: 1, CheckpointEvery: 2}
	d := datasettest.Walks()
	for i := range d.Items { // ids differ from places in the catalogue
		d.Items[i].ID = "film-" + d.Items[i].ID
	}
	if err := d.Save(s.Dataset); err != nil {
		return "", err
	}
	if err := os.WriteFile(s.LLM, gguftest.LLM(1), 0o644); err != nil {
		return "", err
	}
	engine, err := cgo.NewEngine(testllm.Params())
	if err != nil {
		return "", err
	}
	defer engine.Close()
	if err := train(engine, d, model, s.Recommender); err != nil {
		return "", err
	}
	folder := filepath.Join(dir, "run")
	_, err = run.Train(context.Background(), engine, folder, s, nil, nil)
	return folder, err
}

// train trains a recommender for one epoch.
func train(engine *cgo.Engine, d *dataset.Dataset, model, path string) error {
	split, err := dataset.SplitChronological(d, dataset.DefaultProtocol())
	if err != nil {
		return err
	}
	c, err := recommender.Default(model, len(d.Items))
	if err != nil {
		return err
	}
	c.Width, c.BatchSize, c.LearningRate, c.MaxEpochs = 16, 16, 0.01, 1
	c.Settings["heads"] = 2
	trained, err := recommender.Train(context.Background(), engine, c, split, recommender.Options{Dataset: d.Hash()})
	if err != nil {
		return err
	}
	defer trained.Close()
	return trained.Best.Save(path)
}
