// Package testrun makes small trained runs, for tests of what opens them.
package testrun

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// Make writes a data set, a recommender (one of the names of recommender), a random LLM and a run of a few updates to dir/NAME, and
// gives the run's folder. An adapter of kind positions is asked for histories, a linear one for an item by its own vector, another one
// for the last item by the states around it.
func Make(dir, name, model string, kind align.Kind) (string, error) {
	dir = filepath.Join(dir, name)
	s := run.DefaultSpec()
	s.Dataset, s.Recommender = filepath.Join(dir, "data"), filepath.Join(dir, "recommender.safetensors")
	s.LLM = filepath.Join(dir, "tiny.gguf")
	s.Adapter, s.Hidden, s.Tokens, s.Precision = kind, 16, 2, run.F32
	switch kind {
	case align.Positions:
		s.Template, s.Drawn = prompt.Recovery(), 0
	case align.Linear:
		s.Template, s.Hidden = prompt.Item(), 0
	}
	s.Config = align.Config{Seed: 3, Samples: 8, BatchSize: 4, PassPositions: 64, LearningRate: 1e-2, WarmupSteps: 2,
		Schedule: align.LinearDecay, MaxNorm: 1, CheckpointEvery: 2}
	d := walks()
	if err := d.Save(s.Dataset); err != nil {
		return "", err
	}
	if err := os.WriteFile(s.LLM, gguftest.LLM(1), 0o644); err != nil {
		return "", err
	}
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
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
	c.Width, c.Heads, c.BatchSize, c.LearningRate, c.MaxEpochs = 16, 2, 16, 0.01, 1
	trained, err := recommender.Train(context.Background(), engine, c, split, recommender.Options{Dataset: d.Hash()})
	if err != nil {
		return err
	}
	defer trained.Close()
	return trained.Best.Save(path)
}

// walks is a data set of 30 films in which every user goes on to the film 7 places further.
func walks() *dataset.Dataset {
	d := &dataset.Dataset{Name: "walks"}
	for _, adjective := range []string{"Silent", "Golden", "Broken", "Distant", "Second"} {
		for _, noun := range []string{"Harbour", "Orchard", "Letter", "Winter", "Bridge", "Mirror"} {
			d.Items = append(d.Items, dataset.Item{ID: fmt.Sprintf("film-%d", len(d.Items)), Title: "The " + adjective + " " + noun,
				RawTitle: fmt.Sprintf("%s %s, The (19%d)", adjective, noun, 60+len(d.Items))})
		}
	}
	for user := range int32(12) {
		d.Users = append(d.Users, fmt.Sprint(100+user))
		for k := range int32(25) {
			d.Events = append(d.Events, dataset.Event{User: user, Item: (5*user + 7*k) % 30, Time: int64(1000*k + user), Rating: 4})
		}
	}
	return d
}
