package reproduce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/explain"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// comparison sets the answers of several seeds beside their controls.
type comparison struct {
	*reproduction
	each  time.Duration // for the controls of a run, and for its edits as much again
	kept  run.AnswersOf
	runs  []control.Evaluated
	edits []*run.Edits
	users func(sample string) (int32, error)
	path  string // of the table
}

// controls compares the runs of a plan that have controls.
func (r *reproduction) controls(ctx context.Context) error {
	if len(r.plan.Controlled) == 0 {
		return nil
	}
	c := comparison{reproduction: r, each: r.plan.Controlling() / 2 / controlledSeeds}
	c.kept = run.AnswersOf{Minutes: c.each.Minutes(), Seed: 1, Controls: true}
	for _, share := range r.plan.Controlled {
		if err := r.align(ctx, share); err != nil {
			return err
		}
		add := c.add
		if share.Adapter == ignores {
			add = c.addIgnoring
		}
		if err := r.beside(share, func(one *run.Run, dir string) error { return add(ctx, share, one, dir) }); err != nil {
			return err
		}
	}
	return c.conclude()
}

// add asks a run and its controls, and moves its states. The first run also says how many samples
// all of them are asked about, and has its recommendations explained.
func (c *comparison) add(ctx context.Context, share Share, one *run.Run, dir string) (err error) {
	if len(c.runs) == 0 {
		c.users, c.path = one.UserOf, run.ControlsPath(dir, one.Task, c.kept)
		within := time.Duration(answeredShare * float64(c.each))
		if c.kept.Samples, err = c.samples(run.AnswersPath(dir, one.Task, c.kept), one, within, func(n int) error {
			_, err := one.Evaluate(ctx, n, evaluate.Options{Seed: c.kept.Seed, Controls: true})
			return err
		}); err != nil {
			return err
		}
		if err := c.explain(ctx, one); err != nil {
			return err
		}
	}
	evaluated, err := one.WithControls(ctx, dir, c.kept, func(what string, done, total int) {
		c.Progress(share.Name, "answers, "+what, done, total)
	})
	if err != nil {
		return err
	}
	c.runs = append(c.runs, evaluated)
	of := run.EditsOf{Samples: editedHistories, Minutes: c.each.Minutes(), Items: max(1, int(editedShare*float64(len(one.Data.Items)))), Seed: 1}
	edits, err := one.EvaluateEdits(ctx, of, run.EditsPath(dir, one.Task, of), func(done, total int) {
		c.Progress(share.Name, "values that states are moved towards", done, total)
	})
	if errors.Is(err, run.ErrRare) {
		return nil // there is nothing to move towards
	}
	if err == nil {
		c.edits = append(c.edits, edits)
	}
	return err
}

// addIgnoring asks a run that ignores the states, a control of the run before it.
func (c *comparison) addIgnoring(ctx context.Context, share Share, one *run.Run, dir string) error {
	kept := c.kept
	kept.Controls = false
	answers, err := one.Answers(ctx, dir, kept, func(done, total int) { c.Progress(share.Name, "answers, own states", done, total) })
	last := &c.runs[len(c.runs)-1]
	last.Others = append(last.Others, control.Other{Name: "adapter that ignores the states", Answers: answers})
	return err
}

// conclude makes the tables, and leaves that of the controls for the report.
func (c *comparison) conclude() error {
	if len(c.edits) > 0 {
		pooled, err := run.PoolEdits(c.edits)
		if err != nil {
			return err
		}
		c.table.addEdits(pooled)
	}
	var err error
	if c.table.Controls, err = control.New(c.runs, c.users); err != nil {
		return err
	}
	return artifact.WriteAtomic(c.path, func(w io.Writer) error { return json.NewEncoder(w).Encode(c.table.Controls) })
}

// explain looks for the changes of histories that change what a run's recommender recommends.
func (r *reproduction) explain(ctx context.Context, one *run.Run) error {
	test := one.Split.Test[:min(explained, len(one.Split.Test))]
	measured, err := explain.MeasureTest(ctx, one.Live, test, one.Live.Positions(), explain.Options{Items: len(one.Data.Items), Seed: 1},
		func(done, total int) { r.Progress("explanations", "histories", done, total) })
	for _, m := range measured {
		r.table.add(fmt.Sprintf("the first %d of %s changed by a changed history", m.Top, baseline), m.Fidelity, "",
			fmt.Sprintf("%.2f changes on average", m.Changes))
	}
	return err
}
